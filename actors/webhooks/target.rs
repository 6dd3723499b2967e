//! Where webhooks may go: addresses of the public internet, and nothing behind our own walls.
//!
//! A name is checked where it is used: the resolver of the very connection drops every address that
//! is not public, so a name that changes its mind between a check and the connection gains nothing.
//! An address written in the URL never meets the resolver, and is checked by itself each time.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The longest address that is taken, in bytes.
pub(super) const URL_BYTES_MAX: usize = 2_048;
/// Ports that are used on the public internet for this; others might be something else's.
const PUBLIC_PORTS: [u16; 2] = [443, 8_443];
/// Names that are never public.
const LOCAL_SUFFIXES: [&str; 6] =
    ["localhost", "local", "internal", "intranet", "lan", "home.arpa"];

/// The name of this machine, and what its other names end with.
const OWN_NAME: &str = "localhost";

/// How far webhooks may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Over https to public addresses alone.
    #[default]
    Public,
    /// Also without encryption, on any port and to this machine. For development.
    Local,
}

impl Reach {
    /// Whether an address may be connected to.
    fn includes(self, address: IpAddr) -> bool {
        is_public(address) || (self == Self::Local && address.is_loopback())
    }
}

/// What is wrong with an endpoint's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// It cannot be read at all, or names no host.
    #[error("expected an address such as `https://example.com/hooks`")]
    Malformed,
    /// It is too long.
    #[error("expected at most {URL_BYTES_MAX} bytes")]
    TooLong,
    /// Not https.
    #[error("expected `https://`")]
    Scheme,
    /// User, password or fragment.
    #[error("expected an address without user, password and fragment")]
    Extras,
    /// An unusual port.
    #[error("expected port 443 or 8443")]
    Port,
    /// It leads to this machine or a private network.
    #[error("expected a public address")]
    NotPublic,
}

/// Reads an endpoint's address and checks what can be checked without asking for its name.
pub(super) fn check(text: &str, reach: Reach) -> Result<Url, UrlFault> {
    if text.len() > URL_BYTES_MAX {
        return Err(UrlFault::TooLong);
    }
    let url = Url::parse(text).map_err(|_| UrlFault::Malformed)?;
    let is_known = match reach {
        Reach::Public => url.scheme() == "https",
        Reach::Local => matches!(url.scheme(), "http" | "https"),
    };
    if !is_known {
        return Err(UrlFault::Scheme);
    }
    let has_extras =
        !url.username().is_empty() || url.password().is_some() || url.fragment().is_some();
    if has_extras {
        return Err(UrlFault::Extras);
    }
    let host = url.host_str().ok_or(UrlFault::Malformed)?;
    let is_usual = url.port_or_known_default().is_some_and(|port| PUBLIC_PORTS.contains(&port));
    if reach == Reach::Public && !is_usual {
        return Err(UrlFault::Port);
    }
    // `https://2130706433` and `https://0x7f.1` were made plain addresses by the parser.
    let is_allowed = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => reach.includes(address),
        Err(_) => is_public_name(host) || (reach == Reach::Local && is_own_name(host)),
    };
    if is_allowed { Ok(url) } else { Err(UrlFault::NotPublic) }
}

/// A name of this machine.
fn is_own_name(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == OWN_NAME || host.strip_suffix(OWN_NAME).is_some_and(|rest| rest.ends_with('.'))
}

/// A name with a dot in it that is not reserved for private use.
fn is_public_name(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let ends_with =
        |suffix: &&str| host.strip_suffix(*suffix).is_some_and(|rest| rest.ends_with('.'));
    host.contains('.') && !LOCAL_SUFFIXES.iter().any(ends_with)
}

/// Whether an address belongs to somebody on the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match a {
        // This network, private, loopback, multicast and reserved.
        0 | 10 | 127 | 224..=255 => true,
        // Shared by carriers, and by clouds for their metadata.
        100 => (64..=127).contains(&b),
        // Link-local, where most clouds have their metadata.
        169 => b == 254,
        172 => (16..=31).contains(&b),
        // Private; protocol assignments, documentation, 6to4 relays.
        192 => b == 168 || matches!((b, c), (0, 0 | 2) | (88, 99)),
        // Benchmarks, documentation.
        198 => (18..=19).contains(&b) || (b, c) == (51, 100),
        203 => (b, c) == (0, 113),
        _ => false,
    };
    !is_special
}

/// Global unicast alone, without the parts that carry an IPv4 address or belong to nobody: what is
/// mapped (`::ffff:127.0.0.1`), translated (`64:ff9b::`) or local lies outside of it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_global = a & 0xe000 == 0x2000;
    let is_special = match a {
        // Teredo, ORCHID and other protocol assignments; documentation.
        0x2001 => b < 0x0200 || b == 0x0db8,
        // 6to4, and documentation.
        0x2002 => true,
        0x3fff => b < 0x1000,
        _ => false,
    };
    is_global && !is_special
}

/// Asks for the addresses of a name.
pub(super) trait Lookup: Send + Sync + fmt::Debug {
    /// Returns every address that the name has now.
    fn addresses(&self, host: String) -> Found;
}

/// The addresses of a name, once they are known.
pub(super) type Found = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Asks the system.
#[derive(Debug)]
pub(super) struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses(&self, host: String) -> Found {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// The resolver of deliveries: the one place where a name becomes the addresses that are used.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) reach: Reach,
    pub(super) lookup: Arc<dyn Lookup>,
}

/// A name has no address that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name leads to no public address")]
pub(super) struct NotPublic;

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach;
        let found = self.lookup.addresses(name.as_str().to_owned());
        Box::pin(async move {
            let mut addresses = found.await?;
            addresses.retain(|address| reach.includes(*address));
            if addresses.is_empty() {
                return Err(NotPublic.into());
            }
            let sockets = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(sockets) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_to_public_places_is_taken() {
        for good in [
            "https://example.com",
            "https://hooks.example.com:8443/a?b=c",
            "https://93.184.216.34/",
            "https://[2606:4700::6810:84e5]/",
        ] {
            assert!(check(good, Reach::Public).is_ok(), "{good}");
        }
        for (bad, fault) in [
            ("", UrlFault::Malformed),
            ("example.com/hook", UrlFault::Malformed),
            ("https://", UrlFault::Malformed),
            ("http://example.com", UrlFault::Scheme),
            ("file:///etc/passwd", UrlFault::Scheme),
            ("gopher://example.com", UrlFault::Scheme),
            ("https://user@example.com", UrlFault::Extras),
            ("https://user:word@example.com", UrlFault::Extras),
            ("https://example.com/#part", UrlFault::Extras),
            ("https://example.com:6379", UrlFault::Port),
            ("https://example.com:22", UrlFault::Port),
            ("https://localhost", UrlFault::NotPublic),
            ("https://localhost.", UrlFault::NotPublic),
            ("https://a.localhost", UrlFault::NotPublic),
            ("https://metadata.google.internal", UrlFault::NotPublic),
            ("https://printer.local", UrlFault::NotPublic),
            ("https://intranet", UrlFault::NotPublic),
            ("https://127.0.0.1", UrlFault::NotPublic),
            ("https://2130706433", UrlFault::NotPublic),
            ("https://0x7f.1", UrlFault::NotPublic),
            ("https://0177.0.0.1", UrlFault::NotPublic),
            ("https://0.0.0.0", UrlFault::NotPublic),
            ("https://169.254.169.254/latest", UrlFault::NotPublic),
            ("https://[::1]", UrlFault::NotPublic),
            ("https://[::]", UrlFault::NotPublic),
            ("https://[::ffff:169.254.169.254]", UrlFault::NotPublic),
        ] {
            assert_eq!(check(bad, Reach::Public).unwrap_err(), fault, "{bad}");
        }
        let long = format!("https://example.com/{}", "x".repeat(URL_BYTES_MAX));
        assert_eq!(check(&long, Reach::Public).unwrap_err(), UrlFault::TooLong);
    }

    #[test]
    fn private_and_special_addresses_are_not_public() {
        for special in [
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.9.9.9",
            "169.254.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "100::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
        for public in ["8.8.8.8", "100.63.0.1", "172.32.0.1", "2606:4700::1", "2a00:1450::1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn development_may_reach_this_machine_and_no_other_behind_the_walls() {
        for good in [
            "http://127.0.0.1:4000/hook",
            "http://localhost:4000/hook",
            "http://hooks.localhost:4000",
            "http://[::1]:4000/hook",
            "http://example.com:8080/hook",
        ] {
            assert!(check(good, Reach::Local).is_ok(), "{good}");
        }
        for (bad, fault) in [
            ("ftp://127.0.0.1", UrlFault::Scheme),
            ("http://10.0.0.1/hook", UrlFault::NotPublic),
            ("http://169.254.169.254/latest", UrlFault::NotPublic),
            ("http://[fd00:ec2::254]/latest", UrlFault::NotPublic),
            ("http://[::ffff:10.0.0.1]", UrlFault::NotPublic),
            ("http://metadata.google.internal", UrlFault::NotPublic),
            ("http://database:5432", UrlFault::NotPublic),
            ("http://notlocalhost", UrlFault::NotPublic),
        ] {
            assert_eq!(check(bad, Reach::Local).unwrap_err(), fault, "{bad}");
        }
        assert!(!Reach::Local.includes("169.254.169.254".parse().unwrap()));
        assert!(Reach::Local.includes("127.0.0.1".parse().unwrap()));
    }
}

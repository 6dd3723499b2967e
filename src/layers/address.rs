//! Whose address a request is charged to.

use std::net::IpAddr;

use http::HeaderMap;

use crate::server::bucket_of;

/// The header that proxies append to.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Hops that are looked at, from the nearest one.
const HOPS_MAX: usize = 16;

/// The client's address: the peer, unless the peer is a trusted proxy; then the nearest hop of
/// `X-Forwarded-For` that is none. What a stranger writes into the header changes nothing.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let mut address = peer;
    if trusted.contains(&peer) {
        let hops = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect::<Vec<_>>();
        for hop in hops.into_iter().rev().take(HOPS_MAX) {
            let Ok(hop) = hop.parse() else { break };
            address = hop;
            if !trusted.contains(&hop) {
                break;
            }
        }
    }
    bucket_of(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|v| (FORWARDED_FOR.parse().unwrap(), v.parse().unwrap())).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_stranger_cannot_choose_its_address() {
        let forged = headers(&["1.2.3.4, 5.6.7.8", "127.0.0.1"]);

        assert_eq!(client_address(ip("9.9.9.9"), &forged, &[ip("10.0.0.1")]), ip("9.9.9.9"));
    }

    #[test]
    fn behind_a_trusted_proxy_the_nearest_untrusted_hop_counts() {
        let hops = headers(&["1.1.1.1, 2.2.2.2, 10.0.0.2"]);
        let trusted = [ip("10.0.0.1"), ip("10.0.0.2")];

        assert_eq!(client_address(ip("10.0.0.1"), &hops, &trusted), ip("2.2.2.2"));
    }

    #[test]
    fn garbage_in_the_header_stops_the_walk() {
        let hops = headers(&["1.1.1.1, unknown"]);

        assert_eq!(client_address(ip("10.0.0.1"), &hops, &[ip("10.0.0.1")]), ip("10.0.0.1"));
    }
}

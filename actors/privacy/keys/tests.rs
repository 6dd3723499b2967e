use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::clock::SystemClock;

const PLACE: Place<'_> = Place { table: "users", column: "email", row: "usr_1" };

fn ring() -> (tempfile::TempDir, KeyRing) {
    let folder = tempfile::tempdir().unwrap();
    let ring = KeyRing::open(folder.path()).unwrap();
    (folder, ring)
}

#[test]
fn the_master_key_is_made_once_and_only_for_its_owner() {
    let (folder, ring) = ring();
    let again = KeyRing::open(folder.path()).unwrap();

    assert_eq!(ring.digest("email", b"a@b.test"), again.digest("email", b"a@b.test"));
    let mode = fs::metadata(folder.path().join("keys/master.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_master_key_that_others_may_read_is_refused() {
    let (folder, _ring) = ring();
    let path = folder.path().join("keys/master.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();

    assert!(matches!(KeyRing::open(folder.path()), Err(KeyError::Exposed { .. })));
}

#[test]
fn a_damaged_master_key_is_refused_and_not_replaced() {
    let (folder, _ring) = ring();
    let path = folder.path().join("keys/master.key");
    fs::write(&path, "tenantry-master-v1:abc\n").unwrap();

    assert!(matches!(KeyRing::open(folder.path()), Err(KeyError::Corrupt { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "tenantry-master-v1:abc\n");
}

#[test]
fn digests_of_different_domains_never_meet() {
    let (_folder, ring) = ring();

    assert_ne!(ring.digest("email", b"x"), ring.digest("code", b"x"));
    assert_ne!(ring.digest("ab", b"c"), ring.digest("a", b"bc"));
}

#[test]
fn a_scoped_digest_is_half_of_that_of_the_joined_text() {
    let (_folder, ring) = ring();

    let whole = ring.digest("idempotency-key", b"consume\0order-7");

    assert_eq!(ring.scoped_digest("idempotency-key", "consume", b"order-7"), whole[..32]);
}

#[test]
fn a_sealed_text_opens_in_its_own_place_alone() {
    let (_folder, ring) = ring();
    let cipher = ring.system_cipher();
    let sealed = cipher.seal(PLACE, b"ada@example.test").unwrap();

    assert_eq!(cipher.open(PLACE, &sealed).unwrap(), b"ada@example.test");
    let elsewhere = Place { row: "usr_2", ..PLACE };
    assert!(matches!(cipher.open(elsewhere, &sealed), Err(KeyError::Sealed)));
    for cut in 0..sealed.len() {
        assert!(cipher.open(PLACE, &sealed[..cut]).is_err(), "a text cut at {cut} opened");
    }
}

#[tokio::test]
async fn a_tenants_key_survives_a_restart_and_opens_nothing_of_another() {
    let (folder, ring) = ring();
    let (one, two) = (TenantId::generate(&SystemClock), TenantId::generate(&SystemClock));
    let sealed = ring.tenant_cipher(one).await.unwrap().seal(PLACE, b"plan").unwrap();

    let again = KeyRing::open(folder.path()).unwrap();

    assert_eq!(again.tenant_cipher(one).await.unwrap().open(PLACE, &sealed).unwrap(), b"plan");
    assert!(again.tenant_cipher(two).await.unwrap().open(PLACE, &sealed).is_err());
}

#[tokio::test]
async fn a_destroyed_key_is_gone_from_the_file_and_never_made_again() {
    let (folder, ring) = ring();
    let tenants = [TenantId::generate(&SystemClock), TenantId::generate(&SystemClock)];
    ring.prepare_tenants(&tenants).await.unwrap();
    let path = folder.path().join("keys/keystore");
    let before = fs::read_to_string(&path).unwrap();
    let wrapped = before.lines().next().unwrap().split(' ').nth(2).unwrap();

    ring.destroy_tenant(tenants[0]).await.unwrap();

    assert!(!fs::read_to_string(&path).unwrap().contains(wrapped));
    for ring in [ring, KeyRing::open(folder.path()).unwrap()] {
        assert!(matches!(ring.tenant_cipher(tenants[0]).await, Err(KeyError::Destroyed)));
        assert!(ring.tenant_cipher(tenants[1]).await.is_ok());
    }
}

#[tokio::test]
async fn a_torn_last_line_of_the_keystore_is_dropped() {
    let (folder, ring) = ring();
    let tenant = TenantId::generate(&SystemClock);
    let sealed = ring.tenant_cipher(tenant).await.unwrap().seal(PLACE, b"x").unwrap();
    let path = folder.path().join("keys/keystore");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{whole}v1 tnt_half v1.AAAA")).unwrap();

    let again = KeyRing::open(folder.path()).unwrap();

    assert_eq!(again.tenant_cipher(tenant).await.unwrap().open(PLACE, &sealed).unwrap(), b"x");
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
}

#[tokio::test]
async fn a_keystore_of_another_master_key_is_refused_at_the_start() {
    let (folder, ring) = ring();
    ring.tenant_cipher(TenantId::generate(&SystemClock)).await.unwrap();
    drop(ring);
    fs::remove_file(folder.path().join("keys/master.key")).unwrap();

    assert!(matches!(KeyRing::open(folder.path()), Err(KeyError::Corrupt { file: "keystore" })));
}

#[test]
fn signing_keys_are_stable_and_differ_by_purpose_and_generation() {
    let (_folder, ring) = ring();
    let key = ring.signing_key("token", 1).unwrap();
    let signature = key.sign(b"head");

    assert_eq!(key.public(), ring.signing_key("token", 1).unwrap().public());
    assert_ne!(key.kid(), ring.signing_key("token", 2).unwrap().kid());
    assert_ne!(key.kid(), ring.signing_key("journal", 1).unwrap().kid());
    assert!(key.public().verifies(b"head", &signature));
    assert!(!key.public().verifies(b"tail", &signature));
}

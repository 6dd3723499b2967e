use std::collections::BTreeSet;

use super::*;
use crate::identity::api_key;
use crate::ids::KeyId;

#[tokio::test]
async fn a_rotated_default_key_replaces_the_old_one_at_once() {
    let world = Fixture::start().await;
    let login = world.log_in(ADA).await;
    let who = world.principal(&login).await;
    let first = world.identity.rotate_default_key(&who, &world.client()).await.unwrap();
    let shown = first.api_key.expose_secret();
    let principal = world.identity.authenticate(shown).await.unwrap();
    assert_eq!(principal.tenant, login.tenant.id);
    assert_eq!(principal.credential, Credential::ApiKey { key: first.id });
    assert!(principal.role.is_none() && principal.scopes.contains(Scope::UsageWrite));

    let second = world.identity.rotate_default_key(&who, &world.client()).await.unwrap();

    assert!(is_refused(&world.identity.authenticate(shown).await));
    assert!(world.identity.authenticate(second.api_key.expose_secret()).await.is_ok());
}

#[tokio::test]
async fn only_an_admin_who_is_signed_in_rotates_a_key() {
    let world = Fixture::start().await;
    let who = world.principal(&world.log_in(ADA).await).await;
    let key = world.identity.rotate_default_key(&who, &world.client()).await.unwrap();
    let program = world.identity.authenticate(key.api_key.expose_secret()).await.unwrap();

    for refused in [Principal { role: Some(Role::Member), ..who }, program] {
        let result = world.identity.rotate_default_key(&refused, &world.client()).await;
        assert!(matches!(result, Err(IdentityError::Forbidden)));
    }
}

#[tokio::test]
async fn tenants_for_programs_get_working_keys() {
    let world = Fixture::start().await;

    let made = world.identity.create_tenants("load", 2_001, None, None).await.unwrap();

    assert_eq!(made.len(), 2_001);
    for (tenant, key) in made.iter().step_by(500) {
        let principal = world.identity.authenticate(key.expose_secret()).await.unwrap();
        assert_eq!(principal.tenant, *tenant);
    }
}

#[tokio::test]
async fn an_owner_is_made_once_and_owns_what_was_made_for_the_address() {
    let world = Fixture::start().await;
    let make = async |count, owner| world.identity.create_tenants("one", count, None, owner).await;
    let refused = make(1, Some("ada")).await;
    assert!(matches!(refused, Err(IdentityError::InvalidEmail(_))), "{refused:?}");

    let first = make(2, Some(ADA)).await.unwrap();
    let login = world.log_in(ADA).await;
    let second = make(1, Some(ADA)).await.unwrap();
    make(1, None).await.unwrap();

    let me = world.identity.me(&world.principal(&login).await).await.unwrap();
    assert!(me.tenants.iter().all(|tenant| tenant.role == Role::Owner), "{me:?}");
    let owned: BTreeSet<_> = me.tenants.iter().map(|tenant| tenant.id).collect();
    assert_eq!(owned, first.iter().chain(&second).map(|(tenant, _)| *tenant).collect());
}

#[tokio::test]
async fn a_name_without_letters_or_with_control_characters_makes_no_tenant() {
    let world = Fixture::start().await;
    for name in ["", "  ", "a\nb", &"x".repeat(101)] {
        let refused = world.identity.create_tenants(name, 1, None, None).await;
        assert!(matches!(refused, Err(IdentityError::InvalidName)));
    }
}

#[tokio::test]
async fn a_key_with_a_wrong_secret_or_an_unknown_id_is_refused() {
    let world = Fixture::start().await;
    let (_, key) = world.identity.create_tenants("one", 1, None, None).await.unwrap().remove(0);
    let id = api_key::parse(key.expose_secret()).unwrap().id;

    for guess in [api_key::format(id, &[0; 32]), api_key::format(KeyId::from_bits(5), &[0; 32])] {
        for _ in 0..2 {
            assert!(is_refused(&world.identity.authenticate(guess.expose_secret()).await));
        }
    }
    assert!(world.identity.authenticate(key.expose_secret()).await.is_ok());
}

#[tokio::test]
async fn known_credentials_need_no_database() {
    let world = Fixture::start().await;
    let login = world.log_in(ADA).await;
    let (_, key) = world.identity.create_tenants("one", 1, None, None).await.unwrap().remove(0);
    world.principal(&login).await;
    world.identity.authenticate(key.expose_secret()).await.unwrap();

    world.db.close().await;

    world.principal(&login).await;
    assert!(world.identity.authenticate(key.expose_secret()).await.is_ok());
    let unknown = api_key::format(KeyId::from_bits(5), &[0; 32]);
    let refused = world.identity.authenticate(unknown.expose_secret()).await;
    assert!(matches!(refused, Err(IdentityError::Unavailable)), "{refused:?}");
}

#[tokio::test]
async fn an_unknown_key_is_looked_up_once_until_something_is_revoked() {
    let world = Fixture::start().await;
    let login = world.log_in(ADA).await;
    let who = world.principal(&login).await;
    let unknown = api_key::format(KeyId::from_bits(5), &[0; 32]);
    assert!(is_refused(&world.identity.authenticate(unknown.expose_secret()).await));
    world.identity.logout(&who, &world.client()).await.unwrap();
    assert!(is_refused(&world.identity.authenticate(unknown.expose_secret()).await));

    world.db.close().await;

    assert!(is_refused(&world.identity.authenticate(unknown.expose_secret()).await));
}

use futures_util::future::join_all;

use super::*;
use crate::database::{revocations as revoked, users};
use crate::ids::SessionId;

#[tokio::test]
async fn a_refresh_rotates_the_cookie_and_keeps_the_session() {
    let world = Fixture::start().await;
    let login = world.log_in(ADA).await;

    let next = world.refresh(&cookie(&login)).await.unwrap();

    assert_ne!(cookie(&next), cookie(&login));
    assert_eq!(next.user, login.user);
    let (before, after) = (world.principal(&login).await, world.principal(&next).await);
    assert_eq!(before.credential, after.credential);
}

#[tokio::test]
async fn twenty_refreshes_at_once_get_the_same_successor() {
    let world = Fixture::start().await;
    let login = world.log_in(ADA).await;
    let old = cookie(&login);

    let results = join_all((0..20).map(|_| world.refresh(&old))).await;

    let cookies: Vec<_> = results.iter().map(|result| cookie(result.as_ref().unwrap())).collect();
    assert!(cookies.iter().all(|other| *other == cookies[0] && *other != old));
    assert!(world.refresh(&cookies[0]).await.is_ok());
}

#[tokio::test]
async fn a_lost_answer_is_repeated_within_the_grace_and_a_reuse_after_it() {
    let world = Fixture::start().await;
    let old = cookie(&world.log_in(ADA).await);
    let lost = cookie(&world.refresh(&old).await.unwrap());

    world.advance_s(30);
    assert_eq!(cookie(&world.refresh(&old).await.unwrap()), lost);
    world.advance_s(1);
    assert!(is_refused(&world.refresh(&old).await));
    assert!(is_refused(&world.refresh(&lost).await));
}

#[tokio::test]
async fn a_reuse_after_the_grace_ends_that_session_and_no_other() {
    let world = Fixture::start().await;
    let (stolen, other) = (world.log_in(ADA).await, world.log_in(ADA).await);
    let bystander = world.log_in(BOB).await;
    let next = world.refresh(&cookie(&stolen)).await.unwrap();
    world.principal(&next).await;
    world.advance_s(31);

    assert!(is_refused(&world.refresh(&cookie(&stolen)).await));

    let token = next.access_token.expose_secret();
    assert!(is_refused(&world.identity.authenticate(token).await));
    for untouched in [&other, &bystander] {
        world.principal(untouched).await;
        assert!(world.refresh(&cookie(untouched)).await.is_ok());
    }
    assert!(world.actions().await.contains(&"session.reused".to_owned()));
}

#[tokio::test]
async fn a_cookie_two_generations_old_is_a_reuse_even_within_the_grace() {
    let world = Fixture::start().await;
    let first = cookie(&world.log_in(ADA).await);
    let second = cookie(&world.refresh(&first).await.unwrap());
    let third = cookie(&world.refresh(&second).await.unwrap());

    assert!(is_refused(&world.refresh(&first).await));
    assert!(is_refused(&world.refresh(&third).await));
}

#[tokio::test]
async fn a_session_ends_after_thirty_days_however_often_it_was_refreshed() {
    let world = Fixture::start().await;
    let (token, _) = world.mailed(ADA).await;
    let mut login = world.verify_token(&token).await.unwrap();
    for _ in 0..29 {
        world.advance_s(86_400);
        login = world.refresh(&cookie(&login)).await.unwrap();
    }
    assert_eq!(login.refresh_max_age_s, 86_400);

    world.advance_s(86_400);

    assert!(is_refused(&world.refresh(&cookie(&login)).await));
    assert!(is_refused(&world.identity.page_session(&cookie(&login)).await));
    assert!(is_refused(&world.identity.authenticate(login.access_token.expose_secret()).await));
}

#[tokio::test]
async fn a_logout_ends_token_and_cookie_at_once_and_no_other_device() {
    let world = Fixture::start().await;
    let (one, other) = (world.log_in(ADA).await, world.log_in(ADA).await);
    let who = world.principal(&one).await;
    world.principal(&other).await;

    world.identity.logout(&who, &world.client()).await.unwrap();

    assert!(is_refused(&world.identity.authenticate(one.access_token.expose_secret()).await));
    assert!(is_refused(&world.refresh(&cookie(&one)).await));
    assert!(is_refused(&world.identity.page_session(&cookie(&one)).await));
    world.principal(&other).await;
}

#[tokio::test]
async fn logging_out_everywhere_ends_all_of_the_users_sessions() {
    let world = Fixture::start().await;
    let (one, two) = (world.log_in(ADA).await, world.log_in(ADA).await);
    let bystander = world.log_in(BOB).await;
    let who = world.principal(&one).await;
    world.principal(&two).await;
    world.principal(&bystander).await;

    world.identity.logout_all(&who, &world.client()).await.unwrap();

    for ended in [&one, &two] {
        assert!(is_refused(&world.identity.authenticate(ended.access_token.expose_secret()).await));
        assert!(is_refused(&world.refresh(&cookie(ended)).await));
    }
    world.principal(&bystander).await;
}

#[tokio::test]
async fn another_node_sees_a_logout_with_its_first_look_afterwards() {
    let world = Fixture::start().await;
    let other = world.another_node().await;
    let login = world.log_in(ADA).await;
    let token = login.access_token.expose_secret();
    let who = other.authenticate(token).await.unwrap();

    world.identity.logout(&who, &world.client()).await.unwrap();
    other.inner.catch_up().await.unwrap();

    assert!(is_refused(&other.authenticate(token).await));
}

#[tokio::test]
async fn a_node_looks_for_the_logouts_of_others_by_itself_three_times_a_second() {
    // With the promise of a second a look may be late by as much as it lies before the next.
    const { assert!(upkeep::POLL_EVERY.as_millis() * 3 < 1_000) };
    let world = Fixture::start().await;
    let other = world.another_node().await;
    let login = world.log_in(ADA).await;
    let token = login.access_token.expose_secret();
    let who = other.authenticate(token).await.unwrap();

    world.identity.logout(&who, &world.client()).await.unwrap();

    let looked = async {
        while other.authenticate(token).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // How soon it comes to it is the machine's affair; that it does is what is shown.
    tokio::time::timeout(PATIENCE, looked).await.expect("it looks by itself");
}

#[tokio::test]
async fn a_session_speaks_for_another_tenant_of_its_user_and_for_no_foreign_one() {
    let world = Fixture::start().await;
    let (ada, bob) = (world.log_in(ADA).await, world.log_in(BOB).await);
    let who = world.principal(&ada).await;
    let foreign = world.identity.switch(&who, bob.tenant.id, &world.client()).await;
    assert!(matches!(foreign, Err(IdentityError::NotFound)));
    let mut tx = world.db.system_tx().await.unwrap();
    let now = world.clock.now();
    users::insert_membership(&mut tx, bob.tenant.id, ada.user.id, Role::Viewer, now).await.unwrap();
    tx.commit().await.unwrap();

    let switched = world.identity.switch(&who, bob.tenant.id, &world.client()).await.unwrap();

    assert!(switched.refresh_token.is_none());
    let principal = world.principal(&switched).await;
    assert_eq!((principal.tenant, principal.role), (bob.tenant.id, Some(Role::Viewer)));
    assert_eq!(world.principal(&ada).await.tenant, ada.tenant.id);
    let next = world.refresh(&cookie(&ada)).await.unwrap();
    assert_eq!((next.tenant.id, next.tenant.name.as_str()), (bob.tenant.id, "bob"));
}

#[tokio::test]
async fn a_user_lists_and_ends_his_own_devices_alone() {
    let world = Fixture::start().await;
    let (one, two) = (world.log_in(ADA).await, world.log_in(ADA).await);
    let bob = world.principal(&world.log_in(BOB).await).await;
    let who = world.principal(&one).await;
    let ended = world.principal(&two).await;
    let (Credential::Session { session: mine, .. }, Credential::Session { session: old, .. }) =
        (who.credential, ended.credential)
    else {
        panic!("logins are sessions");
    };

    let listed = world.identity.sessions(&who).await.unwrap();
    assert_eq!(listed.len(), 2);
    let current: Vec<_> = listed.iter().filter(|session| session.current).collect();
    assert_eq!((current.len(), current[0].id), (1, mine));
    assert_eq!(current[0].user_agent.as_deref(), Some("Netscape"));

    let client = world.client();
    for (principal, session) in [(&bob, mine), (&who, SessionId::from_bits(7))] {
        let refused = world.identity.revoke_session(principal, session, &client).await;
        assert!(matches!(refused, Err(IdentityError::NotFound)));
    }
    world.identity.revoke_session(&who, old, &client).await.unwrap();
    assert!(is_refused(&world.identity.authenticate(two.access_token.expose_secret()).await));
    assert_eq!(world.identity.sessions(&who).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_twenty_first_device_ends_the_one_unused_for_longest() {
    let world = Fixture::start().await;
    let mut logins = Vec::new();
    for _ in 0..20 {
        logins.push(world.log_in(ADA).await);
    }
    world.principal(&logins[1]).await;
    let used = world.refresh(&cookie(&logins[0])).await.unwrap();

    world.log_in(ADA).await;

    world.principal(&used).await;
    assert!(is_refused(&world.identity.authenticate(logins[1].access_token.expose_secret()).await));
    world.principal(&logins[2]).await;
}

#[tokio::test]
async fn a_page_knows_its_reader_by_the_cookie_and_rotates_nothing() {
    let world = Fixture::start().await;
    let login = world.log_in(ADA).await;

    let page = world.identity.page_session(&cookie(&login)).await.unwrap();

    assert_eq!(page, world.principal(&login).await);
    assert!(world.refresh(&cookie(&login)).await.is_ok());
    assert!(is_refused(&world.identity.page_session("nonsense").await));
    let token = login.access_token.expose_secret();
    assert!(is_refused(&world.identity.page_session(token).await));
}

#[tokio::test]
async fn a_cookie_is_no_bearer_and_a_bearer_no_cookie() {
    let world = Fixture::start().await;
    let login = world.log_in(ADA).await;

    assert!(is_refused(&world.identity.authenticate(&cookie(&login)).await));
    assert!(is_refused(&world.refresh(login.access_token.expose_secret()).await));
}

#[tokio::test]
async fn a_role_that_changed_is_seen_once_the_user_was_revoked_from_the_cache() {
    let world = Fixture::start().await;
    let login = world.log_in(ADA).await;
    assert_eq!(world.principal(&login).await.role, Some(Role::Owner));
    let mut tx = world.db.system_tx().await.unwrap();
    let now = world.clock.now();
    users::set_role(&mut tx, login.tenant.id, login.user.id, Role::Viewer).await.unwrap();
    let subject = login.user.id.to_string();
    revoked::insert(&mut tx, &subject, now).await.unwrap();
    tx.commit().await.unwrap();

    world.identity.inner.catch_up().await.unwrap();

    assert_eq!(world.principal(&login).await.role, Some(Role::Viewer));
}

#[tokio::test]
async fn a_change_without_its_record_does_not_happen() {
    let world = Fixture::start().await;
    let login = world.log_in(ADA).await;
    let who = world.principal(&login).await;
    let (token, _) = world.mailed(ADA).await;
    world.break_records(true).await;

    assert!(world.verify_token(&token).await.is_err());
    assert!(world.request(BOB).await.is_err());
    assert!(world.identity.logout(&who, &world.client()).await.is_err());
    assert!(world.identity.rotate_default_key(&who, &world.client()).await.is_err());

    world.break_records(false).await;
    assert!(world.refresh(&cookie(&login)).await.is_ok());
    assert!(world.verify_token(&token).await.is_ok());
    assert!(world.outbox().await.iter().all(|(_, secret)| secret.email == ADA));
}

#[tokio::test]
async fn a_token_does_not_outlive_its_session() {
    let world = Fixture::start().await;
    let (token, _) = world.mailed(ADA).await;
    let login = world.verify_token(&token).await.unwrap();
    world.advance_s(30 * 86_400 - 60);
    let last = world.refresh(&cookie(&login)).await.unwrap();
    world.principal(&last).await;

    world.advance_s(60);

    assert!(is_refused(&world.identity.authenticate(last.access_token.expose_secret()).await));
}

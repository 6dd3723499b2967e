use futures_util::future::join_all;

use super::*;
use crate::database::magic_links;

#[tokio::test]
async fn the_first_login_makes_user_tenant_and_key_with_their_records() {
    let world = Fixture::start().await;
    let (token, _) = world.mailed(ADA).await;

    let login = world.verify_token(&token).await.unwrap();

    assert_eq!(login.user.email.as_str(), ADA);
    assert_eq!((login.tenant.name.as_str(), login.tenant.role), ("ada", Role::Owner));
    assert_eq!((login.expires_in_s, login.refresh_max_age_s), (86_400, 30 * 86_400));
    let mut actions = world.actions().await;
    actions.sort();
    let expected =
        ["api_key.created", "link.requested", "session.opened", "tenant.created", "user.created"];
    assert_eq!(actions, expected);
    let me = world.identity.me(&world.principal(&login).await).await.unwrap();
    assert_eq!((me.tenant_id, me.tenants.len()), (login.tenant.id, 1));
}

#[tokio::test]
async fn the_second_login_finds_the_same_user_and_tenant() {
    let world = Fixture::start().await;
    let first = world.log_in(ADA).await;

    let second = world.log_in(ADA).await;

    assert_eq!((first.user.id, first.tenant.id), (second.user.id, second.tenant.id));
}

#[tokio::test]
async fn of_a_hundred_verifies_at_once_one_succeeds() {
    let world = Fixture::start().await;
    let (token, _) = world.mailed(ADA).await;

    let results = join_all((0..100).map(|_| world.verify_token(&token))).await;

    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(
        results.iter().filter(|result| matches!(result, Err(IdentityError::LinkInvalid))).count(),
        99
    );
    let opened = world.actions().await;
    assert_eq!(opened.iter().filter(|action| *action == "session.opened").count(), 1);
    assert_eq!(opened.iter().filter(|action| *action == "tenant.created").count(), 1);
}

#[tokio::test]
async fn link_and_code_of_one_mail_work_once_between_them() {
    let world = Fixture::start().await;
    let (token, code) = world.mailed(ADA).await;

    let (by_token, by_code) =
        tokio::join!(world.verify_token(&token), world.verify_code(ADA, &code));

    assert_ne!(by_token.is_ok(), by_code.is_ok());
}

#[tokio::test]
async fn a_code_works_however_it_is_typed_and_only_for_its_address() {
    let world = Fixture::start().await;
    let (_, code) = world.mailed(ADA).await;
    world.mailed(BOB).await;

    assert!(world.verify_code(BOB, &code).await.is_err());
    let typed = code.replace('-', " ").to_lowercase();
    assert!(world.verify_code(" ADA@Example.test ", &typed).await.is_ok());
    assert!(world.verify_code(ADA, &code).await.is_err());
}

#[tokio::test]
async fn five_wrong_codes_void_link_and_code() {
    let world = Fixture::start().await;
    let (token, code) = world.mailed(ADA).await;

    for _ in 0..5 {
        let wrong = world.verify_code(ADA, "0000-0000").await;
        assert!(matches!(wrong, Err(IdentityError::LinkInvalid)));
    }

    assert!(world.verify_code(ADA, &code).await.is_err());
    assert!(world.verify_token(&token).await.is_err());
}

#[tokio::test]
async fn four_wrong_codes_leave_the_right_one_good() {
    let world = Fixture::start().await;
    let (_, code) = world.mailed(ADA).await;
    for wrong in ["0000-0000", "not a code", "", "ABCD-EFGH"] {
        assert!(world.verify_code(ADA, wrong).await.is_err());
    }

    assert!(world.verify_code(ADA, &code).await.is_ok());
}

#[tokio::test]
async fn of_fifty_wrong_codes_at_once_five_are_compared() {
    let world = Fixture::start().await;
    let (_, code) = world.mailed(ADA).await;

    join_all((0..50).map(|_| world.verify_code(ADA, "0000-0000"))).await;

    let mut reader = world.db.reader().await.unwrap();
    let digest = world.keys.digest("email", ADA.as_bytes());
    let since = Timestamp::from_micros(0);
    let tried = magic_links::attempts_since(&mut reader, &digest, since).await;
    assert_eq!(tried.unwrap(), 5);
    assert!(world.verify_code(ADA, &code).await.is_err());
}

#[tokio::test]
async fn twenty_wrong_codes_a_day_close_the_code_but_not_the_link() {
    let world = Fixture::start().await;
    for _ in 0..4 {
        world.mailed(ADA).await;
        for _ in 0..5 {
            assert!(world.verify_code(ADA, "0000-0000").await.is_err());
        }
        world.advance_s(16 * 60);
    }
    let (token, code) = world.mailed(ADA).await;

    assert!(world.verify_code(ADA, &code).await.is_err());
    assert!(world.verify_token(&token).await.is_ok());
    world.advance_s(24 * 60 * 60);
    let (_, code) = world.mailed(ADA).await;
    assert!(world.verify_code(ADA, &code).await.is_ok());
}

#[tokio::test]
async fn a_link_works_for_a_quarter_of_an_hour() {
    let world = Fixture::start().await;
    let (token, code) = world.mailed(ADA).await;
    world.advance_s(15 * 60 - 1);
    assert!(world.verify_token(&token).await.is_ok());
    assert!(world.verify_code(ADA, &code).await.is_err());

    let (token, code) = world.mailed(ADA).await;
    world.advance_s(15 * 60);
    assert!(world.verify_token(&token).await.is_err());
    assert!(world.verify_code(ADA, &code).await.is_err());
}

#[tokio::test]
async fn a_newer_mail_voids_the_one_before() {
    let world = Fixture::start().await;
    let (old_token, old_code) = world.mailed(ADA).await;
    let (token, _) = world.mailed(ADA).await;

    assert!(world.verify_token(&old_token).await.is_err());
    assert!(world.verify_code(ADA, &old_code).await.is_err());
    assert!(world.verify_token(&token).await.is_ok());
}

#[tokio::test]
async fn an_address_gets_three_mails_in_a_quarter_of_an_hour_known_or_not() {
    let world = Fixture::start().await;
    world.log_in(ADA).await;
    world.advance_s(15 * 60);
    for email in [ADA, BOB] {
        for _ in 0..3 {
            world.request(email).await.unwrap();
        }
        let refused = world.request(&email.to_uppercase()).await;
        let Err(IdentityError::TooManyLinks { retry_after_s }) = refused else {
            panic!("a fourth mail was owed");
        };
        assert!((899..=901).contains(&retry_after_s), "{retry_after_s}");
    }

    world.advance_s(15 * 60);
    assert!(world.request(BOB).await.is_ok());
}

#[tokio::test]
async fn a_flood_for_one_address_owes_three_mails() {
    let world = Fixture::start().await;

    let results = join_all((0..50).map(|_| world.request(ADA))).await;

    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
    assert_eq!(world.outbox().await.len(), 3);
}

#[tokio::test]
async fn the_link_begins_with_the_configured_url_and_is_shown_in_development_alone() {
    let world = Fixture::start().await;
    let shown = world.request(ADA).await.unwrap().magic_link.unwrap();
    assert!(shown.expose_secret().starts_with("https://app.example.test/login#token="));

    let world = Fixture::start_with(Mode::Production, None).await;
    assert!(world.request(ADA).await.unwrap().magic_link.is_none());
}

#[tokio::test]
async fn a_login_leads_only_to_paths_of_this_site() {
    let world = Fixture::start().await;
    for (next, kept) in [("/jobs?tab=1", "/jobs?tab=1"), ("//evil.test", "/")] {
        let request = LinkRequest {
            email: ADA.to_owned(),
            next: Some(next.to_owned()),
            client: world.client(),
        };
        let link = world.identity.request_link(request).await.unwrap().magic_link.unwrap();
        let (_, token) = link.expose_secret().split_once("#token=").unwrap();
        assert_eq!(world.verify_token(token).await.unwrap().next, kept);
    }
}

#[tokio::test]
async fn what_is_no_address_changes_nothing() {
    let world = Fixture::start().await;

    let refused = world.request("ada@example.test\r\nBcc: eve@evil.test").await;

    assert!(matches!(refused, Err(IdentityError::InvalidEmail(_))));
    assert!(world.outbox().await.is_empty());
    assert!(world.actions().await.is_empty());
}

#[tokio::test]
async fn any_text_is_refused_as_a_token_without_an_error() {
    let world = Fixture::start().await;
    for token in ["", "x", "' OR 1=1 --", "\u{0}", &"a".repeat(10_000)] {
        let refused = world.verify_token(token).await;
        assert!(matches!(refused, Err(IdentityError::LinkInvalid)), "{refused:?}");
    }
}

//! The whole is as healthy as its essential parts, and no worse than degraded by optional ones.

use std::time::Duration;

use super::*;
use crate::breaker::BreakerSettings;

#[test]
fn an_empty_registry_is_ready() {
    let registry = Registry::new();

    assert!(registry.is_ready());
    assert_eq!(registry.overall(), Status::Ok);
    assert!(registry.report().is_empty());
}

#[test]
fn the_report_lists_parts_by_name_with_their_last_word() {
    let registry = Registry::new();
    let mail = registry.register("mail", Importance::Optional);
    registry.register_with("database", Importance::Essential, || Status::Degraded);

    mail.set(Status::Down);
    mail.set(Status::Ok);

    let report: Vec<_> = registry.report().into_iter().map(|c| (c.name, c.status)).collect();
    assert_eq!(report, [("database", Status::Degraded), ("mail", Status::Ok)]);
    assert_eq!(registry.overall(), Status::Degraded);
}

#[test]
fn importance_decides_what_down_means() {
    for (importance, overall) in
        [(Importance::Optional, Status::Degraded), (Importance::Essential, Status::Down)]
    {
        let registry = Registry::new();
        registry.register("part", importance).set(Status::Down);
        assert_eq!(registry.overall(), overall);
        assert_eq!(registry.is_ready(), overall != Status::Down);
    }
}

#[test]
fn a_question_may_look_at_the_registry_itself() {
    let registry = Registry::new();
    let inner = registry.clone();
    registry.register("part", Importance::Essential).set(Status::Degraded);
    registry.register_with("asks", Importance::Optional, move || {
        inner.lock(|parts| if parts.len() == 2 { Status::Ok } else { Status::Down })
    });

    assert_eq!(registry.overall(), Status::Degraded);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_is_down_then_degraded_then_ok() {
    let registry = Registry::new();
    let breaker = Breaker::new(BreakerSettings {
        name: "mail",
        failures: 1,
        open_for: Duration::from_secs(1),
        max_open_for: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
    });
    registry.register_breaker(Importance::Optional, &breaker);
    let status = || registry.report()[0].status;
    assert_eq!(status(), Status::Ok);

    assert!(breaker.call_with(|()| true, || async { Err::<(), ()>(()) }).await.is_err());
    assert_eq!(status(), Status::Down);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(status(), Status::Degraded);
    assert!(breaker.call_with(|()| true, || async { Ok::<(), ()>(()) }).await.is_ok());
    assert_eq!(status(), Status::Ok);
}

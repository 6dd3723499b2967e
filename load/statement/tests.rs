//! The service decides right, on a real PostgreSQL: a comparison with a wrong one proves nothing.

use super::store::{Decision, LIMIT, Spend, Store};
use super::*;
use crate::postgres::Cluster;

/// As many requests as this come at once with the same key.
const AT_ONCE: usize = 32;

fn spend(key: &str, amount: i64) -> Spend<'_> {
    Spend { tenant: 1, meter: "tts_ms", amount, key }
}

#[test]
fn a_key_is_charged_once_and_nobody_beyond_the_limit() {
    let cluster = Cluster::start(Some(&std::env::temp_dir())).unwrap();
    let database = cluster.create("statement").unwrap();
    prepare(&database, &["tk_live_a".to_owned(), "tk_live_b".to_owned()]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut carriers = JoinSet::new();
        let store = Arc::new(Store::open(&database, 4, &mut carriers).await.unwrap());

        let mut waiting = JoinSet::new();
        for _ in 0..AT_ONCE {
            let store = Arc::clone(&store);
            waiting.spawn(async move { store.consume(&spend("a", 3)).await.unwrap() });
        }
        let decisions = waiting.join_all().await;
        assert_eq!(decisions, [Decision::Admitted { used: 3, limit: LIMIT }; AT_ONCE]);
        assert_eq!(store.consume(&spend("a", 4)).await.unwrap(), Decision::Reused);
        assert_eq!(store.consume(&spend("b", LIMIT - 2)).await.unwrap(), Decision::Refused);
        // A refused key was not kept.
        let last = Decision::Admitted { used: LIMIT, limit: LIMIT };
        assert_eq!(store.consume(&spend("b", LIMIT - 3)).await.unwrap(), last);
        assert_eq!(store.consume(&spend("c", 1)).await.unwrap(), Decision::Refused);
        assert_eq!(store.accounts().await.unwrap()["tk_live_b"], 2);
    });
    assert_eq!(spent(&database).unwrap(), (LIMIT.unsigned_abs(), 2));
}

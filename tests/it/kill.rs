//! The server is killed at random moments under load, again and again, and must lose and invent nothing.
//!
//! What each client sends and is told is recorded. After every kill the journal on disk is verified and
//! judged by the history checker, the server starts again, and every request since the last kill is
//! repeated with its key.

pub(crate) mod client;
pub(crate) mod scene;

use std::time::Duration;

use rand::Rng as _;
use tokio::time::sleep;

use crate::support::stack;
use scene::{Scene, moment};

/// How often the server is killed on each database.
const KILLS: usize = 30;
const KILLS_ON_POSTGRES: usize = 10;

/// Tenants, and clients that work for each of them at once.
const TENANTS: usize = 4;
const CLIENTS_PER_TENANT: usize = 3;

/// The meter whose limit is soon reached, and one whose limit never is, so that both sides are seen
/// from the first kill to the last.
const SCARCE: &str = "images";
const PLENTY: &str = "tts_ms";

/// How much of the scarce meter each tenant may use.
const LIMIT: u64 = 200;

/// How long load runs before a kill, at most.
const MAX_LOAD_MS: u64 = 700;

/// Of so many starts, one is killed while the server still recovers.
const INTERRUPTED_STARTS: u32 = 4;

/// How long an interrupted start may last.
const MAX_START_MS: u64 = 150;

#[tokio::test]
async fn thirty_kills_under_load_lose_nothing_double_nothing_and_oversell_nothing() {
    kill_again_and_again(Scene::start(stack()).await, KILLS).await;
}

#[tokio::test]
async fn kills_under_load_on_postgresql_lose_nothing_double_nothing_and_oversell_nothing() {
    kill_again_and_again(Scene::start_on_postgres(stack()).await, KILLS_ON_POSTGRES).await;
}

async fn kill_again_and_again(mut scene: Scene, kills: usize) {
    for kill in 1..=kills {
        let after = moment(&mut scene.rng);
        let killed = scene
            .load_while(async |stack| {
                sleep(after).await;
                stack.kill().await
            })
            .await;
        killed.unwrap();

        let context = format!("after kill {kill}");
        scene.check_ledger(&context).await;
        if scene.rng.random_ratio(1, INTERRUPTED_STARTS) {
            let after = Duration::from_millis(scene.rng.random_range(0..=MAX_START_MS));
            scene.stack.interrupt_start(after).await.unwrap();
        }
        scene.stack.restart().await.unwrap();
        scene.repeat(None, &context).await;
    }

    // How much happens before a kill is up to the machine; that the limit is reached is not.
    assert!(scene.acknowledged() > 0, "nothing was acknowledged before any kill");
    scene.use_up().await;
    assert_eq!(scene.stack.stop().await.unwrap(), Some(0));
    scene.check_ledger("at the end").await;
}

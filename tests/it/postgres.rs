//! The product on PostgreSQL, and what its faults must not do: the server between them is killed,
//! paused, cut off and replaced, and every acknowledged decision is there once.

use std::time::Duration;

use serde_json::json;
use tenantry_chaos::{Cut, Moment, Postgres, Proxy};
use tokio::time::sleep;

use crate::kill::scene::{Scene, moment};
use crate::product::{eventually, items, meter};
use crate::support::stack;

/// How long a server may take to serve again once its database does.
const RECOVERS_WITHIN: Duration = Duration::from_mins(1);

/// How long an owner that was replaced may take to notice: it looks every second.
const NOTICES_WITHIN: Duration = Duration::from_mins(1);

/// How long PostgreSQL is paused: longer than the server waits for a commit's answer.
const PAUSE: Duration = Duration::from_secs(7);

/// Rounds of each fault.
const RESTARTS: usize = 3;
const CUTS: usize = 6;

#[tokio::test]
async fn a_login_a_key_and_metered_use_survive_a_restart() {
    let mut stack = stack().postgres().start().await.unwrap();
    let key = stack.api_key("ada@example.test").await.unwrap();
    let consume = items("images", 3);

    let first = key.post_once("/api/usage/consume", "one", &consume).await.unwrap();
    let again = key.post_once("/api/usage/consume", "one", &consume).await.unwrap();
    let held = key.post_once("/api/reservations", "two", &items("images", 4)).await.unwrap();
    stack.restart().await.unwrap();
    let key = key.at(&stack.server().url());
    let later = key.post_once("/api/usage/consume", "one", &consume).await.unwrap();
    let path = format!("/api/reservations/{}/commit", held.body["id"].as_str().unwrap());
    let committed = key.post_once(&path, "three", &json!({})).await.unwrap();

    assert_eq!((first.status, again.status, later.status), (200, 200, 200));
    assert_eq!((&again.body, &later.body), (&first.body, &first.body));
    assert_eq!((held.status, committed.status), (201, 200));
    let row = meter(&key, "images").await;
    assert_eq!((row["used"].as_u64(), row["reserved"].as_u64()), (Some(7), Some(0)), "{row}");
    assert!(!stack.data_dir().join("journal.db").exists(), "nothing of it is in files");
    assert_eq!(stack.stop().await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_paused_owner_that_was_replaced_answers_nothing_and_sells_nothing() {
    let mut scene = Scene::start_on_postgres(stack()).await;
    let url = scene.stack.postgres().url();
    let mut second = scene.another(stack(), &url).await;
    let after = moment(&mut scene.rng);
    let mut last = scene.clients.pop().unwrap();

    let sold = scene
        .load_while(async |first| {
            sleep(after).await;
            first.server().pause().unwrap();
            second.restart().await.unwrap();
            let sold = last.use_up(&second.server().url()).await;
            first.server().resume().unwrap();
            sold
        })
        .await;
    scene.clients.push(last);

    let asleep = eventually(NOTICES_WITHIN, async || {
        let ready = scene.stack.ops().get("/readyz").await.ok()?;
        (ready.status == 503).then_some(ready)
    });
    asleep.await;
    let zombie = scene.bystander(&scene.stack);
    let read = zombie.get("/api/usage").await.unwrap();
    let one = items("images", 1);
    let bought = zombie.post_once("/api/usage/consume", "late", &one).await.unwrap();
    assert_eq!((read.status, bought.status), (503, 503), "{read:?} {bought:?}");
    scene.repeat(Some(&second), "at the second server").await;
    scene.check_ledger(&format!("after a replacement that sold {sold}")).await;
    assert_eq!(scene.stack.stop().await.unwrap(), Some(0), "a replaced server ends in order");
    assert_eq!(second.stop().await.unwrap(), Some(0));
    scene.check_ledger("when both have ended").await;
}

#[tokio::test]
async fn a_server_takes_over_from_one_that_is_busy() {
    let mut scene = Scene::start_on_postgres(stack()).await;
    let url = scene.stack.postgres().url();
    let mut second = scene.another(stack(), &url).await;
    let after = moment(&mut scene.rng);

    scene
        .load_while(async |_| {
            sleep(after).await;
            second.restart().await.unwrap();
        })
        .await;

    scene.repeat(Some(&second), "at the second server").await;
    scene.check_ledger("after a takeover").await;
    drop(second);
}

#[tokio::test]
async fn an_answer_that_is_lost_on_the_way_changes_nothing() {
    let mut scene = Scene::start_on_postgres(stack()).await;
    let proxy = Proxy::start(scene.stack.postgres().address()).await.unwrap();
    scene.stack.set_variable("DATABASE_URL", Postgres::url_by(proxy.address()));
    scene.stack.restart().await.unwrap();

    for round in 0..CUTS {
        let moment = [Moment::AfterItsCommit, Moment::BeforeItIsSent][round % 2];
        // The log, then whatever transaction ends next: a projection, a login, a snapshot.
        let statement = ["INSERT INTO journal (", "COMMIT"][round / 2 % 2];
        scene
            .load_while(async |_| {
                let before = proxy.carried_out();
                proxy.arm(Cut { statement, moment });
                let is_cut = async || (proxy.carried_out() > before).then_some(());
                eventually(RECOVERS_WITHIN, is_cut).await;
                // The same rows, on another connection: nobody has to see a failure.
                sleep(Duration::from_millis(300)).await;
            })
            .await;
        let context = format!("cut {round} at `{statement}`, {moment:?}");
        scene.repeat(None, &context).await;
        scene.check_ledger(&context).await;
    }
    proxy.cut();
    scene.repeat(None, "after all connections were cut").await;
    assert_eq!(scene.stack.stop().await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_database_that_stands_still_costs_time_and_nothing_else() {
    let mut scene = Scene::start_on_postgres(stack()).await;
    let after = moment(&mut scene.rng);

    scene
        .load_while(async |stack| {
            sleep(after).await;
            stack.postgres().pause();
            sleep(PAUSE).await;
            stack.postgres().resume();
        })
        .await;

    serves_again(&scene).await;
    scene.repeat(None, "after a pause").await;
    scene.check_ledger("after a pause").await;
}

#[tokio::test]
async fn a_database_that_is_killed_and_comes_back_is_found_by_the_same_server() {
    let mut scene = Scene::start_on_postgres(stack()).await;
    let server = scene.stack.server().id();
    for round in 1..=RESTARTS {
        let after = moment(&mut scene.rng);
        scene
            .load_while(async |stack| {
                sleep(after).await;
                stack.postgres().kill().await.unwrap();
                sleep(after).await;
                stack.postgres().restart().await.unwrap();
            })
            .await;
        serves_again(&scene).await;
        let context = format!("after restart {round} of the database");
        scene.repeat(None, &context).await;
        scene.check_ledger(&context).await;
    }
    assert_eq!(scene.stack.server().id(), server, "the server did not end");
    assert_eq!(scene.stack.stop().await.unwrap(), Some(0));
}

/// Waits until the server decides again.
async fn serves_again(scene: &Scene) {
    let key = scene.bystander(&scene.stack);
    eventually(RECOVERS_WITHIN, async || {
        let ready = scene.stack.ops().get("/readyz").await.ok()?;
        let read = key.get("/api/usage").await.ok()?;
        (ready.status == 200 && read.status == 200).then_some(())
    })
    .await;
}

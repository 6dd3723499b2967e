//! The server as a process: it starts, stops in order, and leaves nothing behind.

use tenantry_chaos::Reply;
use tenantry_chaos::harness::running_with;

use crate::product::items;
use crate::support::stack;

#[tokio::test]
async fn a_server_is_ready_stops_in_order_and_starts_again_on_its_folder() {
    let mut stack = stack().start().await.unwrap();

    let ready = stack.ops().get("/readyz").await.unwrap();
    let code = stack.stop().await.unwrap();
    stack.restart().await.unwrap();
    let again = stack.api().get("/healthz").await.unwrap();

    assert_eq!((ready.status, code, again.status), (200, Some(0), 200));
}

#[tokio::test]
async fn a_killed_server_leaves_no_process_behind() {
    let mut stack = stack().start().await.unwrap();
    let before = running_with(stack.data_dir()).len();

    stack.kill().await.unwrap();

    assert_eq!((before, running_with(stack.data_dir()).len()), (1, 0));
}

#[tokio::test]
async fn a_wrong_setting_ends_the_start_with_64_and_says_which() {
    let mut stack = stack().start().await.unwrap();
    stack.set_variable("TENANTRY__HTTP__LISTEN", "nowhere");

    let output = stack.run(&["serve"]).await.unwrap();

    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("http.listen"), "{said}");
}

#[tokio::test]
async fn a_second_server_on_a_data_folder_refuses_and_disturbs_nothing() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("owner@example.com").await.unwrap();
    let consume = items("images", 1);
    let first = api.post_once("/api/usage/consume", "one", &consume).await.unwrap();

    for arguments in [&["serve"][..], &["migrate"], &["tenant", "create", "--name", "x"]] {
        let second = stack.run(arguments).await.unwrap();
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert_eq!(second.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("in use by another process"), "{arguments:?}: {said}");
    }

    let again = api.post_once("/api/usage/consume", "two", &consume).await.unwrap();
    let seq = |reply: &Reply| reply.body["seq"].as_u64().unwrap();
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(seq(&again), seq(&first) + 1);
    stack.verify().await.unwrap();
}

#[tokio::test]
async fn a_server_whose_lock_was_removed_gives_up_before_another_takes_its_place() {
    let mut stack = stack().start().await.unwrap();

    std::fs::remove_file(stack.data_dir().join("lock")).unwrap();

    assert_eq!(stack.wait().await.unwrap(), Some(70), "it must not go on beside another");
    stack.restart().await.unwrap();
    assert_eq!(stack.ops().get("/readyz").await.unwrap().status, 200);
}

//! The server as a process: it starts, stops in order, and leaves nothing behind.

use tenantry_chaos::harness::running_with;

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

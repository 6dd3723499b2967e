use std::process::Stdio;

use tokio::process::Command;

use super::*;
use crate::Postgres;

const INSERT: &str = "INSERT INTO t VALUES (1)";

/// Runs a statement through the proxy; says whether it was answered.
async fn is_answered(proxy: &Proxy, statement: &str) -> bool {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-c", statement]).arg(Postgres::url_by(proxy.address()));
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().await.unwrap().success()
}

#[tokio::test]
async fn a_cut_after_the_commit_hides_the_answer_and_keeps_the_row() {
    let server = Postgres::start().await.unwrap();
    let proxy = Proxy::start(server.address()).await.unwrap();
    assert!(is_answered(&proxy, "CREATE TABLE t (n BIGINT)").await);

    proxy.arm(Cut { statement: "INSERT INTO t", moment: Moment::AfterItsCommit });
    let is_known = is_answered(&proxy, INSERT).await;
    let rows = server.sql("SELECT COUNT(*) FROM t").await.unwrap();

    assert_eq!((is_known, rows.as_str(), proxy.carried_out()), (false, "1", 1));
    assert!(is_answered(&proxy, INSERT).await, "one cut is one cut");
}

#[tokio::test]
async fn a_cut_before_a_statement_is_sent_leaves_nothing() {
    let server = Postgres::start().await.unwrap();
    let proxy = Proxy::start(server.address()).await.unwrap();
    assert!(is_answered(&proxy, "CREATE TABLE t (n BIGINT)").await);

    proxy.arm(Cut { statement: "INSERT INTO t", moment: Moment::BeforeItIsSent });
    let is_known = is_answered(&proxy, INSERT).await;

    assert!(!is_known);
    assert_eq!(server.sql("SELECT COUNT(*) FROM t").await.unwrap(), "0");
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_gone_lets_nothing_through() {
    let server = Postgres::start().await.unwrap();
    let proxy = Proxy::start(server.address()).await.unwrap();

    proxy.refuse(true);
    let refused = is_answered(&proxy, "SELECT 1").await;
    proxy.refuse(false);

    assert!(!refused);
    assert!(is_answered(&proxy, "SELECT 1").await);
}

#[test]
fn a_bound_statement_is_known_by_its_name_in_whatever_pieces_it_comes() {
    let message = |kind: u8, body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind], length.as_slice(), body].concat()
    };
    let startup = [0, 0, 0, 8, 0, 3, 0, 0].as_slice();
    let parse = message(b'P', b"s1\0INSERT INTO journal\0\0\0");
    let bind = message(b'B', b"\0s1\0\0\0\0\0\0\0");
    let all = [startup, &parse, &bind].concat();
    let mut client = Client::default();

    let steps: Vec<Step> = all.chunks(3).map(|piece| client.take(piece)).collect();

    let passed: Vec<u8> = steps.iter().flat_map(|step| step.bytes.clone()).collect();
    let seen: Vec<&String> = steps.iter().flat_map(|step| &step.statements).collect();
    assert_eq!(passed, all);
    assert_eq!(seen, ["INSERT INTO journal"]);
}

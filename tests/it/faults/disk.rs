//! The disk under the journal fails, is full, or takes its time.

use std::time::Duration;

use futures_util::future::join;
use tenantry_chaos::script::Progress;
use tenantry_chaos::strace::{Errno, FLUSHES, WRITES};
use tokio::time::timeout;

use super::Template;
use crate::product::items;

/// Flushes and writes that fail, spread over the script.
const NTH: &[u32] = &[3, 8, 14];

/// Writes in a row that find no room: more than one commit's.
pub(super) const FULL_FOR: u32 = 12;

/// The exit code of a server that gave up.
pub(super) const GAVE_UP: i32 = 70;

/// A write that takes longer than an answer may: none of the start's, one of the first commits'.
/// `strace` notices a death in the meantime only when that is over.
const SLOW_WRITE: u32 = 40;
const SLOW_FOR: Duration = Duration::from_secs(20);

/// Requests one after the other, of which each is a commit of two writes at least, and reads beside
/// each of them.
const REQUESTS: usize = 60;
const READS: usize = 10;

/// After how long without an answer the write counts as the slow one: too early spoils nothing.
const STANDS_STILL: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_flush_that_fails_ends_the_server_and_loses_nothing_acknowledged() {
    flush_fails(None).await;
}

#[tokio::test]
async fn a_full_disk_refuses_until_there_is_room_and_the_server_lives_on() {
    no_room(None).await;
}

#[tokio::test]
async fn no_answer_and_no_read_is_ahead_of_the_disk() {
    slow_write(None).await;
}

/// What is on its way to the disk is neither acknowledged nor shown: the server is killed there.
pub(crate) async fn slow_write(bug: Option<&str>) {
    let template = Template::with_bug(bug).await;
    let mut run = template.run().await;
    let strace = run.watch(&run.journal(), &[WRITES]).delay_at(SLOW_WRITE, SLOW_FOR);
    run.stack.set_wrapper(strace.words());
    run.stack.restart().await.unwrap();
    let (api, tenant) = (&run.clients()[0], run.script_tenant(0));

    let mut answered = 0;
    for number in 0..REQUESTS {
        let key = format!("slow-{number}");
        let body = items("tts_ms", 1);
        let write = run.recorder.post(api, (tenant, &key), "/api/usage/consume", body);
        let reads = async {
            for _ in 0..READS {
                run.recorder.get(api, tenant, "/api/usage").await;
            }
        };
        if timeout(STANDS_STILL, join(write, reads)).await.is_err() {
            break;
        }
        answered += 1;
    }

    run.stack.kill().await.unwrap();
    run.check("killed in a slow write").await;
    assert!(answered < REQUESTS, "no write was slow");
    run.stack.set_wrapper(Vec::new());
    run.stack.restart().await.unwrap();
    assert_eq!(run.go_on().await, Progress::Done);
    assert_eq!(run.stack.stop().await.unwrap(), Some(0));
    run.check("after a slow write").await;
}

pub(crate) async fn flush_fails(bug: Option<&str>) {
    let template = Template::with_bug(bug).await;
    for nth in NTH {
        let context = format!("flush {nth} failed");
        let mut run = template.run().await;
        let strace = run.watch(&run.journal(), &[FLUSHES]).fail_at(Errno::Io, *nth, 1);
        run.stack.set_wrapper(strace.words());
        // It may fail as early as at the start.
        if run.stack.restart().await.is_ok() {
            assert_eq!(run.go_on().await, Progress::Broken, "{context}");
            assert_eq!(run.stack.wait().await.unwrap(), Some(GAVE_UP), "{context}");
        }
        run.stack.kill().await.unwrap();
        // Each thread is counted by itself, and another one may have come as far.
        assert!(strace.report().failed >= 1, "{context}");
        run.check(&format!("{context}, before the restart")).await;

        run.stack.set_wrapper(Vec::new());
        run.stack.restart().await.unwrap();
        assert_eq!(run.go_on().await, Progress::Done, "{context}");
        assert_eq!(run.stack.stop().await.unwrap(), Some(0), "{context}");
        run.check(&context).await;
    }
}

pub(crate) async fn no_room(bug: Option<&str>) {
    let template = Template::with_bug(bug).await;
    for nth in NTH {
        let context = format!("no room from write {nth} on");
        let mut run = template.run().await;
        let strace = run.watch(&run.journal(), &[WRITES]);
        // The first writes belong to the start, which may fail: what is meant is a running server.
        let from = nth + 12;
        let strace = strace.fail_at(Errno::NoSpace, from, FULL_FOR);
        run.stack.set_wrapper(strace.words());
        run.stack.restart().await.unwrap();

        let progress = run.go_on().await;

        assert_eq!(progress, Progress::Done, "{context}: {:?}", run.recorder.calls().last());
        assert!(strace.report().failed >= FULL_FOR, "{context}");
        assert_eq!(run.stack.stop().await.unwrap(), Some(0), "{context}");
        run.check(&context).await;
    }
}

//! The disk under the journal fails, or is full.

use tenantry_chaos::script::Progress;
use tenantry_chaos::strace::{Errno, FLUSHES, WRITES};

use super::Template;

/// Flushes and writes that fail, spread over the script.
const NTH: &[u32] = &[3, 8, 14];

/// Writes in a row that find no room: more than one commit's.
const FULL_FOR: u32 = 12;

/// The exit code of a server that gave up.
const GAVE_UP: i32 = 70;

#[tokio::test]
async fn a_flush_that_fails_ends_the_server_and_loses_nothing_acknowledged() {
    flush_fails(None).await;
}

#[tokio::test]
async fn a_full_disk_refuses_until_there_is_room_and_the_server_lives_on() {
    no_room(None).await;
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
            let clients = run.clients();
            assert_eq!(run.script.run(&clients).await, Progress::Broken, "{context}");
            assert_eq!(run.stack.wait().await.unwrap(), Some(GAVE_UP), "{context}");
        }
        run.stack.kill().await.unwrap();
        assert_eq!(strace.report().failed, 1, "{context}");
        run.check(&format!("{context}, before the restart")).await;

        run.stack.set_wrapper(Vec::new());
        run.stack.restart().await.unwrap();
        let clients = run.clients();
        assert_eq!(run.script.run(&clients).await, Progress::Done, "{context}");
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
        let clients = run.clients();

        let progress = run.script.run(&clients).await;

        assert_eq!(progress, Progress::Done, "{context}: {:?}", run.recorder.calls().last());
        assert_eq!(strace.report().failed, FULL_FOR, "{context}");
        assert_eq!(run.stack.stop().await.unwrap(), Some(0), "{context}");
        run.check(&context).await;
    }
}

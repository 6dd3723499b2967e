//! The quick start's commands, run as they stand in the book.

use std::fmt::Write as _;
use std::fs;

use tokio::process::Command;

use crate::support::stack;

/// The page, as the book has it.
const PAGE: &str = include_str!("../../docs/src/quick-start.md");

/// Every `bash` block of a page, in order.
pub(crate) fn blocks(page: &str) -> Vec<&str> {
    let open = "```bash\n";
    page.match_indices(open)
        .map(|(at, _)| {
            let block = &page[at + open.len()..];
            &block[..block.find("```").unwrap()]
        })
        .collect()
}

#[tokio::test]
async fn every_command_of_the_quick_start_does_what_it_says() {
    let stack = stack().providers().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut script = String::from("set -euo pipefail\n");
    for (number, block) in blocks(PAGE).into_iter().enumerate() {
        let _ = write!(script, "echo '== block {number}'\n{block}");
    }
    let path = folder.path().join("quick-start.sh");
    fs::write(&path, &script).unwrap();

    let output = Command::new("bash")
        .arg(&path)
        .current_dir(folder.path())
        .env("SERVER", stack.server().url())
        .env("WORLD", stack.world().url())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    for expected in
        ["h264", "aac", "1280", "quota-exceeded", "idempotency-replayed: true", "\"degraded\": [\n"]
    {
        assert!(said.contains(expected), "`{expected}` is missing in\n{said}\n{complained}");
    }
    assert!(fs::metadata(folder.path().join("video.mp4")).unwrap().len() > 10_000);
}

//! The commands of the quick start and of the operators' page, run as they stand in the book.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tokio::process::Command;

use crate::operators::{operated, operator};
use crate::support::stack;

/// The pages, as the book has them.
const PAGE: &str = include_str!("../../docs/src/quick-start.md");
const OPERATORS: &str = include_str!("../../docs/src/operators.md");

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

/// Runs the commands of a page one after the other in one shell, and returns what they said.
async fn run(page: &str, variables: &[(&str, String)], folder: &Path) -> String {
    let mut script = String::from("set -euo pipefail\n");
    for (number, block) in blocks(page).into_iter().enumerate() {
        let _ = write!(script, "echo '== block {number}'\n{block}");
    }
    let path = folder.join("page.sh");
    fs::write(&path, &script).unwrap();
    let output = Command::new("bash")
        .arg(&path)
        .current_dir(folder)
        .envs(variables.iter().cloned())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    format!("{said}\n{complained}")
}

#[tokio::test]
async fn every_command_of_the_quick_start_does_what_it_says() {
    let stack = stack().providers().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let variables = [("SERVER", stack.server().url()), ("WORLD", stack.world().url())];

    let said = run(PAGE, &variables, folder.path()).await;

    for expected in
        ["h264", "aac", "1280", "quota-exceeded", "idempotency-replayed: true", "\"degraded\": [\n"]
    {
        assert!(said.contains(expected), "`{expected}` is missing in\n{said}");
    }
    assert!(fs::metadata(folder.path().join("video.mp4")).unwrap().len() > 10_000);
}

#[tokio::test]
async fn every_command_for_operators_does_what_it_says() {
    let stack = operated().await;
    let folder = tempfile::tempdir().unwrap();
    let operator = operator(&stack);
    let variables =
        [("SERVER", stack.server().url()), ("OPERATOR", operator.bearer().unwrap().to_owned())];

    let said = run(OPERATORS, &variables, folder.path()).await;

    // The spend cap; the limit with grant and extension; what was left of the grant; shadow mode.
    for expected in ["\"amount_minor\":5000", "\n2650\n", "\n100\n", "\ntrue\n", "\"entries\":0"] {
        assert!(said.contains(expected), "`{expected}` is missing in\n{said}");
    }
}

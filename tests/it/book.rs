//! The book: every page is listed, every link leads somewhere, and long pages stay readable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::product::{RENDER_WITHIN, finished, items, short_plan, submit};
use crate::support::stack;

/// Lines of the architecture's page and of the README.
const MAX_ARCHITECTURE_LINES: usize = 250;
const MAX_README_LINES: usize = 120;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Finds the files below a folder whose names end so.
fn walk(folder: &Path, end: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, end, found)?;
        } else if path.extension().is_some_and(|extension| extension == end) {
            found.push(path);
        }
    }
    Ok(())
}

/// Every page of the book, and the README.
fn pages() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    walk(&root().join("docs/src"), "md", &mut found).unwrap();
    found
}

/// The targets of a page's links that lead to files of the repository.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("](")
        .filter_map(|(at, open)| text[at + open.len()..].split(')').next())
        .filter(|target| !target.contains("://"))
}

/// A heading's anchor, as Markdown renderers make it.
fn anchor(heading: &str) -> String {
    let kept = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    heading.chars().filter(|c| kept(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let (file, wanted) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let found = fs::read_to_string(&target);
            let is_there = match (&found, wanted) {
                (Ok(_), "") => true,
                (Ok(text), wanted) => {
                    text.lines().any(|line| line.starts_with('#') && anchor(line) == wanted)
                }
                (Err(_), _) => target.is_dir(),
            };
            if !is_there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = fs::read_to_string(root().join("docs/src/SUMMARY.md")).unwrap();

    for page in pages().iter().filter(|page| page.starts_with(root().join("docs/src"))) {
        let name = page.strip_prefix(root().join("docs/src")).unwrap().to_str().unwrap();
        assert!(name == "SUMMARY.md" || summary.contains(&format!("]({name})")), "{name}");
    }
}

#[test]
fn long_pages_stay_readable() {
    let lines = |path: &str| fs::read_to_string(root().join(path)).unwrap().lines().count();

    assert!(lines("docs/src/architecture.md") <= MAX_ARCHITECTURE_LINES);
    assert!(lines("README.md") <= MAX_README_LINES);
}

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let mut sources = Vec::new();
    for folder in ["actors", "chaos", "tests"] {
        walk(&root().join(folder), "rs", &mut sources).unwrap();
    }
    let sources: String = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let page = fs::read_to_string(root().join("docs/src/guarantees.md")).unwrap();

    // Names of tests are sentences: nothing else between backticks has so many words.
    let is_sentence = |name: &&str| {
        let is_plain =
            |byte: u8| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit();
        name.matches('_').count() >= 2 && name.bytes().all(is_plain)
    };
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(is_sentence).collect();
    let missing: Vec<&&str> =
        named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(named.len() > 30, "{named:?}");
    assert!(missing.is_empty(), "{missing:?}");
}

/// The rows of the metrics' page: name, kind and labels.
fn documented_metrics() -> BTreeMap<String, (String, Vec<String>)> {
    let page = fs::read_to_string(root().join("docs/src/metrics.md")).unwrap();
    let bare = |cell: &str| cell.trim().trim_matches('`').to_owned();
    page.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            let labels = cells[3].split(',').map(bare).filter(|label| !label.is_empty());
            (bare(cells[1]), (bare(cells[2]), labels.collect()))
        })
        .collect()
}

/// The names of a metric's labels, without those that its kind brings.
fn labels_of(line: &str) -> Vec<String> {
    let Some((_, rest)) = line.split_once('{') else { return Vec::new() };
    let names = rest.split(',').filter_map(|pair| pair.split_once('=').map(|(name, _)| name));
    names.filter(|name| !["le", "quantile"].contains(name)).map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn every_metric_of_a_running_server_is_in_the_book() {
    let stack = stack().start().await.unwrap();
    let api = stack.api_key("ada@example.test").await.unwrap();
    api.post_once("/api/usage/consume", "one", &items("images", 1)).await.unwrap();
    let job = submit(&api, "video", &short_plan(1)).await;
    finished(&api, &job, RENDER_WITHIN).await;

    let page = stack.ops().get("/metrics").await.unwrap();

    let text = String::from_utf8(page.bytes.to_vec()).unwrap();
    let documented = documented_metrics();
    let mut unknown = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let (name, kind) = line["# TYPE ".len()..].split_once(' ').unwrap();
        if documented.get(name).is_none_or(|(known, _)| known != kind) {
            unknown.push(format!("{name} {kind}"));
        }
    }
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let row = documented.get(name).or_else(|| family.and_then(|family| documented.get(family)));
        let known = row.map(|(_, labels)| labels.as_slice()).unwrap_or_default();
        unknown.extend(labels_of(line).into_iter().filter(|label| !known.contains(label)));
    }
    assert!(unknown.is_empty(), "not in docs/src/metrics.md: {unknown:?}");
    for name in ["tenantry_journal_commit_duration_seconds", "tenantry_step_duration_seconds"] {
        assert!(text.contains(&format!("# TYPE {name} histogram")), "{name} is not shown");
    }
}

#[tokio::test]
async fn every_route_of_the_server_is_in_the_book_as_it_is_served() {
    let stack = stack().start().await.unwrap();
    let page = fs::read_to_string(root().join("docs/src/api.md")).unwrap();
    let committed = fs::read_to_string(root().join("docs/openapi.json")).unwrap();
    let committed: serde_json::Value = serde_json::from_str(&committed).unwrap();

    let served = stack.api().get("/api/openapi.json").await.unwrap().body;

    assert_eq!(served["paths"], committed["paths"], "write it with `tenantry docs openapi`");
    assert_eq!(served["components"], committed["components"]);
    for (path, operations) in served["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let call = format!("`{} {path}", method.to_uppercase());
            assert!(page.contains(&call), "{call}` is missing in docs/src/api.md");
        }
    }
}

//! The book: every page is listed, every link leads somewhere, and long pages stay readable.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::support::stack;

/// Lines of the architecture's page and of the README.
const MAX_ARCHITECTURE_LINES: usize = 250;
const MAX_README_LINES: usize = 120;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of the book, and the README.
fn pages() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                walk(&path, found)?;
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
        Ok(())
    }
    let mut found = vec![root().join("README.md")];
    walk(&root().join("docs/src"), &mut found).unwrap();
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

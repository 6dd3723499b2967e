//! The repository's own text, read for the rules of `architecture.rs`.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are no source of ours.
const SKIPPED: &[&str] = &["target", ".git", "data", "node_modules"];

/// The root of the repository.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One source file: where it is, its text, and which part of that is production code.
#[derive(Debug)]
pub(super) struct Source {
    /// The path relative to the root, with forward slashes.
    pub(super) path: String,
    /// The whole text.
    pub(super) text: String,
}

impl Source {
    /// Reads a file of the repository.
    pub(super) fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path))
            .unwrap_or_else(|error| panic!("{path} cannot be read: {error}"));
        Self { path: path.to_owned(), text }
    }

    /// Whether the whole file is a test.
    pub(super) fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs")
            || self.path.contains("/tests/")
            || self.path.starts_with("tests/")
    }

    /// Numbered lines of code before the file's inline tests, without comments.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        self.text[..end]
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Lines of code whose words include `word`, as `path:line: text`.
    pub(super) fn lines_naming(&self, word: &str) -> Vec<String> {
        self.code()
            .filter(|(_, line)| names(line, word))
            .map(|(number, line)| format!("{}:{number}: {}", self.path, line.trim()))
            .collect()
    }
}

/// Whether a line has `word` with no identifier running on before or after it.
pub(super) fn names(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let open_start = !word.starts_with(is_word);
    let open_end = !word.ends_with(is_word);
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        (open_start || !before.is_some_and(is_word)) && (open_end || !after.is_some_and(is_word))
    })
}

/// Every Rust file below a folder of the repository, sorted.
pub(super) fn rust_files(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    found
        .into_iter()
        .filter_map(|path| {
            let path = path.strip_prefix(root()).ok()?.to_str()?.replace('\\', "/");
            Some(Source::read(&path))
        })
        .collect()
}

/// Every Rust file of the workspace.
pub(super) fn all_rust_files() -> Vec<Source> {
    ["src", "actors", "supervision", "chaos", "load", "tests"]
        .into_iter()
        .flat_map(rust_files)
        .collect()
}

/// A manifest of the workspace, by the folder of its crate.
pub(super) fn manifest(folder: &str) -> toml::Table {
    let path = Path::new(folder).join("Cargo.toml");
    Source::read(path.to_str().unwrap()).text.parse().unwrap()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                walk(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

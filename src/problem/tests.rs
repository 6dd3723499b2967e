use std::collections::HashSet;

use super::*;

fn at(path: &'static str) -> Occurrence<'static> {
    Occurrence { public_url: "https://app.example", request_id: "req_1", path }
}

#[test]
fn codes_are_unique_and_kebab_case() {
    let codes: HashSet<_> = ProblemKind::ALL.iter().map(|kind| kind.code()).collect();

    assert_eq!(codes.len(), ProblemKind::ALL.len());
    let plain = |c: char| c.is_ascii_lowercase() || c == '-';
    assert!(codes.iter().all(|code| code.chars().all(plain)));
}

#[test]
fn every_kind_has_its_heading_in_the_book() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/src/problems.md");
    let page = std::fs::read_to_string(path).unwrap();

    for kind in ProblemKind::ALL {
        assert!(page.contains(&format!("\n## {}\n", kind.code())), "{kind:?}");
    }
    assert!(page.contains(&docs::table()), "write the table with `tenantry docs problems`");
}

#[test]
fn a_server_error_keeps_its_fixed_text() {
    let problem = Problem::internal("disk on fire").detail("disk on fire");

    let document = problem.document(at("/x")).to_string();

    assert!(!document.contains("fire"));
    assert_eq!(problem.cause(), Some("disk on fire"));
}

#[test]
fn a_document_has_the_members_of_the_contract() {
    let problem = Problem::invalid("/items/0/amount", "expected at least 1").with("limit", 5);

    let document = problem.document(at("/api/usage/consume"));

    assert_eq!(document["type"], "https://app.example/problems#invalid");
    assert_eq!(document["status"], 422);
    assert_eq!(document["code"], "invalid");
    assert_eq!(document["request_id"], "req_1");
    assert_eq!(document["errors"][0]["pointer"], "/items/0/amount");
    assert_eq!(document["limit"], 5);
}

//! Ready-made plans to start from.

use std::sync::LazyLock;

use serde::Serialize;

use super::plan::RenderPlan;

/// A plan to start from.
#[derive(Debug, Clone, Serialize)]
pub struct Template {
    /// A slug: `story`.
    pub name: &'static str,
    /// What a person reads in a list.
    pub title: &'static str,
    /// The plan.
    pub plan: RenderPlan,
}

static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let sources = [
        (
            "story",
            "A short story in three scenes",
            include_str!("../../examples/story-3-scenes.json"),
        ),
        (
            "long-story",
            "A longer story in twenty scenes",
            include_str!("../../examples/story-20-scenes.json"),
        ),
        ("many-scripts", "Emoji and many scripts", include_str!("../../examples/unicode.json")),
    ];
    let read = |(name, title, text)| {
        let plan = serde_json::from_str(text).expect("the examples are checked by a test");
        Template { name, title, plan }
    };
    sources.into_iter().map(read).collect()
});

/// Returns the ready-made plans.
pub fn templates() -> &'static [Template] {
    &TEMPLATES
}

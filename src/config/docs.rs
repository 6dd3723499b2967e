//! The configuration's page in the book, written out of the structs.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::{Config, all_fields};

const HEAD: &str = "# Configuration

Sources, the later wins: defaults, the file given with `--config`, the environment.
A setting `key` in section `[section]` is the variable `TENANTRY__SECTION__KEY`;
some have a second name that the ecosystem already knows.
Times are written `250ms`, `15s`, `15m`, `24h`, `30d`; sizes `512`, `64KiB`, `1MiB`.
`tenantry check` reads everything, reports all mistakes at once and exits with 64 if there are any.

This page is generated from the code; a test compares the two.
";

/// The page's text.
pub fn page() -> String {
    let defaults = Table::try_from(Config::default()).unwrap_or_default();
    let mut page = HEAD.to_owned();
    let mut current = None;
    for field in all_fields() {
        if current != Some(field.section) {
            current = Some(field.section);
            let title = if field.section.is_empty() { "Top level" } else { field.section };
            let _ = write!(page, "\n## {title}\n\n");
            page.push_str(
                "| setting | variable | default | meaning |\n| --- | --- | --- | --- |\n",
            );
        }
        let section = match field.section {
            "" => Some(&defaults),
            name => defaults.get(name).and_then(Value::as_table),
        };
        let default = match section.and_then(|table| table.get(field.name)) {
            Some(Value::String(text)) if text.is_empty() => "none".to_owned(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(other) => format!("`{other}`"),
            None => "none".to_owned(),
        };
        let also = field.env.map(|name| format!("`{name}` or ")).unwrap_or_default();
        let about = field.about.trim().replace('|', "\\|");
        let name = field.name;
        let variable = field.variable();
        let _ = writeln!(page, "| `{name}` | {also}`{variable}` | {default} | {about} |");
    }
    page
}

/// A file with every setting at its default, commented out.
pub fn example() -> String {
    let defaults = Table::try_from(Config::default()).unwrap_or_default();
    let mut text = "# Every setting of Tenantry at its default. Uncomment what you change.\n\
                    # This file is generated from the code; a test compares the two.\n"
        .to_owned();
    let mut current = "";
    for field in all_fields() {
        if current != field.section {
            current = field.section;
            let _ = write!(text, "\n[{current}]\n");
        }
        let section = match field.section {
            "" => Some(&defaults),
            name => defaults.get(name).and_then(Value::as_table),
        };
        let default = section.and_then(|table| table.get(field.name));
        let default = default.map_or_else(|| "\"\"".to_owned(), ToString::to_string);
        let _ = write!(text, "\n# {}\n# {} = {default}\n", field.about.trim(), field.name);
    }
    text
}

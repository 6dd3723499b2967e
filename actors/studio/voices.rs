//! The languages and voices that the speech providers have.

use std::collections::BTreeMap;

use serde::Serialize;

/// Most languages that are kept from a list; espeak-ng 1.51 has about 130.
const LANGUAGES_MAX: usize = 1_000;

/// The languages that a plan may name, by tag.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Voices {
    languages: BTreeMap<String, Language>,
}

/// One language of `GET /api/voices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Language {
    /// The tag that plans name: `en-gb`.
    #[serde(rename = "language")]
    pub tag: String,
    /// The language's name in English.
    pub name: String,
    /// The voices, `F` and `M` for every language.
    pub voices: [&'static str; 2],
}

impl Voices {
    /// Parses the table that `espeak-ng --voices` prints.
    ///
    /// Columns: priority, language, age/gender, name (spaces are underscores), file, others.
    /// Lines that do not have them are skipped; the first (preferred) voice of a tag counts.
    pub fn parse(table: &str) -> Self {
        let mut languages = BTreeMap::new();
        for line in table.lines() {
            let mut columns = line.split_whitespace();
            let (Some(priority), Some(tag), Some(_), Some(name)) =
                (columns.next(), columns.next(), columns.next(), columns.next())
            else {
                continue;
            };
            let is_tag = tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            let starts_well = tag.starts_with(|c: char| c.is_ascii_lowercase());
            if priority.parse::<u8>().is_err() || !is_tag || !starts_well {
                continue;
            }
            if languages.len() >= LANGUAGES_MAX {
                break;
            }
            languages.entry(tag.to_owned()).or_insert_with(|| Language {
                tag: tag.to_owned(),
                name: name.replace('_', " "),
                voices: ["F", "M"],
            });
        }
        // espeak-ng speaks `en` and `fr`, and lists their variants alone.
        let bases: Vec<Language> = languages.values().filter_map(base_of).collect();
        for base in bases {
            languages.entry(base.tag.clone()).or_insert(base);
        }
        Self { languages }
    }

    /// Tells whether a plan may name this language.
    pub fn has(&self, language: &str) -> bool {
        self.languages.contains_key(language)
    }

    /// All languages, sorted by tag.
    pub fn languages(&self) -> impl Iterator<Item = &Language> {
        self.languages.values()
    }
}

/// The language without its region: `en` of `en-gb`.
fn base_of(variant: &Language) -> Option<Language> {
    let (tag, _) = variant.tag.split_once('-')?;
    let name = variant.name.split(" (").next().unwrap_or(&variant.name);
    Some(Language { tag: tag.to_owned(), name: name.to_owned(), voices: variant.voices })
}

//! The languages and voices that the speech providers have.

use std::collections::BTreeMap;

use serde::Serialize;

/// Most languages that are kept from a list; espeak-ng 1.51 has about 130.
const LANGUAGES_MAX: usize = 1_000;

/// The most spoken languages under espeak-ng's tags.
const COMMON: [(&str, &str); 24] = [
    ("ar", "Arabic"),
    ("bn", "Bengali"),
    ("cmn", "Chinese (Mandarin)"),
    ("de", "German"),
    ("en-gb", "English (Great Britain)"),
    ("en-us", "English (America)"),
    ("es", "Spanish (Spain)"),
    ("fa", "Persian"),
    ("fr-fr", "French (France)"),
    ("he", "Hebrew"),
    ("hi", "Hindi"),
    ("id", "Indonesian"),
    ("it", "Italian"),
    ("ja", "Japanese"),
    ("ko", "Korean"),
    ("nl", "Dutch"),
    ("pl", "Polish"),
    ("pt", "Portuguese (Portugal)"),
    ("pt-br", "Portuguese (Brazil)"),
    ("ru", "Russian"),
    ("sw", "Swahili"),
    ("tr", "Turkish"),
    ("uk", "Ukrainian"),
    ("vi", "Vietnamese (Northern)"),
];

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
            // espeak-ng lists a tag with capitals that it does not find again itself.
            let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            let is_tag = tag.bytes().all(is_plain) && !tag.starts_with('-');
            if priority.parse::<u8>().is_err() || !is_tag {
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

    /// The languages that are offered where espeak-ng is missing and a provider may still speak.
    pub fn without_espeak() -> Self {
        let name = |(tag, name): &(&str, &str)| {
            let language =
                Language { tag: (*tag).to_owned(), name: (*name).to_owned(), voices: ["F", "M"] };
            ((*tag).to_owned(), language)
        };
        Self { languages: COMMON.iter().map(name).collect() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_espeak_is_read() {
        let voices = Voices::parse(concat!(
            "Pty Language       Age/Gender VoiceName          File          Other Languages\n",
            " 5  cmn             --/M      Chinese_(Mandarin,_latin_as_English) sit/cmn (zh 5)\n",
            " 2  en-gb           --/M      English_(Great_Britain) gmw/en      (en 2)\n",
            " 5  chr-US-Qaaa-x-west --/M   Cherokee_          iro/chr\n",
            " 5  -v              --/M      Evil               x\n",
            "garbage\n",
        ));

        let tags: Vec<&str> = voices.languages().map(|language| language.tag.as_str()).collect();
        assert_eq!(tags, ["cmn", "en", "en-gb"]);
        assert_eq!(voices.languages().nth(2).unwrap().name, "English (Great Britain)");
        let json = serde_json::to_value(voices.languages().next().unwrap()).unwrap();
        assert_eq!(json["language"], "cmn");
    }

    #[test]
    fn common_languages_are_offered_without_espeak() {
        let voices = Voices::without_espeak();

        assert!(voices.has("en-us") && voices.has("hi"));
        assert_eq!(voices.languages().count(), COMMON.len());
    }
}

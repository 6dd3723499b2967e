//! Captions: the narration cut into phrases, when each is shown, and their pictures.
//!
//! Captions are drawn by us and laid over the video as pictures, so no text of a client ever
//! reaches a filter, a subtitle format or an option, and every installed script works.

use tiny_skia::{FillRule, Paint, Path, PathBuilder, Pixmap, Rect, Transform};

use super::card::to_f32;
use super::lettering::{Lettering, Placed, TextBox, one_line};
use super::palette::Rgb;

/// Most columns of a phrase: two lines that are read at a glance; wide letters take two.
const PHRASE_COLUMNS_MAX: usize = 84;
/// A phrase ends with a sentence once it has this many columns, and with a clause.
const SENTENCE_COLUMNS_ENOUGH: usize = 16;
const CLAUSE_COLUMNS_ENOUGH: usize = 40;
/// What the end of a sentence counts for in time, as columns: the voice pauses.
const PAUSE_COLUMNS: u64 = 6;
/// Height of the strip that captions are drawn on, of 100 parts of the picture's.
const STRIP_PERCENT: u32 = 20;

/// A phrase and when it is shown, in milliseconds from the scene's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caption {
    pub(super) text: String,
    pub(super) from_ms: u64,
    pub(super) until_ms: u64,
}

/// Cuts a narration into phrases, shown one after the other for as long as it is spoken.
///
/// Each gets a share of the time by its length; together they cover `spoken_ms` without a gap.
pub(super) fn of_narration(narration: &str, spoken_ms: u64) -> Vec<Caption> {
    let phrases = phrases(&one_line(narration));
    let weights: Vec<u64> = phrases.iter().map(|phrase| weight(phrase)).collect();
    let total = weights.iter().sum::<u64>().max(1);
    let mut passed = 0;
    let mut captions = Vec::with_capacity(phrases.len());
    for (text, weight) in phrases.into_iter().zip(weights) {
        let from_ms = spoken_ms.saturating_mul(passed) / total;
        passed += weight;
        let until_ms = spoken_ms.saturating_mul(passed) / total;
        if until_ms > from_ms {
            captions.push(Caption { text, from_ms, until_ms });
        }
    }
    captions
}

fn weight(phrase: &str) -> u64 {
    let pauses = phrase.chars().filter(|letter| ends_sentence(*letter)).count() as u64;
    columns(phrase) as u64 + pauses * PAUSE_COLUMNS + 1
}

fn phrases(text: &str) -> Vec<String> {
    let mut phrases = Vec::new();
    let mut phrase = String::new();
    for word in text.split(' ').flat_map(pieces) {
        let is_full = columns(&phrase) + columns(&word.0) + 1 > PHRASE_COLUMNS_MAX;
        let enough = match phrase.chars().last() {
            Some(end) if ends_sentence(end) => SENTENCE_COLUMNS_ENOUGH,
            Some(end) if ends_clause(end) => CLAUSE_COLUMNS_ENOUGH,
            _ => PHRASE_COLUMNS_MAX,
        };
        let is_enough = columns(&phrase) >= enough;
        if !phrase.is_empty() && (is_full || is_enough) {
            phrases.push(std::mem::take(&mut phrase));
        }
        if word.1 && !phrase.is_empty() {
            phrase.push(' ');
        }
        phrase.push_str(&word.0);
    }
    if !phrase.trim().is_empty() {
        phrases.push(phrase);
    }
    phrases
}

/// Cuts a word that is longer than a phrase, or that holds whole sentences as Chinese and
/// Japanese do. The flag says whether a space stood before the piece.
fn pieces(word: &str) -> Vec<(String, bool)> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for letter in word.chars() {
        piece.push(letter);
        let is_wide_stop = matches!(letter, '。' | '、' | '，' | '！' | '？' | '；' | '：');
        // Marks belong to the letter before them.
        let is_full = columns(&piece) + 2 >= PHRASE_COLUMNS_MAX && !is_joined(letter);
        if is_wide_stop || is_full {
            pieces.push((std::mem::take(&mut piece), pieces.is_empty()));
        }
    }
    if !piece.is_empty() {
        pieces.push((piece, pieces.is_empty()));
    }
    pieces
}

fn is_joined(letter: char) -> bool {
    letter == '\u{200d}' || column(letter) == 0
}

fn columns(text: &str) -> usize {
    text.chars().map(column).sum()
}

/// How many columns a letter takes, roughly: none for marks and joiners, two for wide letters.
fn column(letter: char) -> usize {
    match u32::from(letter) {
        0x0300..=0x036f
        | 0x0591..=0x05bd
        | 0x064b..=0x065f
        | 0x200b..=0x200f
        | 0x20d0..=0x20ff
        | 0xfe00..=0xfe0f
        | 0x1f3fb..=0x1f3ff => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

fn ends_sentence(letter: char) -> bool {
    matches!(letter, '.' | '!' | '?' | '…' | '。' | '！' | '？' | '؟' | '।' | '۔')
}

fn ends_clause(letter: char) -> bool {
    ends_sentence(letter)
        || matches!(letter, ',' | ';' | ':' | '،' | '؛' | '，' | '、' | '；' | '：')
}

/// Height of the strip of captions at the bottom of a picture; even, as the video's colours need.
pub(super) fn strip_height(height_px: u32) -> u32 {
    height_px * STRIP_PERCENT / 100 / 2 * 2
}

/// Draws a caption on a transparent strip as wide as the picture; nothing for an empty text.
pub(super) fn draw(
    lettering: &Lettering,
    text: &str,
    (width_px, height_px): (u32, u32),
) -> Option<Pixmap> {
    let mut canvas = Pixmap::new(width_px, strip_height(height_px))?;
    if text.is_empty() {
        return Some(canvas);
    }
    let (width, height) = (to_f32(width_px), to_f32(height_px));
    let strip = to_f32(canvas.height());
    let area = TextBox {
        left: width * 0.08,
        top: strip * 0.08,
        width: width * 0.84,
        height: strip * 0.80,
        size_max: height * 0.046,
        size_min: height * 0.02,
        is_bold: false,
    };
    let margin = height * 0.014;
    let text = text.trim();
    let drawn = lettering.draw(&mut canvas, text, area, Rgb(255, 255, 255), |canvas, placed| {
        paint_box(canvas, placed, margin);
    });
    drawn.ok().map(|()| canvas)
}

/// Darkens what lies under a caption: over pure white the letters still have 9 : 1.
fn paint_box(canvas: &mut Pixmap, placed: Placed, margin: f32) {
    let top = (placed.top - margin / 2.0).max(0.0);
    let height = placed.height + margin;
    let around = Rect::from_xywh(placed.left - margin, top, placed.width + 2.0 * margin, height);
    let Some(path) = around.and_then(|around| rounded(around, margin)) else { return };
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(0, 0, 0, 184);
    canvas.fill_path(&path, &paint, FillRule::Winding, Transform::identity(), None);
}

fn rounded(rect: Rect, radius: f32) -> Option<Path> {
    let (left, top, right, bottom) = (rect.left(), rect.top(), rect.right(), rect.bottom());
    let radius = radius.min(rect.width() / 2.0).min(rect.height() / 2.0);
    let mut path = PathBuilder::new();
    path.move_to(left + radius, top);
    path.line_to(right - radius, top);
    path.quad_to(right, top, right, top + radius);
    path.line_to(right, bottom - radius);
    path.quad_to(right, bottom, right - radius, bottom);
    path.line_to(left + radius, bottom);
    path.quad_to(left, bottom, left, bottom - radius);
    path.line_to(left, top + radius);
    path.quad_to(left, top, left + radius, top);
    path.close();
    path.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn phrases_end_where_sentences_do() {
        let captions = of_narration(
            "The lighthouse stood alone on its rock. Nobody had lit it for years, they said.",
            8_000,
        );

        let texts: Vec<&str> = captions.iter().map(|caption| caption.text.as_str()).collect();
        assert_eq!(
            texts,
            ["The lighthouse stood alone on its rock.", "Nobody had lit it for years, they said."]
        );
        assert_eq!(captions[0].from_ms, 0);
        assert_eq!(captions[0].until_ms, captions[1].from_ms);
        assert_eq!(captions[1].until_ms, 8_000);
    }

    #[test]
    fn silence_has_no_captions() {
        assert_eq!(of_narration(" \n ", 5_000), []);
        assert_eq!(of_narration("word", 0), []);
    }

    #[test]
    fn scripts_without_spaces_are_cut_too() {
        let captions =
            of_narration(&"暴风雨中的灯塔，从一艘小渔船的甲板上看去。".repeat(8), 60_000);

        assert!(captions.len() >= 4);
        assert!(captions.iter().all(|caption| columns(&caption.text) <= PHRASE_COLUMNS_MAX));
    }

    #[test]
    fn what_is_dangerous_elsewhere_is_only_text_here() {
        for text in ["'; rm -rf /", "%{pts}", "\\:", "{\\an8}x", "<b>", "[in]"] {
            assert_eq!(of_narration(text, 1_000)[0].text, text);
        }
    }

    proptest! {
        #[test]
        fn captions_follow_each_other_and_lose_no_letter(
            text in "(\\PC| ){0,400}",
            spoken_ms in 100_000u64..600_000,
        ) {
            let captions = of_narration(&text, spoken_ms);
            let bare = |text: &str| text.replace(' ', "");
            let all: String = captions.iter().map(|caption| bare(&caption.text)).collect();
            prop_assert_eq!(all, bare(&one_line(&text)));
            for pair in captions.windows(2) {
                prop_assert_eq!(pair[0].until_ms, pair[1].from_ms);
            }
            if let (Some(first), Some(last)) = (captions.first(), captions.last()) {
                prop_assert_eq!((first.from_ms, last.until_ms), (0, spoken_ms));
            }
        }
    }
}

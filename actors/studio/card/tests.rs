use cosmic_text::fontdb;

use super::super::palette::{CONTRAST_MIN, contrast};
use super::*;

const SIZE: (u32, u32) = (640, 360);

fn pixels(canvas: &Pixmap) -> impl Iterator<Item = Rgb> {
    canvas.pixels().iter().map(|pixel| Rgb(pixel.red(), pixel.green(), pixel.blue()))
}

fn is_lettered(canvas: &Pixmap) -> bool {
    pixels(canvas).filter(|Rgb(r, g, b)| *r > 240 && *g > 240 && *b > 240).count() > 20
}

fn is_colourful(canvas: &Pixmap) -> bool {
    // No card's background is a bright yellow; most emoji are.
    pixels(canvas).any(|Rgb(r, g, b)| r > 200 && g > 150 && b < 100)
}

#[test]
fn cards_show_every_script() {
    let lettering = Lettering::load();
    for text in [
        "A lighthouse in the storm",
        "منارة في وسط العاصفة",
        "מגדלור בסערה",
        "तूफ़ान में एक प्रकाशस्तंभ",
        "暴风雨中的灯塔",
        "嵐の中の灯台",
        "폭풍 속의 등대",
        "ประภาคารกลางพายุ",
        "።",
        " ",
        "\u{202e}\u{200b}",
    ] {
        let card = draw(&lettering, text, SIZE).unwrap();

        assert_eq!((card.width(), card.height()), SIZE);
        let expects_letters = text.chars().any(char::is_alphabetic);
        assert!(!expects_letters || is_lettered(&card), "{text}");
        // The same text gives the same picture.
        assert_eq!(card.data(), draw(&lettering, text, SIZE).unwrap().data(), "{text}");
    }
}

#[test]
fn emoji_are_in_colour() {
    let lettering = Lettering::load();
    let is_red = |canvas: &Pixmap| pixels(canvas).any(|Rgb(r, g, b)| r > 200 && g < 100 && b < 100);

    assert!(is_colourful(&draw(&lettering, "😀🌟🐥", SIZE).unwrap()));
    assert!(is_colourful(&draw(&lettering, "Hello 👩‍👩‍👧‍👦 🌟 there", SIZE).unwrap()));
    assert!(!is_colourful(&draw(&lettering, "Hello", SIZE).unwrap()));
    assert!(is_red(&draw(&lettering, "love \u{2764}\u{fe0f}", SIZE).unwrap()));
    assert!(!is_red(&draw(&lettering, "love \u{2764}", SIZE).unwrap()));
}

#[test]
fn letters_stay_clear_of_the_captions_and_of_the_edge() {
    let lettering = Lettering::load();
    for text in ["word ".repeat(1_000), "文".repeat(5_000), "x".repeat(5_000)] {
        let card = draw(&lettering, &text, SIZE).unwrap();
        let palette = Palette::of(one_line(&text).as_str());
        let is_letter = |x: u32, y: u32| {
            let pixel = card.pixel(x, y).unwrap();
            let colour = Rgb(pixel.red(), pixel.green(), pixel.blue());
            contrast(colour, palette.text) < CONTRAST_MIN / 2.0
        };

        let is_anywhere = (0..SIZE.0).any(|x| (0..SIZE.1).any(|y| is_letter(x, y)));
        assert!(is_anywhere);
        assert!(!(0..SIZE.0).any(|x| (280..SIZE.1).any(|y| is_letter(x, y))), "captions");
        assert!(!(0..30).any(|x| (0..SIZE.1).any(|y| is_letter(x, y))), "left");
        assert!(!(610..SIZE.0).any(|x| (0..SIZE.1).any(|y| is_letter(x, y))), "right");
    }
}

#[test]
fn without_fonts_there_is_no_card_and_no_panic() {
    assert!(draw(&Lettering::of(fontdb::Database::new()), "A lighthouse", SIZE).is_none());
}

//! Colours of cards: chosen by the text, always readable.

use aws_lc_rs::digest::{SHA256, digest};

/// White text must stand out from every colour of the background at least this much (WCAG AA).
pub(super) const CONTRAST_MIN: f32 = 4.5;

/// An opaque colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rgb(pub(super) u8, pub(super) u8, pub(super) u8);

/// The colours of one card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Palette {
    /// Where the background's gradient begins.
    pub(super) from: Rgb,
    /// Where it ends.
    pub(super) to: Rgb,
    /// Shapes on it.
    pub(super) accent: Rgb,
    /// The letters.
    pub(super) text: Rgb,
    /// Where shapes stand; differs between texts.
    pub(super) seed: u8,
}

impl Palette {
    /// Chooses the palette of a text: the same text always has the same colours.
    pub(super) fn of(text: &str) -> Self {
        let hash = digest(&SHA256, text.as_bytes());
        let byte = |index: usize| hash.as_ref().get(index).copied().unwrap_or(0);
        let hue = f32::from(byte(0)) * 360.0 / 256.0;
        let turn = 24.0 + f32::from(byte(1)) * 40.0 / 256.0;
        let text = Rgb(250, 250, 252);
        Self {
            from: readable(hue, 0.62, 0.30, text),
            to: readable(hue + turn, 0.55, 0.15, text),
            accent: readable(hue - turn, 0.60, 0.38, text),
            text,
            seed: byte(2),
        }
    }
}

/// Darkens a colour until the text is readable on it.
fn readable(hue: f32, saturation: f32, lightness: f32, text: Rgb) -> Rgb {
    let mut lightness = lightness;
    loop {
        let colour = from_hsl(hue, saturation, lightness);
        if contrast(colour, text) >= CONTRAST_MIN || lightness <= 0.0 {
            return colour;
        }
        lightness -= 0.01;
    }
}

/// The contrast ratio of WCAG 2: 1 for equal colours, 21 for black and white.
pub(super) fn contrast(one: Rgb, other: Rgb) -> f32 {
    let (a, b) = (luminance(one), luminance(other));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn luminance(colour: Rgb) -> f32 {
    let linear = |channel: u8| {
        let value = f32::from(channel) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(colour.0) + 0.7152 * linear(colour.1) + 0.0722 * linear(colour.2)
}

fn from_hsl(hue: f32, saturation: f32, lightness: f32) -> Rgb {
    let spread = saturation * lightness.min(1.0 - lightness);
    let channel = |offset: f32| {
        let k = (offset + hue.rem_euclid(360.0) / 30.0).rem_euclid(12.0);
        to_byte(lightness - spread * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0))
    };
    Rgb(channel(0.0), channel(8.0), channel(4.0))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the byte's range"
)]
fn to_byte(value: f32) -> u8 {
    (value * 255.0).round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn contrast_is_that_of_wcag() {
        assert!((contrast(Rgb(0, 0, 0), Rgb(255, 255, 255)) - 21.0).abs() < 0.01);
        assert!((contrast(Rgb(119, 119, 119), Rgb(255, 255, 255)) - 4.48).abs() < 0.01);
    }

    proptest! {
        #[test]
        fn every_text_is_readable_on_its_card(text in ".{0,40}") {
            let palette = Palette::of(&text);
            for background in [palette.from, palette.to, palette.accent] {
                prop_assert!(contrast(background, palette.text) >= CONTRAST_MIN);
            }
            prop_assert_eq!(palette, Palette::of(&text));
        }
    }
}

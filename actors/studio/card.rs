//! The built-in image: a typographic card of the prompt.

use tiny_skia::{
    Color, FillRule, GradientStop, LinearGradient, Paint, PathBuilder, Pixmap, Point, Rect,
    SpreadMode, Transform,
};

use super::lettering::{Lettering, Placed, TextBox, one_line};
use super::palette::{Palette, Rgb};

/// What a prompt without a letter becomes.
const NOTHING_TO_SHOW: &str = "·";

/// Draws a card; the same prompt always gives the same picture. `None` without fonts.
///
/// The lowest fifth stays free of letters: captions go there.
pub(super) fn draw(
    lettering: &Lettering,
    prompt: &str,
    (width_px, height_px): (u32, u32),
) -> Option<Pixmap> {
    let mut canvas = Pixmap::new(width_px, height_px)?;
    let text = match one_line(prompt) {
        empty if empty.is_empty() => NOTHING_TO_SHOW.to_owned(),
        text => text,
    };
    let palette = Palette::of(&text);
    let (width, height) = (to_f32(width_px), to_f32(height_px));
    paint_background(&mut canvas, &palette, (width, height));
    let area = TextBox {
        left: width * 0.10,
        top: height * 0.09,
        width: width * 0.80,
        height: height * 0.66,
        size_max: height * 0.12,
        size_min: height / 58.0,
        is_bold: text.chars().count() < 200,
    };
    lettering.draw(&mut canvas, &text, area, palette.text, |_, _: Placed| {}).ok()?;
    Some(canvas)
}

fn paint_background(canvas: &mut Pixmap, palette: &Palette, (width, height): (f32, f32)) {
    let stops = vec![
        GradientStop::new(0.0, opaque(palette.from)),
        GradientStop::new(1.0, opaque(palette.to)),
    ];
    let end = Point::from_xy(width, height);
    let gradient = LinearGradient::new(
        Point::from_xy(0.0, 0.0),
        end,
        stops,
        SpreadMode::Pad,
        Transform::identity(),
    );
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(opaque(palette.to));
    if let Some(gradient) = gradient {
        paint.shader = gradient;
    }
    if let Some(all) = Rect::from_xywh(0.0, 0.0, width, height) {
        canvas.fill_rect(all, &paint, Transform::identity(), None);
    }
    // Three discs, each somewhere else for another text.
    let seed = f32::from(palette.seed) / 255.0;
    for (x, y, radius) in [
        (0.08 + 0.2 * seed, 0.12, 0.34),
        (0.95 - 0.25 * seed, 0.30 + 0.4 * seed, 0.22),
        (0.45 + 0.3 * seed, 1.02, 0.40),
    ] {
        paint_disc(canvas, palette, (x * width, y * height, radius * height));
    }
}

fn paint_disc(canvas: &mut Pixmap, palette: &Palette, (x, y, radius): (f32, f32, f32)) {
    let Some(disc) = PathBuilder::from_circle(x, y, radius) else { return };
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    let Rgb(red, green, blue) = palette.accent;
    // Half transparent: a mixture of two readable colours is readable.
    paint.set_color_rgba8(red, green, blue, 90);
    canvas.fill_path(&disc, &paint, FillRule::Winding, Transform::identity(), None);
}

fn opaque(colour: Rgb) -> Color {
    Color::from_rgba8(colour.0, colour.1, colour.2, 255)
}

#[expect(clippy::cast_precision_loss, reason = "pictures have fewer than 2^24 pixels a side")]
pub(super) fn to_f32(pixels: u32) -> f32 {
    pixels as f32
}

#[cfg(test)]
mod tests;

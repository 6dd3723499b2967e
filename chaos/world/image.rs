//! An image provider in the style of OpenAI's images API: it draws a real picture for each prompt.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use tiny_skia::{
    Color, FillRule, GradientStop, LinearGradient, Paint, PathBuilder, Pixmap, Point, Rect,
    SpreadMode, Transform,
};

/// Pixels of the longer side that a request may ask for.
const MAX_SIDE_PX: u32 = 4_096;

/// How many rows of hills a picture has, and how many bends each.
const HILLS: u16 = 4;
const BENDS: u16 = 3;

/// What is read of a request; other fields are taken and ignored, as the real one has many.
#[derive(Debug, Deserialize)]
pub(super) struct ImageRequest {
    prompt: String,
    #[serde(default)]
    size: Option<String>,
}

/// Draws the picture and answers it as base64.
pub(super) fn answer(request: &ImageRequest) -> Response {
    let Some((width, height)) = size(request.size.as_deref()) else {
        return refused("size must be WIDTHxHEIGHT");
    };
    if request.prompt.is_empty() {
        return refused("prompt is empty");
    }
    let Some(png) = draw(&request.prompt, width, height) else {
        return refused("size cannot be drawn");
    };
    Json(json!({ "created": 0, "data": [{ "b64_json": STANDARD.encode(png) }] })).into_response()
}

/// A success that holds no picture.
pub(super) fn garbage() -> Response {
    let noise = STANDARD.encode([0_u8, 159, 146, 150, 7, 7, 7]);
    Json(json!({ "created": 0, "data": [{ "b64_json": noise }] })).into_response()
}

pub(super) fn refused(message: &str) -> Response {
    let body = json!({ "error": { "message": message, "type": "invalid_request_error" } });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

fn size(text: Option<&str>) -> Option<(u32, u32)> {
    let (width, height) = match text.unwrap_or("1024x1024") {
        "auto" => return Some((1_024, 1_024)),
        text => text.split_once('x')?,
    };
    let side = |text: &str| text.parse().ok().filter(|side| (1..=MAX_SIDE_PX).contains(side));
    Some((side(width)?, side(height)?))
}

/// A picture that depends on the prompt alone, so that equal prompts give equal bytes: hills below a
/// sky with a sun, in the prompt's own colours.
#[expect(clippy::cast_precision_loss, reason = "pixels are far below the limit of f32")]
fn draw(prompt: &str, width: u32, height: u32) -> Option<Vec<u8>> {
    let mut dice = Dice::new(prompt);
    let (wide, high) = (width as f32, height as f32);
    let hue = dice.roll();
    let mut picture = Pixmap::new(width, height)?;
    let mut paint = Paint { anti_alias: true, ..Paint::default() };

    let sky = vec![
        GradientStop::new(0.0, colour(hue, 0.55, 0.35)?),
        GradientStop::new(0.8, colour(hue + 0.12, 0.70, 0.80)?),
    ];
    let (top, bottom) = (Point::from_xy(0.0, 0.0), Point::from_xy(0.0, high));
    paint.shader = LinearGradient::new(top, bottom, sky, SpreadMode::Pad, Transform::identity())?;
    picture.fill_rect(Rect::from_xywh(0.0, 0.0, wide, high)?, &paint, Transform::identity(), None);

    let (x, y) = (wide * (0.2 + 0.6 * dice.roll()), high * (0.2 + 0.2 * dice.roll()));
    let sun = PathBuilder::from_circle(x, y, high * (0.06 + 0.06 * dice.roll()))?;
    paint.set_color(colour(hue + 0.15, 0.90, 0.93)?);
    picture.fill_path(&sun, &paint, FillRule::Winding, Transform::identity(), None);

    for hill in 0..HILLS {
        let depth = f32::from(hill) / f32::from(HILLS);
        let base = high * (0.5 + 0.4 * depth);
        let swing = high * 0.12;
        let mut path = PathBuilder::new();
        path.move_to(0.0, high);
        path.line_to(0.0, base + swing * (dice.roll() - 0.5));
        for bend in 0..BENDS {
            let start = wide * f32::from(bend) / f32::from(BENDS);
            let step = wide / f32::from(BENDS);
            let mut point = |part: f32| (start + step * part, base + swing * (dice.roll() - 0.5));
            let (a, b, end) = (point(0.33), point(0.67), point(1.0));
            path.cubic_to(a.0, a.1 - swing, b.0, b.1 - swing, end.0, end.1);
        }
        path.line_to(wide, high);
        path.close();
        paint.set_color(colour(hue + 0.45, 0.45, 0.45 - 0.35 * depth)?);
        picture.fill_path(&path.finish()?, &paint, FillRule::Winding, Transform::identity(), None);
    }
    picture.encode_png().ok()
}

/// Numbers that look random and follow from a text.
struct Dice(u64);

impl Dice {
    fn new(text: &str) -> Self {
        Self(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// The next number from 0 up to 1.
    fn roll(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        f32::from(u16::try_from(self.0 >> 48).unwrap_or_default()) / f32::from(u16::MAX)
    }
}

/// A colour from hue, saturation and lightness, each 0 to 1; the hue goes round.
fn colour(hue: f32, saturation: f32, lightness: f32) -> Option<Color> {
    let reach = saturation * lightness.min(1.0 - lightness);
    let channel = |offset: f32| {
        let turn = (offset + hue.rem_euclid(1.0) * 12.0).rem_euclid(12.0);
        lightness - reach * (turn - 3.0).min(9.0 - turn).clamp(-1.0, 1.0)
    };
    Color::from_rgba(channel(0.0), channel(8.0), channel(4.0), 1.0)
}

//! Letters on pictures: fonts, shaping and wrapping in every script that is installed.
//!
//! Shaping and the bidirectional algorithm are cosmic-text's; which font stands in for a missing
//! letter is ours, so that emoji come in colour and not in some text font's outlines.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use cosmic_text::{
    Align, Attrs, Buffer, Fallback, Family, FontSystem, LayoutGlyph, Metrics, PlatformFallback,
    Shaping, SwashCache, SwashContent, SwashImage, Weight, Wrap, fontdb,
};
use tiny_skia::Pixmap;
use unicode_script::Script;

use super::palette::Rgb;

/// Fonts tried for what the chosen one lacks, after those of the letter's script.
const COMMON_FONTS: [&str; 9] = [
    "Noto Sans",
    // Before the text fonts that have emoji without colour.
    "Noto Color Emoji",
    "DejaVu Sans",
    "Noto Sans Symbols",
    "Noto Sans Symbols 2",
    "Noto Sans Math",
    "FreeSans",
    "Noto Sans CJK SC",
    "DejaVu Sans Mono",
];
/// The font of letters that it has.
const MAIN_FONT: &str = "Noto Sans";
const MAIN_FONT_OTHERWISE: &str = "DejaVu Sans";
/// The font of what is asked for as an emoji.
const EMOJI_FONT: &str = "Noto Color Emoji";
/// Asks for the letter before it as an emoji; followed by the second, as a key with that letter.
const EMOJI_SELECTOR: char = '\u{fe0f}';
const KEYCAP: char = '\u{20e3}';
/// Line height as a multiple of the letters' size: enough for marks above and below.
const LINE_HEIGHT: f32 = 1.32;
/// Sizes are found to within this many pixels.
const SIZE_STEP_PX: f32 = 0.5;
/// Marks where a text was cut.
const ELLIPSIS: char = '…';

/// The installed fonts. Drawing takes turns: shaping needs the caches to itself.
pub(super) struct Lettering {
    fonts: Mutex<FontSystem>,
    has_fonts: bool,
    family: &'static str,
}

/// A box to be filled with text.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextBox {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) width: f32,
    pub(super) height: f32,
    /// The size that short texts get.
    pub(super) size_max: f32,
    /// The size below which the text is cut instead.
    pub(super) size_min: f32,
    pub(super) is_bold: bool,
}

/// Where text has been put.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placed {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) width: f32,
    pub(super) height: f32,
}

/// No font is installed, so nothing can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoFonts;

impl Lettering {
    /// Reads the installed fonts' names; takes up to a second.
    pub(super) fn load() -> Self {
        let mut db = fontdb::Database::new();
        db.load_system_fonts();
        Self::of(db)
    }

    pub(super) fn of(db: fontdb::Database) -> Self {
        let has_fonts = !db.is_empty();
        if !has_fonts {
            tracing::error!("no font is installed; `apt-get install fonts-noto-core`");
        }
        let has = |name: &str| db.faces().any(|f| f.families.iter().any(|(n, _)| n == name));
        let family = if has(MAIN_FONT) { MAIN_FONT } else { MAIN_FONT_OTHERWISE };
        let fonts =
            FontSystem::new_with_locale_and_db_and_fallback("en".to_owned(), db, OurFallback);
        Self { fonts: Mutex::new(fonts), has_fonts, family }
    }

    /// Draws the text centred in the box, as large as fits, and tells where it is.
    ///
    /// `before` draws what lies under the letters, once their place is known.
    pub(super) fn draw(
        &self,
        canvas: &mut Pixmap,
        text: &str,
        area: TextBox,
        colour: Rgb,
        before: impl FnOnce(&mut Pixmap, Placed),
    ) -> Result<(), NoFonts> {
        if !self.has_fonts {
            // Shaping would panic.
            return Err(NoFonts);
        }
        // A panic while shaping leaves caches that are merely incomplete.
        let mut fonts = self.fonts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut setting = Setting::new(&mut fonts, self.family, area);
        setting.fit(text);
        let placed = setting.placed();
        before(canvas, placed);
        setting.paint(canvas, placed, colour);
        Ok(())
    }
}

impl fmt::Debug for Lettering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lettering").field("family", &self.family).finish_non_exhaustive()
    }
}

/// Makes one line of a text: white space becomes single spaces, control characters vanish.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split_whitespace().map(|word| word.replace(char::is_control, ""));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A text being set into a box.
struct Setting<'a> {
    fonts: &'a mut FontSystem,
    family: &'static str,
    area: TextBox,
    buffer: Buffer,
}

impl<'a> Setting<'a> {
    fn new(fonts: &'a mut FontSystem, family: &'static str, area: TextBox) -> Self {
        let mut buffer = Buffer::new(fonts, metrics(area.size_max));
        buffer.set_wrap(Wrap::WordOrGlyph);
        buffer.set_size(Some(area.width), None);
        Self { fonts, family, area, buffer }
    }

    /// Finds the largest size at which the text fits; cuts it if even the smallest is too large.
    fn fit(&mut self, text: &str) {
        self.set(text);
        if self.fits(self.area.size_max) {
            return;
        }
        if !self.fits(self.area.size_min) {
            self.cut(text);
            return;
        }
        let (mut low, mut high) = (self.area.size_min, self.area.size_max);
        while high - low > SIZE_STEP_PX {
            let middle = f32::midpoint(low, high);
            if self.fits(middle) { low = middle } else { high = middle }
        }
        self.fits(low);
    }

    /// Keeps as many words as fit at the smallest size, or letters where there are no words.
    fn cut(&mut self, text: &str) {
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let (mut low, mut high) = (0, ends.len());
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            self.set(&shortened(text, ends.get(middle).copied().unwrap_or(0)));
            if self.fits(self.area.size_min) { low = middle } else { high = middle }
        }
        self.set(&shortened(text, ends.get(low).copied().unwrap_or(0)));
        self.fits(self.area.size_min);
    }

    fn set(&mut self, text: &str) {
        let weight = if self.area.is_bold { Weight::BOLD } else { Weight::NORMAL };
        let attrs = Attrs::new().family(Family::Name(self.family)).weight(weight);
        // There is no bold one, and another font's bold letter would be taken instead.
        let emoji = attrs.clone().family(Family::Name(EMOJI_FONT)).weight(Weight::NORMAL);
        let spans = emoji_spans(text)
            .into_iter()
            .map(|(part, is_emoji)| (part, if is_emoji { emoji.clone() } else { attrs.clone() }));
        self.buffer.set_rich_text(spans, &attrs, Shaping::Advanced, Some(Align::Center));
    }

    fn fits(&mut self, size_px: f32) -> bool {
        self.buffer.set_metrics(metrics(size_px));
        self.buffer.shape_until_scroll(self.fonts, false);
        let placed = self.placed();
        placed.height <= self.area.height && placed.width <= self.area.width + 1.0
    }

    fn placed(&self) -> Placed {
        let (mut width, mut height) = (0.0_f32, 0.0_f32);
        for run in self.buffer.layout_runs() {
            width = width.max(run.line_w);
            height = height.max(run.line_top + run.line_height);
        }
        Placed {
            left: self.area.left + (self.area.width - width) / 2.0,
            top: self.area.top + (self.area.height - height) / 2.0,
            width,
            height,
        }
    }

    fn paint(&mut self, canvas: &mut Pixmap, placed: Placed, colour: Rgb) {
        let mut cache = SwashCache::new();
        let origin = (self.area.left, placed.top);
        for run in self.buffer.layout_runs() {
            for glyph in run.glyphs {
                let at = (origin.0, origin.1 + run.line_y);
                paint_glyph(canvas, self.fonts, &mut cache, glyph, (at, colour));
            }
        }
    }
}

fn metrics(size_px: f32) -> Metrics {
    Metrics::relative(size_px.max(1.0), LINE_HEIGHT)
}

/// Splits a text where a letter is asked for as an emoji (`❤` and the selector, `1` and a key):
/// text fonts have those letters too, and would be asked first.
fn emoji_spans(text: &str) -> Vec<(&str, bool)> {
    let mut spans = Vec::new();
    let mut rest = text;
    while let Some(selector) = rest.find(EMOJI_SELECTOR) {
        let begin = rest[..selector].char_indices().last().map_or(0, |(at, _)| at);
        let after = selector + EMOJI_SELECTOR.len_utf8();
        let is_key = rest[after..].starts_with(KEYCAP);
        let end = if is_key { after + KEYCAP.len_utf8() } else { after };
        spans.push((&rest[..begin], false));
        spans.push((&rest[begin..end], true));
        rest = &rest[end..];
    }
    spans.push((rest, false));
    spans.retain(|(part, _)| !part.is_empty());
    spans
}

/// Cuts a text before `end`, after its last whole word where it has spaces.
fn shortened(text: &str, end: usize) -> String {
    let kept = text.get(..end).unwrap_or("");
    let at_word = match kept.rsplit_once(' ') {
        Some((words, last)) if last.chars().count() < 24 => words,
        _ => kept,
    };
    format!("{}{ELLIPSIS}", at_word.trim_end())
}

fn paint_glyph(
    canvas: &mut Pixmap,
    fonts: &mut FontSystem,
    cache: &mut SwashCache,
    glyph: &LayoutGlyph,
    (at, colour): ((f32, f32), Rgb),
) {
    let physical = glyph.physical(at, 1.0);
    let Some(image) = cache.get_image(fonts, physical.cache_key) else { return };
    let left = physical.x + image.placement.left;
    let top = physical.y - image.placement.top;
    let width = usize::try_from(image.placement.width).unwrap_or(0);
    for (row, y) in (top..).enumerate().take(image.placement.height as usize) {
        for (column, x) in (left..).enumerate().take(width) {
            if let Some((source, cover)) = glyph_pixel(image, row * width + column, colour) {
                blend(canvas, (x, y), source, cover);
            }
        }
    }
}

/// Returns the colour of a glyph's pixel and how much it covers.
fn glyph_pixel(image: &SwashImage, index: usize, colour: Rgb) -> Option<(Rgb, u8)> {
    match image.content {
        SwashContent::Mask => image.data.get(index).map(|cover| (colour, *cover)),
        SwashContent::Color | SwashContent::SubpixelMask => {
            let pixel = image.data.get(index * 4..index * 4 + 4)?;
            Some((Rgb(*pixel.first()?, *pixel.get(1)?, *pixel.get(2)?), *pixel.get(3)?))
        }
    }
}

/// Lays a colour over a pixel of the canvas, which holds colours multiplied by their alpha.
fn blend(canvas: &mut Pixmap, (x, y): (i32, i32), colour: Rgb, cover: u8) {
    let (width, height) = (canvas.width(), canvas.height());
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
    if cover == 0 || x >= width || y >= height {
        return;
    }
    let start = (y as usize * width as usize + x as usize) * 4;
    let Some(pixel) = canvas.data_mut().get_mut(start..start + 4) else { return };
    let keep = 255 - u32::from(cover);
    for (below, above) in pixel.iter_mut().zip([colour.0, colour.1, colour.2, 255]) {
        let sum = u32::from(above) * u32::from(cover) + u32::from(*below) * keep;
        // At most 255 × 255, so the quotient is a byte.
        *below = u8::try_from((sum + 127) / 255).unwrap_or(u8::MAX);
    }
}

struct OurFallback;

impl Fallback for OurFallback {
    fn common_fallback(&self) -> &[&'static str] {
        &COMMON_FONTS
    }

    fn forbidden_fallback(&self) -> &[&'static str] {
        &[]
    }

    fn script_fallback(&self, script: Script, locale: &str) -> &[&'static str] {
        PlatformFallback.script_fallback(script, locale)
    }
}

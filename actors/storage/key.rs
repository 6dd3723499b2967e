//! Keys of stored files: what they may look like and what their names say.

/// Longest key; with the tenant's prefix it stays below what file systems and S3 take.
const KEY_BYTES_MAX: usize = 512;
/// Longest segment of a key; file systems end at 255, and an upload's suffix needs room.
const SEGMENT_BYTES_MAX: usize = 200;

/// Tells whether a text is a key: segments of `a-z A-Z 0-9 . _ -`, none beginning with a dot.
///
/// So `..`, empty segments, absolute paths, `%2e` and control characters cannot be written at all.
pub fn is_valid_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= KEY_BYTES_MAX && key.split('/').all(is_valid_segment)
}

fn is_valid_segment(segment: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !segment.is_empty()
        && segment.len() <= SEGMENT_BYTES_MAX
        && !segment.starts_with(['.', '-'])
        && segment.bytes().all(is_plain)
}

/// Returns the media type that a key's ending stands for.
pub fn content_type(key: &str) -> &'static str {
    match key.rsplit_once('.').map(|(_, ending)| ending) {
        Some("mp4") => "video/mp4",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("wav") => "audio/wav",
        Some("m4a") => "audio/mp4",
        Some("vtt") => "text/vtt; charset=utf-8",
        Some("json") => "application/json",
        Some("zip") => "application/zip",
        _ => "application/octet-stream",
    }
}

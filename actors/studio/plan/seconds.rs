//! Seconds as JSON numbers outside, whole milliseconds inside, without float arithmetic.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Number;
use serde_json::value::RawValue;

/// Longest decimal text that is read; `serde_json` itself prints numbers far shorter.
const TEXT_BYTES_MAX: usize = 64;
/// Largest power of ten that is read; seconds beyond it are out of every range.
const EXPONENT_MAX: i32 = 400;

/// Reads a non-negative decimal number of seconds as milliseconds, rounding to the nearest.
///
/// `None` for negative numbers, for what is not a number, and for what does not fit.
pub(super) fn to_ms(text: &str) -> Option<u64> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if whole.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if exponent.checked_abs()? > EXPONENT_MAX {
        return None;
    }
    // Value = digits × 10^(exponent − fraction length) seconds; three more places give ms.
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(3)?;
    scale(&digits, shift)
}

fn scale(digits: &[u8], shift: i32) -> Option<u64> {
    let places = usize::try_from(shift.unsigned_abs()).ok()?;
    let push = |sum: Option<u64>, digit: u8| -> Option<u64> {
        sum?.checked_mul(10)?.checked_add(u64::from(digit.checked_sub(b'0')?))
    };
    if shift >= 0 {
        let zeros = std::iter::repeat_n(b'0', places);
        return digits.iter().copied().chain(zeros).fold(Some(0), push);
    }
    let kept = digits.len().saturating_sub(places);
    let sum = digits.iter().take(kept).copied().fold(Some(0), push)?;
    // The first digit dropped rounds, unless all digits lie further to the right.
    let rounds_up = places <= digits.len() && digits.get(kept).is_some_and(|digit| *digit >= b'5');
    sum.checked_add(u64::from(rounds_up))
}

fn to_text(duration_ms: u64) -> String {
    let (seconds, rest) = (duration_ms / 1000, duration_ms % 1000);
    if rest == 0 {
        return seconds.to_string();
    }
    let text = format!("{seconds}.{rest:03}");
    text.trim_end_matches('0').to_owned()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `with` passes a reference")]
pub(super) fn serialize<S: Serializer>(duration_ms: &u64, out: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(to_text(*duration_ms)).map_err(S::Error::custom)?.serialize(out)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    let number = Number::deserialize(input)?;
    to_ms(&number.to_string()).ok_or_else(|| D::Error::custom("not a number of seconds"))
}

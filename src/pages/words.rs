//! Numbers, times and names as a person reads them.

use tenantry_actors::clock::Timestamp;
use tenantry_actors::tenant::plan::Catalogue;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// An amount of a meter, in the unit that a person thinks in.
pub(super) fn amount(units: u64, unit: &str) -> String {
    match unit {
        "ms" if units < 60_000 => format!("{} s", tenths(units, 1_000)),
        "ms" => format!("{} min", tenths(units, 60_000)),
        "byte" => size(units),
        _ => grouped(units),
    }
}

/// How full a bar is drawn, in hundredths: what is used at all can be seen.
pub(super) fn bar(percent: Option<u64>, used: u64) -> u64 {
    percent.unwrap_or_default().clamp(u64::from(used > 0), 100)
}

/// A limit of a meter.
pub(super) fn limit(units: Option<u64>, unit: &str) -> String {
    units.map_or_else(|| "unlimited".to_owned(), |units| amount(units, unit))
}

/// A size in decimal units, as storage is sold.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    let unit = UNITS.iter().find(|(_, factor)| bytes >= *factor);
    unit.map_or_else(
        || format!("{bytes} bytes"),
        |(name, factor)| format!("{} {name}", tenths(bytes, *factor)),
    )
}

/// `value / unit` with one decimal, unless it is a whole number.
fn tenths(value: u64, unit: u64) -> String {
    let (whole, tenth) = (value / unit, value % unit * 10 / unit);
    if tenth == 0 { grouped(whole) } else { format!("{}.{tenth}", grouped(whole)) }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A day: `23 November 2026`.
pub(super) fn day(at: Timestamp) -> String {
    let text = at.to_string();
    let part = |range| text.get(range).and_then(|part: &str| part.parse::<usize>().ok());
    let (year, month) = (part(0..4).unwrap_or_default(), part(5..7).unwrap_or(1).clamp(1, 12));
    format!("{} {} {year}", part(8..10).unwrap_or_default(), MONTHS[month - 1])
}

/// A day with its time: `23 November 2026, 09:14 UTC`.
pub(super) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}, {} UTC", day(at), text.get(11..16).unwrap_or_default())
}

/// A meter's title.
pub(super) fn meter(catalogue: &Catalogue, name: &str) -> String {
    catalogue.meter(name).map_or_else(|| name.to_owned(), |meter| meter.title.clone())
}

/// A meter's unit.
pub(super) fn unit<'a>(catalogue: &'a Catalogue, name: &str) -> &'a str {
    catalogue.meter(name).map_or("", |meter| meter.unit.as_str())
}

/// A step's name.
pub(super) fn step(name: &str) -> String {
    let mut parts = name.split('-');
    let kind = parts.next().unwrap_or_default();
    let mut number = || parts.next().unwrap_or_default().trim_start_matches('0').to_owned();
    match kind {
        "image" => format!("Picture of scene {}", number()),
        "speech" => format!("Narration of scene {}", number()),
        "segment" => format!("Film of scene {}, part {}", number(), number()),
        "assemble" => "Putting it together".to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_in_the_unit_that_people_think_in() {
        assert_eq!(amount(1_234_567, "image"), "1,234,567");
        assert_eq!(amount(60_000_000, "ms"), "1,000 min");
        assert_eq!(amount(90_000, "ms"), "1.5 min");
        assert_eq!(amount(12_345, "ms"), "12.3 s");
        assert_eq!(amount(100_000_000_000, "byte"), "100 GB");
        assert_eq!(amount(999, "byte"), "999 bytes");
        assert_eq!(limit(None, "ms"), "unlimited");
    }

    #[test]
    fn steps_are_named_by_what_they_make() {
        assert_eq!(step("image-01"), "Picture of scene 1");
        assert_eq!(step("segment-10-03"), "Film of scene 10, part 3");
        assert_eq!(step("assemble"), "Putting it together");
    }

    #[test]
    fn times_are_written_in_words() {
        let at = Timestamp::from_micros(1_795_425_243_120_482);

        assert_eq!(moment(at), "23 November 2026, 09:14 UTC");
    }
}

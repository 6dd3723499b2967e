//! Marks: by which a tenant's keys and events are found among its projected lines.
//!
//! A mark is 64 bits of a digest and the number of the entry that it stands in. Those of new lines
//! are kept beside them; once so many lines are complete their marks become a run, and runs become
//! longer ones. **Invariant:** every mark of the projected lines below [`complete_below`]
//! is in exactly one run, until it is forgotten; those of later lines stand beside them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::Line;
use super::events::events_of;
use crate::tenant::quota::EventDigest;

/// Lines of a run, shortest first; each length is a multiple of the one before.
const LINES: [u64; 4] = [64, 1024, 16_384, 262_144];
/// Marks above which runs are not joined any more: it happens in memory, in one transaction.
pub(crate) const MAX_JOINED: u64 = 1 << 20;
/// Marks that stand together at the most, on the average: what a search for one has to read.
const MAX_TOGETHER: usize = 256;
/// Parts of a run, in hexadecimal digits: more parts than that have few marks each.
const MAX_DIGITS: u32 = 5;
/// Bytes of an encoded mark: eight of the digest, and the entry's distance from the first.
const DIGEST_BYTES: usize = 8;
const BYTES: usize = DIGEST_BYTES + 3;

/// Where a digest stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// 64 bits of the digest.
    pub(crate) digest: u64,
    /// The entry.
    pub(crate) seq: u64,
}

/// Lines whose marks belong together: numbered from `first`, and below `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) end: u64,
}

/// What of a key's digest is in its mark: 16 hexadecimal digits, any part is as good as random.
/// Other text is spread over the 64 bits.
pub(crate) fn of_key(idem: &str) -> u64 {
    let digits = idem.get(0..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    digits.unwrap_or_else(|| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, idem.as_bytes());
        first_eight(hash.as_ref())
    })
}

/// What of an event's digest is in its mark: it is as good as random.
pub(crate) fn of_event(digest: EventDigest) -> u64 {
    first_eight(digest.as_bytes())
}

fn first_eight(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The marks of a line.
pub(crate) fn of_line(line: &Line) -> impl Iterator<Item = Mark> {
    let digests = line.idem.as_deref().map(of_key).into_iter();
    digests.chain(events_of(line).map(of_event)).map(|digest| Mark { digest, seq: line.seq })
}

/// The number below which every line is in a run, when the last projected one is `last`.
pub(crate) fn complete_below(last: u64) -> u64 {
    let [shortest, ..] = LINES;
    (last + 1) / shortest * shortest
}

/// Of the marks of a chunk that ends with `last`, in the order of entries, those that are in no run.
pub(crate) fn loose(marks: &[Mark], last: u64) -> &[Mark] {
    within(marks, Span { first: complete_below(last), end: u64::MAX })
}

/// Of marks in the order of their entries, those of a span.
pub(crate) fn within(marks: &[Mark], span: Span) -> &[Mark] {
    let place = |seq| marks.partition_point(|mark| mark.seq < seq);
    marks.get(place(span.first)..place(span.end)).unwrap_or_default()
}

/// The run that is due next when the lines from `cursor` up to `end` have none yet: the longest
/// that is complete, of at most `longest` lines.
pub(crate) fn next_run(cursor: u64, end: u64, longest: u64) -> Option<Span> {
    let spans = LINES.iter().rev().filter(|lines| **lines <= longest).map(|lines| {
        let first = cursor / lines * lines;
        Span { first, end: first + lines }
    });
    spans.into_iter().find(|span| span.end <= end)
}

/// The longest run that is shorter than this one.
pub(crate) fn shorter(span: Span) -> u64 {
    let lines = span.end - span.first;
    LINES.iter().rev().copied().find(|other| *other < lines).unwrap_or(0)
}

/// The hexadecimal digits by which so many marks are cut in parts.
pub(crate) fn digits_for(marks: usize) -> u32 {
    (0..MAX_DIGITS).find(|digits| marks >> (4 * digits) <= MAX_TOGETHER).unwrap_or(MAX_DIGITS)
}

/// The part that a digest stands in.
pub(crate) fn part_of(digest: u64, digits: u32) -> u64 {
    digest.checked_shr(u64::BITS - 4 * digits).unwrap_or(0)
}

/// Writes marks of entries from `first` on, as text.
pub(crate) fn encode(first: u64, marks: &[Mark]) -> String {
    let mut bytes = Vec::with_capacity(marks.len() * BYTES);
    for mark in marks {
        let [.., high, middle, low] = (mark.seq - first).to_be_bytes();
        bytes.extend_from_slice(&mark.digest.to_be_bytes());
        bytes.extend_from_slice(&[high, middle, low]);
    }
    STANDARD_NO_PAD.encode(bytes)
}

/// Reads marks of entries from `first` on; none if it is no such text.
pub(crate) fn decode(first: u64, text: &str) -> Option<Vec<Mark>> {
    let bytes = STANDARD_NO_PAD.decode(text).ok()?;
    let (records, rest) = bytes.as_chunks::<BYTES>();
    let mark = |record: &[u8; BYTES]| {
        let (digest, [high, middle, low]) = record.split_first_chunk::<DIGEST_BYTES>()? else {
            return None;
        };
        let offset = u32::from_be_bytes([0, *high, *middle, *low]);
        Some(Mark { digest: u64::from_be_bytes(*digest), seq: first + u64::from(offset) })
    };
    if rest.is_empty() { records.iter().map(mark).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn marks_are_read_as_they_were_written(
            first in 0..u64::MAX / 2,
            pairs in prop::collection::vec((any::<u64>(), 0_u64..1 << 24), 0..50),
        ) {
            let mark = |(digest, offset)| Mark { digest, seq: first + offset };
            let marks: Vec<Mark> = pairs.into_iter().map(mark).collect();

            prop_assert_eq!(decode(first, &encode(first, &marks)), Some(marks));
        }

        #[test]
        fn every_complete_line_is_in_one_run_however_they_come(
            chunks in prop::collection::vec(1_u64..3_000, 1..60),
        ) {
            let (mut runs, mut last) = (Vec::<Span>::new(), 0);
            for lines in chunks {
                let mut cursor = complete_below(last);
                last += lines;
                while let Some(run) = next_run(cursor, last + 1, u64::MAX) {
                    runs.retain(|old| old.first < run.first);
                    prop_assert!(runs.last().is_none_or(|old| old.end == run.first));
                    runs.push(run);
                    cursor = run.end;
                }
                prop_assert_eq!(cursor, complete_below(last));
                prop_assert_eq!(runs.last().map_or(0, |run| run.end), cursor);
                prop_assert!(runs.len() <= 16 * LINES.len());
            }
        }
    }

    #[test]
    fn parts_have_few_marks_each() {
        for (marks, digits) in [(0, 0), (256, 0), (257, 1), (16_384, 2), (262_144, 3)] {
            assert_eq!(digits_for(marks), digits, "{marks}");
        }
        assert_eq!(part_of(0xabcd_0000_0000_0000, 0), 0);
        assert_eq!(part_of(0xabcd_0000_0000_0000, 3), 0xabc);
    }

    #[test]
    fn what_is_no_list_of_marks_is_not_read_as_one() {
        assert_eq!(decode(0, "AAAA"), None);
        assert_eq!(decode(0, "not base64!"), None);
    }
}

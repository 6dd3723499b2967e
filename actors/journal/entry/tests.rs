use super::*;
use crate::tenant::quota::{Charge, Outcome};

fn tenant() -> TenantId {
    TenantId::from_bits(7)
}

fn consumed(amount: u64, used: u64) -> EntryBody {
    EntryBody::Usage(Fact::Consumed {
        items: vec![Charge {
            meter: "images".parse().unwrap(),
            amount,
            held: 0,
            used,
            reserved: 0,
            limit: Some(500),
            grants: Vec::new(),
            would_refuse: false,
        }],
        period: crate::tenant::period::Period::month_of(at()).name(),
    })
}

fn at() -> Timestamp {
    "2026-11-23T09:14:03.120482Z".parse().unwrap()
}

fn author() -> Author<'static> {
    Author {
        by: "key_00000000000000000000000001",
        req: Some(RequestId::from_bits(3)),
        idem: Some("0a1b"),
        fp: Some("2c3d"),
    }
}

/// Three entries in a chain.
fn chain() -> Vec<String> {
    let mut prev = EntryHash::GENESIS;
    let bodies = [consumed(3, 3), consumed(4, 7), consumed(5, 12)];
    (1..)
        .zip(&bodies)
        .map(|(seq, body)| {
            let place = Place { tenant: tenant(), seq, at: at().plus_s(seq), prev };
            let (line, hash) = seal(body, &place, &author());
            prev = hash;
            line
        })
        .collect()
}

fn verify(lines: &[String]) -> Result<Head, EntryError> {
    verify_chain(tenant(), Head::GENESIS, lines.iter().map(String::as_str))
}

#[test]
fn a_line_has_exactly_the_documented_form() {
    let place = Place { tenant: tenant(), seq: 812, at: at(), prev: EntryHash::GENESIS };

    let (line, hash) = seal(&consumed(3, 480), &place, &author());

    let zeros = "0".repeat(64);
    assert_eq!(
        line,
        format!(
            concat!(
                r#"{{"v":1,"tenant":"tnt_00000000000000000000000007","seq":812,"#,
                r#""at":"2026-11-23T09:14:03.120482Z","kind":"consumed","#,
                r#""items":[{{"meter":"images","amount":3,"used":480,"reserved":0,"limit":500}}],"#,
                r#""period":"2026-11","by":"key_00000000000000000000000001","#,
                r#""req":"req_00000000000000000000000003","idem":"0a1b","fp":"2c3d","#,
                r#""prev":"{}","hash":"{}"}}"#
            ),
            zeros, hash
        )
    );
}

#[test]
fn the_hash_is_sha256_over_the_previous_hash_and_the_line_without_its_hash() {
    let [first, second, _] = &chain()[..] else { panic!("three lines") };
    let prev = Entry::parse(first).unwrap().hash.to_string();
    let hash = Entry::parse(second).unwrap().hash.to_string();

    // The recipe that the book gives: drop the last member, prepend `prev`, hash.
    let without = second.replace(&format!(r#","hash":"{hash}""#), "");
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        format!("{prev}{without}").as_bytes(),
    );

    assert_eq!(data_encoding::HEXLOWER.encode(digest.as_ref()), hash);
}

#[test]
fn a_parsed_line_is_what_was_sealed() {
    let entry = Entry::parse(&chain()[1]).unwrap();

    assert_eq!(entry.body, consumed(4, 7));
    assert_eq!((entry.tenant, entry.seq, entry.at), (tenant(), 2, at().plus_s(2)));
    assert_eq!(entry.by, author().by);
    assert_eq!(entry.req, author().req);
    assert_eq!(entry.idem.as_deref(), author().idem);
    assert_eq!(entry.fp.as_deref(), author().fp);
}

#[test]
fn a_line_answers_its_commands_repetition_by_itself() {
    let entry = Entry::parse(&chain()[1]).unwrap();

    let answer = answer_of(&entry);

    assert!(matches!(answer, TenantOutcome::Usage(Outcome::Consumed(_))));
    assert_eq!(
        serde_json::to_string(&answer).unwrap(),
        concat!(
            r#"{"admitted":true,"items":[{"meter":"images","charged":4,"used":7,"#,
            r#""remaining":493,"limit":500}],"period":"2026-11","seq":2}"#
        )
    );
}

#[test]
fn a_good_chain_verifies_to_its_head() {
    let lines = chain();
    let head = verify(&lines).unwrap();

    assert_eq!(head.seq, 3);
    assert_eq!(head.hash, Entry::parse(&lines[2]).unwrap().hash);
    let middle = verify(&lines[..2]).unwrap();
    assert_eq!(verify_chain(tenant(), middle, [lines[2].as_str()]), Ok(head));
}

#[test]
fn every_flipped_byte_of_a_line_is_found() {
    let lines = chain();
    for place in 0..lines[1].len() {
        let mut bytes = lines[1].clone().into_bytes();
        bytes[place] ^= 1;
        let Ok(flipped) = String::from_utf8(bytes) else { continue };
        let damaged = [lines[0].clone(), flipped, lines[2].clone()];

        assert!(verify(&damaged).is_err(), "byte {place} of {}", damaged[1]);
    }
}

#[test]
fn a_removed_swapped_or_foreign_line_is_named() {
    let lines = chain();
    let removed = [lines[0].clone(), lines[2].clone()];
    let swapped = [lines[1].clone(), lines[0].clone()];

    assert_eq!(verify(&removed), Err(EntryError::Gap { expected: 2, found: 3 }));
    assert_eq!(verify(&swapped), Err(EntryError::Gap { expected: 1, found: 2 }));
    let other = TenantId::from_bits(8);
    assert!(verify_chain(other, Head::GENESIS, [lines[0].as_str()]).is_err());

    // A line that was sealed anew after another past is good by itself and breaks the chain.
    let place = Place { tenant: tenant(), seq: 2, at: at().plus_s(2), prev: EntryHash::GENESIS };
    let forged = seal(&consumed(1, 4), &place, &author()).0;
    assert!(Entry::parse(&forged).is_ok());
    assert_eq!(verify(&[lines[0].clone(), forged]), Err(EntryError::Unchained { seq: 2 }));
}

#[test]
fn what_is_no_line_is_malformed_and_no_panic() {
    let long = "x".repeat(100);
    for text in ["", "{}", "null", "{\"v\":1", "é", long.as_str()] {
        assert!(matches!(Entry::parse(text), Err(EntryError::Malformed(_))), "{text}");
    }
    let other = chain()[0].replacen(r#""v":1"#, r#""v":2"#, 1);
    assert_eq!(Entry::parse(&other), Err(EntryError::Version(2)));
}

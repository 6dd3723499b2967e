//! Requests of one kind, rendered in advance but for what makes each of them its own.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::client::Answer;

/// What every accepted event's result says.
const ACCEPTED: &[u8] = br#""accepted""#;
/// Digits of the number that makes an event's id its own.
const NUMBER_DIGITS: usize = 12;

/// Requests of one kind.
#[derive(Debug)]
pub(crate) struct Requests {
    /// What comes first, for each API key.
    heads: Vec<Vec<u8>>,
    tail: Tail,
    order: Order,
    /// Numbers requests over all measurements of a run, so that no key is used twice.
    next: Arc<AtomicU64>,
}

/// What follows a head.
#[derive(Debug)]
enum Tail {
    /// The number as an idempotency key, and then this.
    Keyed(Vec<u8>),
    /// This, with the number written into it at these places.
    Numbered {
        /// A body with zeros where the number belongs.
        template: Vec<u8>,
        /// Where those are.
        places: Vec<usize>,
    },
}

/// Which API key comes next.
#[derive(Debug)]
enum Order {
    /// One that follows no pattern.
    Scattered,
    /// The one after the last.
    InTurn(AtomicU64),
}

impl Requests {
    /// Renders a consume request for each API key.
    pub(crate) fn consume(api_keys: &[String], next: &Arc<AtomicU64>) -> Self {
        let body = r#"{"items":[{"meter":"tts_ms","amount":1}]}"#;
        let head = |api_key: &String| {
            format!(
                "POST /api/usage/consume HTTP/1.1\r\nHost: 127.0.0.1\r\n\
                 Authorization: Bearer {api_key}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nIdempotency-Key: ",
                body.len()
            )
            .into_bytes()
        };
        Self {
            heads: api_keys.iter().map(head).collect(),
            tail: Tail::Keyed(format!("\r\n\r\n{body}").into_bytes()),
            order: Order::Scattered,
            next: Arc::clone(next),
        }
    }

    /// Renders a batch of so many events for each API key.
    pub(crate) fn events(api_keys: &[String], batch: usize, next: &Arc<AtomicU64>) -> Self {
        let (template, places) = batch_of(batch);
        let head = |api_key: &String| {
            format!(
                "POST /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\
                 Authorization: Bearer {api_key}\r\n\
                 Content-Type: application/cloudevents-batch+json\r\n\
                 Content-Length: {}\r\n\r\n",
                template.len()
            )
            .into_bytes()
        };
        Self {
            heads: api_keys.iter().map(head).collect(),
            tail: Tail::Numbered { template, places },
            order: Order::Scattered,
            next: Arc::clone(next),
        }
    }

    /// Takes the API keys one after the other, the first after the last.
    pub(crate) fn in_turn(mut self) -> Self {
        self.order = Order::InTurn(AtomicU64::new(0));
        self
    }

    /// Tells how many API keys there are.
    pub(crate) fn api_keys(&self) -> usize {
        self.heads.len()
    }

    /// Renders the next request.
    pub(crate) fn render_next(&self, into: &mut Vec<u8>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let place = match &self.order {
            Order::Scattered => number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32,
            Order::InTurn(turn) => turn.fetch_add(1, Ordering::Relaxed),
        };
        let index = usize::try_from(place).unwrap_or(0) % self.heads.len();
        self.render(index, number, into);
    }

    /// Renders the next request of one API key.
    pub(crate) fn render_for(&self, index: usize, into: &mut Vec<u8>) {
        self.render(index, self.next.fetch_add(1, Ordering::Relaxed), into);
    }

    fn render(&self, index: usize, number: u64, into: &mut Vec<u8>) {
        into.clear();
        into.extend_from_slice(&self.heads[index]);
        match &self.tail {
            Tail::Keyed(tail) => {
                // Writing to memory cannot fail.
                let _ = write!(into, "00000000-0000-4000-8000-{number:012x}");
                into.extend_from_slice(tail);
            }
            Tail::Numbered { template, places } => {
                let start = into.len();
                into.extend_from_slice(template);
                let digits = format!("{number:0NUMBER_DIGITS$x}");
                for place in places {
                    let at = start + place;
                    into[at..at + NUMBER_DIGITS].copy_from_slice(digits.as_bytes());
                }
            }
        }
    }

    /// Tells how many units a request has been acknowledged; nothing if not all that it asked for.
    pub(crate) fn units_of(&self, answer: Answer<'_>) -> Option<u64> {
        if answer.status != 200 {
            return None;
        }
        let Tail::Numbered { places, .. } = &self.tail else { return Some(1) };
        let accepted = occurrences(answer.body, ACCEPTED);
        (accepted == places.len()).then_some(accepted as u64)
    }
}

/// Makes a body of events, and says where the number belongs in each of their ids.
fn batch_of(events: usize) -> (Vec<u8>, Vec<usize>) {
    let (mut template, mut places) = (b"[".to_vec(), Vec::with_capacity(events));
    for index in 0..events {
        if index > 0 {
            template.push(b',');
        }
        template.extend_from_slice(br#"{"specversion":"1.0","id":""#);
        places.push(template.len());
        template.extend_from_slice(&[b'0'; NUMBER_DIGITS]);
        let _ = write!(
            template,
            r#"-{index:04}","source":"/load","type":"usage.tts_ms","data":{{"amount":1}}}}"#
        );
    }
    template.push(b']');
    (template, places)
}

fn occurrences(text: &[u8], wanted: &[u8]) -> usize {
    let (mut count, mut at) = (0, 0);
    // Only what follows a quotation mark is compared: an answer has many thousands of bytes.
    while let Some(found) = text[at..].iter().position(|byte| *byte == wanted[0]) {
        at += found;
        if text[at..].starts_with(wanted) {
            count += 1;
            at += wanted.len();
        } else {
            at += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn api_keys() -> [String; 2] {
        ["tk_live_a".to_owned(), "tk_live_b".to_owned()]
    }

    fn text_of(requests: &Requests, index: usize, number: u64) -> String {
        let mut request = Vec::new();
        requests.render(index, number, &mut request);
        String::from_utf8(request).unwrap()
    }

    fn answer(status: u16, body: &str) -> Answer<'_> {
        Answer { status, body: body.as_bytes() }
    }

    #[test]
    fn a_request_is_well_formed_and_its_key_is_its_own() {
        let requests = Requests::consume(&api_keys(), &Arc::new(AtomicU64::new(0)));

        let text = text_of(&requests, 0, 1);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /api/usage/consume HTTP/1.1\r\nHost: "));
        assert!(head.contains("\r\nAuthorization: Bearer tk_live_a\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        assert!(head.ends_with("\r\nIdempotency-Key: 00000000-0000-4000-8000-000000000001"));
        let text = text_of(&requests, 1, 0xABC);
        assert!(text.contains("tk_live_b") && text.contains("8000-000000000abc\r\n"));
    }

    #[test]
    fn a_batch_is_one_body_of_events_with_ids_of_their_own() {
        let requests = Requests::events(&api_keys(), 1000, &Arc::new(AtomicU64::new(0)));
        let mut ids = std::collections::BTreeSet::new();

        for number in [0, 0xFFFF_FFFF_FFFF] {
            let text = text_of(&requests, 1, number);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("\r\nContent-Length: {}", body.len())));
            let events: Vec<Value> = serde_json::from_str(body).unwrap();
            assert_eq!(events[999]["data"]["amount"], 1);
            ids.extend(events.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        }

        assert_eq!(ids.len(), 2000);
    }

    #[test]
    fn a_batch_is_acknowledged_only_if_all_of_it_was_accepted() {
        let requests = Requests::events(&api_keys(), 2, &Arc::new(AtomicU64::new(0)));
        let result = |status| format!(r#"{{"id":"1","status":"{status}"}}"#);
        let all = format!("[{},{}]", result("accepted"), result("accepted"));
        let some = format!("[{},{}]", result("accepted"), result("duplicate"));

        assert_eq!(requests.units_of(answer(200, &all)), Some(2));
        assert_eq!(requests.units_of(answer(200, &some)), None);
        assert_eq!(requests.units_of(answer(503, &all)), None);
    }

    #[test]
    fn a_consume_is_one_unit() {
        let requests = Requests::consume(&api_keys(), &Arc::new(AtomicU64::new(0)));

        assert_eq!(requests.units_of(answer(200, "{}")), Some(1));
        assert_eq!(requests.units_of(answer(402, "{}")), None);
    }

    #[test]
    fn requests_in_turn_reach_each_api_key_once_a_turn() {
        let requests = Requests::consume(&api_keys(), &Arc::new(AtomicU64::new(7))).in_turn();
        let mut request = Vec::new();

        let turns = ["tk_live_a", "tk_live_b", "tk_live_a"].map(|api_key| {
            requests.render_next(&mut request);
            String::from_utf8_lossy(&request).contains(api_key)
        });

        assert_eq!(turns, [true; 3]);
    }
}

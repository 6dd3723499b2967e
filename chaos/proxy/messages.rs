//! As much of PostgreSQL's protocol as it takes to see a statement go by and its end come back.

use std::collections::HashMap;

/// A client may ask for encryption before it begins; the server answers with a lone byte.
const ASKS_FOR_TLS: u32 = 80_877_103;
const ASKS_FOR_GSS: u32 = 80_877_104;

/// Bytes of a message's type and length.
const HEAD_BYTES: usize = 5;

/// Whole messages to pass on, and the statements that they run.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) bytes: Vec<u8>,
    pub(super) statements: Vec<String>,
}

/// What a client sends.
#[derive(Debug, Default)]
pub(super) struct Client {
    rest: Vec<u8>,
    has_begun: bool,
    plain_answers: u32,
    // Prepared statements by name.
    prepared: HashMap<Vec<u8>, String>,
}

impl Client {
    /// Takes what came and gives back what is whole.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Step {
        self.rest.extend_from_slice(bytes);
        let mut step = Step::default();
        while let Some(message) = self.next() {
            if !message.is_empty() && self.has_begun {
                self.note(&message, &mut step.statements);
            }
            step.bytes.extend(message);
        }
        step
    }

    /// How many lone bytes the server will answer with, counted once.
    pub(super) fn take_plain_answers(&mut self) -> u32 {
        std::mem::take(&mut self.plain_answers)
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.has_begun {
            return whole(&mut self.rest, 1);
        }
        // The first messages have a length and no type.
        let message = whole(&mut self.rest, 0)?;
        match number(&message, 4) {
            Some(ASKS_FOR_TLS | ASKS_FOR_GSS) => self.plain_answers += 1,
            // What follows has a type; this one is passed on as it is.
            _ => self.has_begun = true,
        }
        Some(message)
    }

    fn note(&mut self, message: &[u8], statements: &mut Vec<String>) {
        let body = message.get(HEAD_BYTES..).unwrap_or_default();
        let mut words = body.split(|byte| *byte == 0);
        let text = |word: Option<&[u8]>| String::from_utf8_lossy(word.unwrap_or_default()).into();
        match message.first() {
            Some(b'P') => {
                let name = words.next().unwrap_or_default().to_vec();
                self.prepared.insert(name, text(words.next()));
            }
            Some(b'B') => {
                let name = words.nth(1).unwrap_or_default();
                statements.extend(self.prepared.get(name).cloned());
            }
            Some(b'Q') => statements.push(text(words.next())),
            _ => {}
        }
    }
}

/// What a server sends.
#[derive(Debug, Default)]
pub(super) struct Server {
    rest: Vec<u8>,
    plain_answers: u32,
    is_holding: bool,
    is_ready: bool,
}

impl Server {
    /// The next so many bytes are answers of one byte.
    pub(super) fn expect_plain(&mut self, count: u32) {
        self.plain_answers += count;
    }

    /// From here on looks for the end of what the server is doing.
    pub(super) fn hold(&mut self) {
        (self.is_holding, self.is_ready) = (true, false);
    }

    /// Whether the server has said, since then, that it is ready for something else.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Takes what came and gives back what may be passed on: nothing while it is held.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(bytes);
        let mut whole_ones = Vec::new();
        while self.plain_answers > 0 && !self.rest.is_empty() {
            self.plain_answers -= 1;
            whole_ones.push(self.rest.remove(0));
        }
        while let Some(message) = whole(&mut self.rest, 1) {
            if self.is_holding {
                self.is_ready |= message.first() == Some(&b'Z');
            } else {
                whole_ones.extend(message);
            }
        }
        whole_ones
    }
}

/// Takes one whole message: `before` bytes, a length that counts itself, and the rest.
fn whole(bytes: &mut Vec<u8>, before: usize) -> Option<Vec<u8>> {
    let length = before + usize::try_from(number(bytes, before)?).ok()?;
    (bytes.len() >= length).then(|| bytes.drain(..length).collect())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(four))
}

//! The mails that the simulated mail server took, for people on a page and for tests.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mail_parser::MessageParser;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How many mails are kept; the oldest go first.
const MAX_MAILS: usize = 1_000;

/// One mail as it arrived.
#[derive(Clone, Debug, Serialize)]
pub struct Mail {
    /// Counts mails from 1.
    pub id: u64,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// The subject, decoded.
    pub subject: String,
    /// The `Message-ID`, without brackets.
    pub message_id: Option<String>,
    /// The plain text part.
    pub text: String,
    /// The HTML part, if there is one.
    pub html: Option<String>,
    /// Every link of the plain text, in order.
    pub links: Vec<String>,
    /// Milliseconds from the start of the world to the mail's arrival.
    pub received_after_ms: u64,
}

/// Every mail that arrived, the newest last.
#[derive(Debug)]
pub struct Mailbox {
    started: Instant,
    count: watch::Sender<u64>,
    mails: Mutex<VecDeque<Mail>>,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self { started: Instant::now(), count: watch::Sender::new(0), mails: Mutex::default() }
    }
}

impl Mailbox {
    /// Every mail, or those to one address.
    pub fn to(&self, address: Option<&str>) -> Vec<Mail> {
        let mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        let is_wanted = |mail: &&Mail| {
            address.is_none_or(|wanted| mail.to.iter().any(|to| to.eq_ignore_ascii_case(wanted)))
        };
        mails.iter().filter(is_wanted).cloned().collect()
    }

    /// One mail by its id.
    pub fn get(&self, id: u64) -> Option<Mail> {
        let mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        mails.iter().find(|mail| mail.id == id).cloned()
    }

    /// Waits until an address has at least `count` mails, and returns them.
    pub async fn wait_for(
        &self,
        address: &str,
        count: usize,
        within: Duration,
    ) -> Option<Vec<Mail>> {
        let mut arrivals = self.count.subscribe();
        let arrived = async {
            loop {
                let mails = self.to(Some(address));
                if mails.len() >= count {
                    return Some(mails);
                }
                arrivals.changed().await.ok()?;
            }
        };
        timeout(within, arrived).await.ok().flatten()
    }

    /// How long ago a mail arrived, in words.
    pub(crate) fn age(&self, mail: &Mail) -> String {
        let now_ms = self.elapsed_ms();
        let seconds = now_ms.saturating_sub(mail.received_after_ms) / 1_000;
        match seconds {
            0..=1 => "just now".to_owned(),
            2..=119 => format!("{seconds} seconds ago"),
            120..=7_199 => format!("{} minutes ago", seconds / 60),
            _ => format!("{} hours ago", seconds / 3_600),
        }
    }

    pub(crate) fn add(&self, from: String, to: Vec<String>, raw: &[u8]) {
        let received_after_ms = self.elapsed_ms();
        let parsed = MessageParser::default().parse(raw).unwrap_or_default();
        let text = parsed.body_text(0).unwrap_or_default().into_owned();
        {
            let mut mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
            if mails.len() == MAX_MAILS {
                mails.pop_front();
            }
            mails.push_back(Mail {
                id: *self.count.borrow() + 1,
                from,
                to,
                subject: parsed.subject().unwrap_or("(no subject)").to_owned(),
                message_id: parsed.message_id().map(ToOwned::to_owned),
                links: links(&text).map(ToOwned::to_owned).collect(),
                text,
                // A part made up from the plain text is no HTML part of the mail.
                html: (parsed.html_body_count() > 0 && has_html(&parsed))
                    .then(|| parsed.body_html(0).unwrap_or_default().into_owned()),
                received_after_ms,
            });
            self.count.send_modify(|count| *count += 1);
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The links in a text: from `http` up to white space or a closing bracket.
pub(crate) fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"'))
        .filter(|word| word.starts_with("http://") || word.starts_with("https://"))
}

fn has_html(message: &mail_parser::Message<'_>) -> bool {
    message.parts.iter().any(|part| matches!(part.body, mail_parser::PartType::Html(_)))
}

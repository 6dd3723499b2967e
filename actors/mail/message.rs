//! Turning an outbox row into a message: templates, headers, recipients.

use std::time::{Duration, UNIX_EPOCH};

use askama::Template;
use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use serde::{Deserialize, Serialize};

use super::MailError;
use crate::clock::Timestamp;

/// How long a login link works, as the mail says it.
const LOGIN_MINUTES: u32 = 15;

/// Who sends.
#[derive(Clone, Debug)]
pub(super) struct Sender(Mailbox);

/// What a mail says, whoever gets it.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) subject: String,
    pub(super) text: String,
    html: String,
}

/// What a mail about usage tells; the projector writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UsageFacts {
    pub(crate) meter: String,
    pub(crate) percent: u8,
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

/// What a mail about a webhook endpoint tells that was switched off.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct EndpointFacts {
    pub(super) endpoint: String,
    /// `failing`, or `gone`.
    pub(super) reason: String,
}

#[derive(Template)]
#[template(path = "webhook_disabled.txt")]
struct EndpointText<'a> {
    endpoint: &'a str,
    is_gone: bool,
}

#[derive(Template)]
#[template(path = "webhook_disabled.html")]
struct EndpointHtml<'a> {
    endpoint: &'a str,
    is_gone: bool,
}

#[derive(Template)]
#[template(path = "login.txt")]
struct LoginText<'a> {
    code: &'a str,
    link: &'a str,
    minutes: u32,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginHtml<'a> {
    code: &'a str,
    link: &'a str,
    minutes: u32,
}

#[derive(Template)]
#[template(path = "usage_threshold.txt")]
struct UsageText<'a> {
    meter: &'a str,
    percent: u8,
    used: u64,
    limit: u64,
    usage_url: &'a str,
}

#[derive(Template)]
#[template(path = "usage_threshold.html")]
struct UsageHtml<'a> {
    meter: &'a str,
    percent: u8,
    used: u64,
    limit: u64,
    usage_url: &'a str,
}

impl Sender {
    /// Reads a configured sender.
    pub(super) fn parse(text: &str) -> Result<Self, MailError> {
        text.parse().map(Self).map_err(|_| MailError::InvalidSender)
    }

    /// Builds the message of a row. The same row always gives the same Message-ID and date, so
    /// that a mail server sees a repetition for what it is.
    pub(super) fn message(
        &self,
        id: &str,
        created_at: Timestamp,
        to: &[String],
        content: &Content,
    ) -> Option<Message> {
        let micros = u64::try_from(created_at.as_micros()).ok()?;
        let mut builder = Message::builder()
            .message_id(Some(format!("<{id}@{}>", self.0.email.domain())))
            .date(UNIX_EPOCH + Duration::from_micros(micros))
            .from(self.0.clone())
            .subject(content.subject.as_str())
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        for address in to {
            builder = builder.to(Mailbox::new(None, address.parse().ok()?));
        }
        let body = MultiPart::alternative_plain_html(content.text.clone(), content.html.clone());
        builder.multipart(body).ok()
    }
}

impl Content {
    /// Writes a login mail.
    pub(super) fn login(link: &str, code: &str) -> Result<Self, askama::Error> {
        let minutes = LOGIN_MINUTES;
        Ok(Self {
            subject: "Your link and code to log in".to_owned(),
            text: LoginText { code, link, minutes }.render()?,
            html: LoginHtml { code, link, minutes }.render()?,
        })
    }

    /// Writes a mail about usage that passed a threshold.
    pub(super) fn usage(facts: &UsageFacts, public_url: &str) -> Result<Self, askama::Error> {
        let UsageFacts { meter, percent, used, limit } = facts;
        let (percent, used, limit) = (*percent, *used, *limit);
        let usage_url = &format!("{public_url}/usage");
        Ok(Self {
            subject: format!("{percent} % of {meter} is used"),
            text: UsageText { meter, percent, used, limit, usage_url }.render()?,
            html: UsageHtml { meter, percent, used, limit, usage_url }.render()?,
        })
    }

    /// Writes a mail about a webhook endpoint that was switched off.
    pub(super) fn endpoint(facts: &EndpointFacts) -> Result<Self, askama::Error> {
        let endpoint = facts.endpoint.as_str();
        let is_gone = facts.reason == "gone";
        Ok(Self {
            subject: "A webhook endpoint was switched off".to_owned(),
            text: EndpointText { endpoint, is_gone }.render()?,
            html: EndpointHtml { endpoint, is_gone }.render()?,
        })
    }
}

//! The world's pages: what is simulated, how it behaves, and the mails that arrived.

use std::fmt::Write as _;

use super::log::Log;
use super::mailbox::{Mail, Mailbox, links};
use super::switches::{Mode, Service, Switches};

/// The look of every page.
pub(super) const STYLE: &str = include_str!("pages/style.css");

/// What each service is, for people.
fn describe(service: Service) -> (&'static str, &'static str) {
    match service {
        Service::Mail => ("Mail server", "Takes every mail over SMTP and keeps it in the mailbox."),
        Service::Image => ("Image provider", "Draws a picture for a prompt, as OpenAI's API does."),
        Service::Speech => ("Speech provider", "Speaks a text as a WAV, as OpenAI's API does."),
        Service::Receiver => (
            "Webhook receiver",
            "Takes webhooks at <code>/receiver/any-name</code>, and shows them at \
             <code>GET /api/world/receiver</code>.",
        ),
    }
}

/// What each mode does, for people.
fn explain(mode: Mode) -> &'static str {
    match mode {
        Mode::Healthy => "answers well and at once",
        Mode::Slow => "answers well, after a few seconds",
        Mode::Hanging => "takes requests and never answers",
        Mode::Failing => "answers with errors",
        Mode::Garbage => "answers with nonsense",
    }
}

/// The first page: every service with its switch.
pub(super) fn index(switches: &Switches, log: &Log, mailbox: &Mailbox) -> String {
    let mut body = format!(
        "<h1>The simulated outside world</h1>\
         <p class=lead>What the server talks to, played by small real servers. Break one and watch \
         what the product does.</p>\
         <p><a class=button href=/mailbox>Open the mailbox <span class=count>{}</span></a></p>",
        mailbox.to(None).len(),
    );
    for service in Service::ALL {
        let (title, text) = describe(service);
        let setting = switches.get(service);
        let requests = log.of(service).len();
        let _ = write!(
            body,
            "<section class=card data-service={service} data-mode={mode}>\
             <h2>{title} <span class=\"state {mode}\">{mode}</span></h2><p>{text} \
             It now {now}; it saw {requests} requests.</p>\
             <form method=post action=/switches/{service} aria-label=\"{title}\">",
            mode = setting.mode,
            now = explain(setting.mode),
        );
        for mode in Mode::ALL {
            let current = if mode == setting.mode { " aria-current=true" } else { "" };
            let _ = write!(
                body,
                "<button name=mode value={mode} title=\"{}\"{current}>{mode}</button>",
                explain(mode),
            );
        }
        body.push_str("</form></section>");
    }
    body.push_str(
        "<p class=note>The same by API: <code>PUT /api/world/mail {\"mode\":\"hanging\"}</code>, \
         <code>GET /api/world</code>, <code>GET /mailbox/api/messages?to=…</code></p>",
    );
    page("Simulated outside world", &body)
}

/// The list of mails, the newest first.
pub(super) fn mailbox(mailbox: &Mailbox, to: Option<&str>) -> String {
    let mails = mailbox.to(to);
    let mut body = String::from("<h1>Mailbox</h1>");
    match to {
        Some(to) => {
            let _ = write!(
                body,
                "<p class=lead>Mails to <strong>{}</strong>. <a href=/mailbox>Show all</a></p>",
                escape(to)
            );
        }
        None => body.push_str(
            "<p class=lead>Every mail that the server sent, to whomever. Nothing leaves this machine.\
             </p>",
        ),
    }
    if mails.is_empty() {
        body.push_str(
            "<p class=card>No mail yet. Ask for a login link, then reload this page.</p>",
        );
    }
    body.push_str("<ul class=mails>");
    for mail in mails.iter().rev() {
        let _ = write!(
            body,
            "<li><a href=/mailbox/{}><strong>{}</strong><span>to {}</span><time>{}</time></a></li>",
            mail.id,
            escape(&mail.subject),
            escape(&mail.to.join(", ")),
            mailbox.age(mail),
        );
    }
    body.push_str("</ul>");
    page("Mailbox", &body)
}

/// One mail: its text with links to follow, and its HTML in a box of its own.
pub(super) fn mail(mail: &Mail, age: &str) -> String {
    let mut body = format!(
        "<p><a href=/mailbox>← Mailbox</a></p><h1>{}</h1>\
         <p class=lead>From {} to {}, {age}</p><pre class=\"card text\">{}</pre>",
        escape(&mail.subject),
        escape(&mail.from),
        escape(&mail.to.join(", ")),
        with_links(&mail.text),
    );
    if mail.html.is_some() {
        let _ = write!(
            body,
            "<h2>As HTML</h2><iframe class=card src=/mailbox/{}/html title=\"The mail as HTML\" \
             sandbox=\"allow-popups allow-popups-to-escape-sandbox\"></iframe>",
            mail.id
        );
    }
    page(&escape(&mail.subject), &body)
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><link rel=stylesheet href=/style.css><link rel=icon href=\"data:,\">\
         <header><a href=/>Outside world</a><nav><a href=/mailbox>Mailbox</a></nav></header>\
         <main>{body}</main></html>"
    )
}

/// A text as HTML, its links made to follow.
fn with_links(text: &str) -> String {
    let mut html = String::new();
    let mut rest = text;
    for link in links(text) {
        let Some((before, after)) = rest.split_once(link) else { break };
        let link = escape(link);
        let _ = write!(html, "{}<a href=\"{link}\" rel=noopener>{link}</a>", escape(before));
        rest = after;
    }
    html + &escape(rest)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char => escaped.push(char),
        }
    }
    escaped
}

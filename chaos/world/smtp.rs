//! A small SMTP server that takes every mail: enough of RFC 5321 for a real client, pipelining included.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tenantry_supervision::{Tasks, spawn};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Shared;
use super::switches::{Mode, Service};

/// Bytes of one command line; RFC 5321 asks for 512.
const MAX_LINE_BYTES: usize = 4_096;

/// Bytes of one mail.
const MAX_MAIL_BYTES: usize = 10 * 1_024 * 1_024;

/// Recipients of one mail; RFC 5321 asks for 100.
const MAX_RECIPIENTS: usize = 100;

/// Clients at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 64;

/// How long a client may stay silent.
const IDLE_FOR: Duration = Duration::from_mins(5);

/// Takes connections until the tasks are told to end.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, tasks: Tasks) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = tasks.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let shared = Arc::clone(&shared);
        let ended = tasks.token();
        spawn("world-smtp-session", &tasks, async move {
            let _permit = permit;
            tokio::select! {
                () = ended.cancelled() => {}
                // A client that breaks off is everyday life for a mail server.
                _ = Session::new(stream, shared).run() => {}
            }
        });
    }
}

/// Where a session stands: greeted, with a sender, with recipients.
#[derive(Debug, Default)]
struct Envelope {
    from: Option<String>,
    to: Vec<String>,
}

struct Session {
    stream: BufReader<TcpStream>,
    shared: Arc<Shared>,
    envelope: Envelope,
}

impl Session {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        Self { stream: BufReader::new(stream), shared, envelope: Envelope::default() }
    }

    async fn run(mut self) -> io::Result<()> {
        let mode = self.shared.switches.get(Service::Mail).mode;
        self.shared.log.add(Service::Mail, mode, "a client connected");
        self.answer("220 mail.world.test ready").await?;
        loop {
            let Some(line) = self.line().await? else { return Ok(()) };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let verb = line.get(..4).unwrap_or(&line).to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => {
                    self.envelope = Envelope::default();
                    let size = format!("250-SIZE {MAX_MAIL_BYTES}");
                    let extensions =
                        ["250-mail.world.test", &size, "250-PIPELINING", "250-8BITMIME"];
                    self.answer(&format!("{}\r\n250 SMTPUTF8", extensions.join("\r\n"))).await?;
                }
                "HELO" => self.answer("250 mail.world.test").await?,
                "MAIL" => self.mail(&line).await?,
                "RCPT" => self.recipient(&line).await?,
                "DATA" => self.data().await?,
                "RSET" => {
                    self.envelope = Envelope::default();
                    self.answer("250 2.0.0 forgotten").await?;
                }
                "NOOP" => self.answer("250 2.0.0 still here").await?,
                "QUIT" => return self.answer("221 2.0.0 goodbye").await,
                _ => self.answer("500 5.5.2 unknown command").await?,
            }
        }
    }

    async fn mail(&mut self, line: &str) -> io::Result<()> {
        let Some(from) = path(line) else {
            return self.answer("501 5.5.4 MAIL FROM:<address>").await;
        };
        self.envelope = Envelope { from: Some(from), to: Vec::new() };
        self.answer("250 2.1.0 sender taken").await
    }

    async fn recipient(&mut self, line: &str) -> io::Result<()> {
        let to = path(line).filter(|to| !to.is_empty());
        match to {
            _ if self.envelope.from.is_none() => self.answer("503 5.5.1 MAIL comes first").await,
            None => self.answer("501 5.5.4 RCPT TO:<address>").await,
            Some(_) if self.envelope.to.len() >= MAX_RECIPIENTS => {
                self.answer("452 4.5.3 too many recipients").await
            }
            Some(to) => {
                self.envelope.to.push(to);
                self.answer("250 2.1.5 recipient taken").await
            }
        }
    }

    async fn data(&mut self) -> io::Result<()> {
        let envelope = std::mem::take(&mut self.envelope);
        let (Some(from), false) = (envelope.from, envelope.to.is_empty()) else {
            return self.answer("503 5.5.1 MAIL and RCPT come first").await;
        };
        self.answer("354 go on, end with a dot").await?;
        let Some(body) = self.body().await? else {
            return self.answer("552 5.3.4 the mail is too big").await;
        };
        let mode = self.shared.switches.get(Service::Mail).mode;
        self.shared.log.add(Service::Mail, mode, &format!("{from} -> {}", envelope.to.join(", ")));
        if matches!(mode, Mode::Healthy | Mode::Slow) {
            self.shared.mailbox.add(from, envelope.to, &body);
        }
        self.answer("250 2.0.0 taken").await
    }

    /// The mail up to its final dot, or `None` when it was too big (it is read to its end anyway).
    async fn body(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut body = Vec::new();
        let mut fits = true;
        loop {
            let line = self.line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if line == b".\r\n" || line == b".\n" {
                return Ok(fits.then_some(body));
            }
            // A line that begins with a dot was sent with one more, so that it does not end the mail.
            let line = line.strip_prefix(b".").unwrap_or(&line);
            fits = fits && body.len() + line.len() <= MAX_MAIL_BYTES;
            if fits {
                body.extend_from_slice(line);
            }
        }
    }

    /// The next line with its end; `None` when the client left.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        timeout(IDLE_FOR, read_line(&mut self.stream, &mut line)).await??;
        if line.is_empty() {
            return Ok(None);
        }
        if !line.ends_with(b"\n") {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Some(line))
    }

    /// Answers as the switch says.
    async fn answer(&mut self, reply: &str) -> io::Result<()> {
        let reply = match self.shared.switches.before_answer(Service::Mail).await {
            Mode::Failing => "451 4.3.0 the simulated mail server fails",
            Mode::Garbage => "%PDF-1.7 \u{fffd} this is no SMTP",
            Mode::Healthy | Mode::Slow | Mode::Hanging => reply,
        };
        self.stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).await
    }
}

async fn read_line<R>(stream: &mut BufReader<R>, line: &mut Vec<u8>) -> io::Result<usize>
where
    R: AsyncRead + Unpin,
{
    stream.take(MAX_LINE_BYTES as u64).read_until(b'\n', line).await
}

/// The address between the first pair of angle brackets.
fn path(line: &str) -> Option<String> {
    let start = line.find('<')? + 1;
    let end = start + line[start..].find('>')?;
    Some(line[start..end].to_owned())
}

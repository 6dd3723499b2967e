//! A mail server over TCP that can be broken while it runs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tenantry_supervision::spawn::{Tasks, spawn};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    Healthy,
    /// Accepts connections and says nothing.
    Silent,
    /// Takes the whole message and never answers.
    HangInData,
    /// Takes the whole message and closes the connection.
    DropAfterData,
    /// Asks to try later.
    Defer,
    /// Refuses recipients that begin so.
    RejectRecipient(&'static str),
}

/// A mail that was taken.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) recipients: Vec<String>,
    raw: String,
}

impl Received {
    /// Undoes the soft line breaks and escapes of quoted-printable.
    pub(super) fn unfolded(&self) -> String {
        self.raw.replace("=\r\n", "").replace("=3D", "=")
    }

    pub(super) fn message_id(&self) -> String {
        let line = self.raw.lines().find(|line| line.starts_with("Message-ID: "));
        line.expect("every mail has a Message-ID").to_owned()
    }
}

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    mails: Vec<Received>,
    tried: Vec<Received>,
    commands: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Sink {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Sink {
    pub(super) async fn start(tasks: &Tasks, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State { behaviour, mails: vec![], tried: vec![], commands: vec![] };
        let sink =
            Self { address: listener.local_addr().unwrap(), state: Arc::new(Mutex::new(state)) };
        let (owner, serving) = (tasks.clone(), sink.clone());
        spawn("sink", tasks, async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sink = serving.clone();
                spawn("sink-connection", &owner, async move { sink.serve(stream).await });
            }
        });
        sink
    }

    pub(super) fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
    }

    pub(super) fn mails(&self) -> Vec<Received> {
        self.state.lock().unwrap().mails.clone()
    }

    /// The Message-IDs under which a recipient's mail was handed over, taken or not.
    pub(super) fn attempts(&self, recipient: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let of_recipient = |mail: &&Received| mail.recipients.iter().any(|to| to == recipient);
        state.tried.iter().filter(of_recipient).map(Received::message_id).collect()
    }

    pub(super) fn commands(&self, verb: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.commands.iter().filter(|command| command.starts_with(verb)).count()
    }

    fn behaviour(&self) -> Behaviour {
        self.state.lock().unwrap().behaviour
    }

    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read);
        if self.behaviour() == Behaviour::Silent {
            std::future::pending::<()>().await;
        }
        write.write_all(b"220 sink.test\r\n").await.ok()?;
        let mut recipients = Vec::new();
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            self.state.lock().unwrap().commands.push(line.clone());
            let verb = line.get(..4).unwrap_or_default().to_uppercase();
            let answer = match verb.as_str() {
                "EHLO" => "250-sink.test\r\n250 8BITMIME\r\n",
                "MAIL" => {
                    recipients.clear();
                    "250 ok\r\n"
                }
                "RCPT" => self.recipient(&line, &mut recipients),
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await.ok()?;
                    self.data(&mut lines, &recipients).await?
                }
                "QUIT" => return None,
                _ => "250 ok\r\n",
            };
            write.write_all(answer.as_bytes()).await.ok()?;
        }
    }

    fn recipient(&self, line: &str, recipients: &mut Vec<String>) -> &'static str {
        let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        match self.behaviour() {
            Behaviour::Defer => "451 try again later\r\n",
            Behaviour::RejectRecipient(start) if address.starts_with(start) => {
                "550 no such mailbox nobody@example.test\r\n"
            }
            _ => {
                recipients.push(address);
                "250 ok\r\n"
            }
        }
    }

    async fn data(
        &self,
        lines: &mut (impl AsyncBufReadExt + Unpin),
        recipients: &[String],
    ) -> Option<&'static str> {
        let mut raw = String::new();
        while !raw.ends_with("\r\n.\r\n") {
            if lines.read_line(&mut raw).await.ok()? == 0 {
                return None;
            }
        }
        let mail = Received { recipients: recipients.to_vec(), raw };
        let behaviour = {
            let mut state = self.state.lock().unwrap();
            state.tried.push(mail.clone());
            state.behaviour
        };
        match behaviour {
            Behaviour::HangInData => std::future::pending().await,
            Behaviour::DropAfterData => None,
            _ => {
                self.state.lock().unwrap().mails.push(mail);
                Some("250 taken\r\n")
            }
        }
    }
}

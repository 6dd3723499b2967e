//! A receiver of webhooks over TCP: it remembers every request and answers as it is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenantry_supervision::spawn::{Tasks, spawn};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::PATIENCE;

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    head: Vec<String>,
    pub(super) body: String,
}

impl Hook {
    /// A header's value, empty when it is missing.
    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.head.iter().filter_map(|line| line.split_once(": "));
        found.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, v)| v)
    }
}

/// How the receiver answers.
#[derive(Clone, Debug)]
enum Answer {
    Status(String),
    Never,
}

#[derive(Debug)]
struct Shared {
    seen: Mutex<Vec<Hook>>,
    answer: Mutex<Answer>,
    /// Requests that wait for their answer, now and at the most so far.
    open: AtomicUsize,
    most: AtomicUsize,
}

/// A request that waits for its answer.
struct Open(Arc<Shared>);

impl Open {
    fn of(shared: &Arc<Shared>) -> Self {
        let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most.fetch_max(open, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The running receiver.
#[derive(Debug)]
pub(super) struct Receiver {
    port: u16,
    shared: Arc<Shared>,
}

impl Receiver {
    pub(super) async fn start(tasks: &Tasks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Mutex::new(Answer::Status("200 OK".to_owned()));
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            answer,
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let (kept, owner) = (Arc::clone(&shared), tasks.clone());
        spawn("receiver", tasks, async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                spawn("receiver-connection", &owner, serve(stream, Arc::clone(&kept)));
            }
        });
        Self { port, shared }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// Answers with that status from now on.
    pub(super) fn answer(&self, status: &str) {
        *self.shared.answer.lock().unwrap() = Answer::Status(status.to_owned());
    }

    /// Never answers from now on.
    pub(super) fn hang(&self) {
        *self.shared.answer.lock().unwrap() = Answer::Never;
    }

    pub(super) fn seen(&self) -> Vec<Hook> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests waited for their answer at once, at the most.
    pub(super) fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// Waits until so many requests came.
    pub(super) async fn wait_for(&self, count: usize) -> Vec<Hook> {
        let arrived = async {
            while self.seen().len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            self.seen()
        };
        tokio::time::timeout(PATIENCE, arrived).await.expect("the webhooks come")
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let mut hook = Hook { head, body: String::new() };
    let mut body = vec![0; hook.header("content-length").parse().unwrap_or(0)];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    hook.body = String::from_utf8(body).unwrap();
    let open = Open::of(&shared);
    shared.seen.lock().unwrap().push(hook);
    let answer = shared.answer.lock().unwrap().clone();
    match answer {
        Answer::Status(status) => {
            let text =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            // Before the answer: who has it may send the next one.
            drop(open);
            let _ = stream.write_all(text.as_bytes()).await;
        }
        // Until the sender goes away.
        Answer::Never => {
            let _ = stream.read(&mut [0]).await;
            drop(open);
        }
    }
}

//! A provider that misbehaves on demand: a small server that speaks just enough HTTP.

use std::sync::Mutex;

use tenantry_supervision::spawn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What the provider does with a request.
#[derive(Debug, Clone)]
pub(super) enum Mood {
    /// Answers with 200 and this body.
    Answer(Vec<u8>),
    /// Answers with this status.
    Status(u16),
    /// Takes the request and says nothing.
    Hang,
    /// Promises a body and closes in the middle of it.
    Truncate(Vec<u8>),
    /// Sends a body without end.
    Endless,
}

/// A running provider.
pub(super) struct Double {
    pub(super) url: String,
    mood: Arc<Mutex<Mood>>,
    seen: Arc<Mutex<Vec<(String, serde_json::Value)>>>,
    tasks: Tasks,
}

impl Double {
    pub(super) async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let double = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            mood: Arc::new(Mutex::new(mood)),
            seen: Arc::default(),
            tasks: Tasks::new(),
        };
        let (mood, seen, tasks) =
            (Arc::clone(&double.mood), Arc::clone(&double.seen), double.tasks.clone());
        spawn("double", &double.tasks, async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mood, seen) = (Arc::clone(&mood), Arc::clone(&seen));
                spawn("double-call", &tasks, async move {
                    let _ = serve(stream, &mood, &seen).await;
                });
            }
        });
        double
    }

    pub(super) fn settings(&self, timeout: Duration) -> ProviderSettings {
        ProviderSettings {
            base_url: self.url.clone(),
            api_key: Some("sk-test".to_owned().into()),
            model: "model-1".to_owned(),
            timeout,
        }
    }

    pub(super) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// The requests so far: head and body.
    pub(super) fn seen(&self) -> Vec<(String, serde_json::Value)> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

async fn serve(
    mut stream: TcpStream,
    mood: &Mutex<Mood>,
    seen: &Mutex<Vec<(String, serde_json::Value)>>,
) -> io::Result<()> {
    let (head, body) = read_request(&mut stream).await?;
    seen.lock().unwrap().push((head, serde_json::from_slice(&body).unwrap_or_default()));
    let mood = mood.lock().unwrap().clone();
    match mood {
        Mood::Answer(body) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Mood::Status(status) => {
            let answer =
                format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await?;
        }
        Mood::Hang => {
            // Until the client has had enough.
            let _ = stream.read(&mut [0; 1]).await?;
        }
        Mood::Truncate(body) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n").await?;
            stream.write_all(&body).await?;
        }
        Mood::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            let chunk = vec![b'x'; 1 << 20];
            while stream.write_all(&chunk).await.is_ok() {}
        }
    }
    stream.shutdown().await
}

async fn read_request(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await?;
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse::<usize>().unwrap());
        if bytes.len() >= end + 4 + length {
            return Ok((head, bytes[end + 4..].to_vec()));
        }
    }
}

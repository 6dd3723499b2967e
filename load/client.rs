//! One keep-alive connection that sends rendered requests and reads just enough of the answers.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// No answer that is measured comes near this many bytes; a longer one is a mistake.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// A connection that carries one request at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    /// The status code.
    pub(crate) status: u16,
    /// The body's bytes.
    pub(crate) body: &'a [u8],
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect to the server")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends one rendered request and reads its answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.buffer.clear();
        self.stream.write_all(request).await.context("send a request")?;
        let head = loop {
            self.fill().await?;
            if let Some(head) = Head::parse(&self.buffer)? {
                break head;
            }
        };
        let end = head.body_at + head.body_bytes;
        while self.buffer.len() < end {
            self.fill().await?;
        }
        Ok(Answer { status: head.status, body: &self.buffer[head.body_at..end] })
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        if self.buffer.len() > MAX_ANSWER_BYTES {
            bail!("the answer is longer than {MAX_ANSWER_BYTES} bytes");
        }
        if self.stream.read_buf(&mut self.buffer).await.context("read an answer")? == 0 {
            bail!("the server closed the connection before its answer was complete");
        }
        Ok(())
    }
}

/// What must be known of an answer's head: where its body is and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    body_at: usize,
    body_bytes: usize,
}

impl Head {
    /// Reads a head, or nothing if it is not complete yet.
    fn parse(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes[..end]).context("the answer's head is not text")?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|line| line.get(..3)?.parse().ok())
            .context("the answer does not begin with a status line")?;
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim())
        });
        let body_bytes = match length {
            Some(length) => length.parse().context("the answer's length is no number")?,
            None if status == 204 => 0,
            None => bail!("the answer has no Content-Length"),
        };
        Ok(Some(Self { status, body_at: end + 4, body_bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        let answer =
            b"HTTP/1.1 402 Payment Required\r\nX-A: b\r\ncontent-LENGTH: 12\r\n\r\n{\"a\":1}";
        let end = answer.len() - 7;

        for cut in 0..end {
            assert_eq!(Head::parse(&answer[..cut]).unwrap(), None);
        }
        let head = Head::parse(answer).unwrap();
        assert_eq!(head, Some(Head { status: 402, body_at: end, body_bytes: 12 }));
    }

    #[test]
    fn an_answer_without_a_length_is_refused_unless_it_has_no_body() {
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").is_err());
        assert!(Head::parse(b"SSH-2.0-x\r\n\r\n").is_err());
        let no_content = Head::parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!(no_content.body_bytes, 0);
    }
}

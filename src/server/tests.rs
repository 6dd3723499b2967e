use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::*;
use crate::config::field::{Number, Span};

/// Far beyond every limit of these tests: who is still open then was never closed.
const PATIENCE: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_millis(100);

struct Started {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: Tasks,
}

async fn start(router: Router, change: impl FnOnce(&mut Http)) -> Started {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut http = Http {
        first_byte_timeout: Span(LIMIT),
        head_timeout: Span(LIMIT),
        body_timeout: Span(LIMIT),
        ..Http::default()
    };
    change(&mut http);
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let server = Server::new(listener, router, &http, tasks.clone());
    spawn("server", &tasks, server.run(stop.clone(), PATIENCE));
    Started { address, stop, tasks }
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

/// Sends something and waits until the server closes the connection.
async fn said_until_closed(address: SocketAddr, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    let mut said = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut said)).await;
    // A reset closes as well as an end does.
    let _ = read.expect("the connection was never closed");
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_client_that_sends_nothing_or_half_a_head_is_let_go() {
    let server = start(hello(), |_| ()).await;
    let address = server.address;

    for part in [&b""[..], b"GET / HTTP/1.1\r\nHost", b"PRI * HTTP", b"PRI * HTTP/2.0\r\n\r\nSM"] {
        let said = said_until_closed(address, part).await;
        assert!(!said.contains("200 OK"), "{said}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_let_go_after_its_answer() {
    let server = start(hello(), |_| ()).await;

    let said = said_until_closed(server.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;

    assert!(said.ends_with("hello"), "{said}");
}

#[tokio::test]
async fn too_many_headers_are_answered_431() {
    let server = start(hello(), |_| ()).await;
    let head = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(MAX_HEADERS + 1));

    let said = said_until_closed(server.address, head.as_bytes()).await;

    assert!(said.starts_with("HTTP/1.1 431"), "{said}");
}

#[tokio::test]
async fn a_client_that_never_reads_is_let_go() {
    let endless = async || Body::from(vec![0; 64 * 1024 * 1024]);
    let server = start(Router::new().route("/", get(endless)), |_| ()).await;

    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();

    let gone = async {
        while server.tasks.running().contains_key("http.connection") {
            tokio::task::yield_now().await;
        }
    };
    stream.readable().await.unwrap();
    timeout(PATIENCE, gone).await.expect("the connection is still served");
}

#[tokio::test]
async fn one_connection_too_many_is_refused_and_others_go_on() {
    let server = start(hello(), |http| {
        http.max_connections_per_address = Number(1);
        http.head_timeout = Span(PATIENCE);
    })
    .await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();

    assert_eq!(said_until_closed(server.address, b"").await, "");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_drain_waits_for_the_open_request_and_no_longer() {
    let slow = async || {
        sleep(LIMIT).await;
        "done"
    };
    let server = start(Router::new().route("/", get(slow)), |_| ()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    while !server.tasks.running().contains_key("http.connection") {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();

    server.stop.cancel();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    let left = server.tasks.drain(PATIENCE).await;

    assert!(said.ends_with("done"), "{said}");
    assert!(left.is_empty(), "{left:?}");
    assert!(began.elapsed() < PATIENCE);
}

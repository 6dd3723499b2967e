//! The generator against a server that answers, refuses, or pauses.

use std::sync::mpsc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

fn requests() -> Arc<Requests> {
    let api_keys = ["tk_live_a".to_owned(), "tk_live_b".to_owned()];
    Arc::new(Requests::consume(&api_keys, &Arc::new(AtomicU64::new(0))))
}

fn plan(address: SocketAddr, pace: Pace) -> Plan {
    let (warm_up, duration) = (Duration::from_millis(100), Duration::from_millis(400));
    Plan { address, requests: requests(), pace, connections: 4, warm_up, duration }
}

/// Serves on a thread of its own: each request is answered after `pause`, with the status that
/// `status_of` finds for its text.
fn serve(pause: Duration, status_of: fn(&str) -> &'static str) -> SocketAddr {
    let (report, address) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            report.send(listener.local_addr().unwrap()).unwrap();
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut request = vec![0; 4096];
                    while let Ok(length @ 1..) = stream.read(&mut request).await {
                        tokio::time::sleep(pause).await;
                        let status = status_of(std::str::from_utf8(&request[..length]).unwrap());
                        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}");
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
    });
    address.recv().unwrap()
}

#[test]
fn a_closed_loop_keeps_every_connection_busy() {
    let address = serve(Duration::from_millis(10), |_| "200 OK");

    let tally = run(&plan(address, Pace::Closed)).unwrap();

    // Four connections for 400 ms, about 11 ms a request: far fewer on a busy machine, never more.
    assert!((1..=160).contains(&tally.latencies.len()), "{}", tally.latencies.len());
    assert!(tally.acknowledged > tally.latencies.len());
    assert!(tally.latencies.quantile(500_000) >= Duration::from_millis(10));
    assert!(tally.refused.is_empty());
}

#[test]
fn an_open_loop_sends_what_is_due_and_counts_waiting() {
    let quick = serve(Duration::ZERO, |_| "200 OK");
    let tally = run(&plan(quick, Pace::Open { per_s: 1000 })).unwrap();
    assert_eq!(tally.acknowledged + tally.unsent, 500);
    assert!((390..=401).contains(&(tally.latencies.len() + tally.unsent)));

    // Four connections of 20 ms each carry 200 a second: of 1,000 due most wait, and it shows.
    let slow = serve(Duration::from_millis(20), |_| "200 OK");
    let tally = run(&plan(slow, Pace::Open { per_s: 1000 })).unwrap();
    assert!(tally.latencies.quantile(990_000) > Duration::from_millis(500));
}

#[test]
fn refusals_are_counted_apart_with_the_first_ones_text() {
    let refuses_b = |request: &str| {
        if request.contains("tk_live_b") { "402 Payment Required" } else { "200 OK" }
    };
    let address = serve(Duration::ZERO, refuses_b);

    let tally = run(&plan(address, Pace::Closed)).unwrap();

    assert!(tally.acknowledged > 0 && tally.refused[&402] > 0);
    assert_eq!(tally.first_refusal.as_deref(), Some("{}"));
    assert!(send_each_once(&plan(address, Pace::Closed)).is_err());
}

#[test]
fn first_requests_are_sent_once_each() {
    let address = serve(Duration::ZERO, |_| "200 OK");
    let plan = plan(address, Pace::Closed);

    send_each_once(&plan).unwrap();

    let mut request = Vec::new();
    plan.requests.render_next(&mut request);
    assert!(String::from_utf8(request).unwrap().contains("8000-000000000002"));
}

#[test]
fn requests_are_due_in_order_at_the_stated_rate() {
    for per_s in [1, 999, 12_345, 1_000_000] {
        let due: Vec<_> = (0..per_s).map(|number| due_after(number, per_s)).collect();
        assert!(due.is_sorted());
        assert_eq!(due.last(), Some(&Duration::from_secs(1)));
    }
}

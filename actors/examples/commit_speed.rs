//! Measures the journal alone: durable decisions a second, without HTTP and without actors.
//!
//! `cargo run --release -p tenantry-actors --example commit_speed [tenants] [in flight] [seconds]`

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tenantry_actors::clock::{Clock, SharedClock, SystemClock};
use tenantry_actors::database::{Database, DatabaseSettings, FatalHook};
use tenantry_actors::ids::TenantId;
use tenantry_actors::journal::entry::{Author, EntryBody, EntryHash, Place};
use tenantry_actors::journal::{Done, Handover, Journal, JournalSettings, Line, verify};
use tenantry_supervision::{Tasks, spawn};
use tokio::sync::oneshot;
use tokio::time::Instant;

const FACT: &str = r#"{"kind":"consumed","items":[{"meter":"images","amount":1,"used":480,"reserved":0,"limit":500}],"period":"2026-11"}"#;
const ROOM_BYTES: usize = 512;
const BUDGET: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let number = |place: usize, default: u64| {
        std::env::args().nth(place).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (tenants, in_flight, seconds) = (number(1, 10_000), number(2, 256), number(3, 10));
    let folder = tempfile::TempDir::new_in(".")?;
    let tasks = Tasks::new();
    let settings = DatabaseSettings {
        url: None,
        data_dir: folder.path().to_path_buf(),
        fatal: FatalHook::default(),
    };
    let database = Database::open(&settings, &tasks).await?;
    let clock: SharedClock = Arc::new(SystemClock);
    let journal = Journal::start(&database, clock, &tasks, JournalSettings::default()).await?;

    let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = Vec::new();
    let workers = in_flight.min(tenants);
    for worker in 0..workers {
        let client = Client {
            journal: journal.clone(),
            count: Arc::clone(&count),
            stop: Arc::clone(&stop),
            tenants: (worker..tenants)
                .step_by(usize::try_from(workers)?)
                .map(|number| TenantId::from_bits(u128::from(number) + 1))
                .collect(),
            window: usize::try_from((in_flight / workers).max(1))?,
        };
        clients.push(spawn("client", &tasks, client.run()));
    }
    // Activations first, then the clock.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (before, started) = (count.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let done = count.load(Ordering::Relaxed) - before;
    let took = started.elapsed();
    let lag: i64 = journal.ends().iter().zip(journal.watermark()).map(|(end, at)| end - at).sum();
    stop.store(true, Ordering::Relaxed);
    let mut slowest = Duration::ZERO;
    for client in clients {
        slowest = slowest.max(client.await.map_err(|error| error.to_string())?);
    }
    let rows: i64 = journal.ends().iter().sum();
    let total = count.load(Ordering::Relaxed);
    journal.stop(BUDGET).await;
    let report = verify(&database, &[], SystemClock.now()).await?;
    let mut out = String::new();
    for (name, value) in [
        ("tenants", tenants.to_string()),
        ("in flight", in_flight.to_string()),
        ("decisions a second", (u128::from(done) * 1000 / took.as_millis()).to_string()),
        ("decisions a commit", (i64::try_from(total)? / rows.max(1)).to_string()),
        ("slowest answer", format!("{slowest:?}")),
        ("projector's lag at the end, rows", lag.to_string()),
        ("verified", format!("{report:?}")),
    ] {
        writeln!(out, "{name:32} {value}")?;
    }
    std::io::Write::write_all(&mut std::io::stdout(), out.as_bytes())?;
    Ok(())
}

/// Keeps a window of hand-overs in flight, over its tenants in turn.
struct Client {
    journal: Journal,
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tenants: Vec<TenantId>,
    window: usize,
}

impl Client {
    async fn run(self) -> Duration {
        let body: EntryBody = EntryBody::Usage(serde_json::from_str(FACT).expect("a good fact"));
        let mut actors = Vec::new();
        for tenant in &self.tenants {
            let recovered = self.journal.activate(*tenant).await.expect("it activates");
            actors.push((*tenant, recovered.incarnation, 0, EntryHash::GENESIS));
        }
        let mut waiting = std::collections::VecDeque::new();
        let mut slowest = Duration::ZERO;
        let mut turn = 0;
        while !self.stop.load(Ordering::Relaxed) || !waiting.is_empty() {
            if waiting.len() >= self.window || self.stop.load(Ordering::Relaxed) {
                let (started, answer): (Instant, oneshot::Receiver<bool>) =
                    waiting.pop_front().expect("one waits");
                assert!(answer.await.expect("it is answered"), "it is committed");
                slowest = slowest.max(started.elapsed());
                self.count.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let place = turn % actors.len();
            turn += 1;
            let (tenant, incarnation, seq, prev) = &mut actors[place];
            *seq += 1;
            let idem = format!("{:032x}{:032x}", tenant.bits(), *seq);
            let author = Author {
                by: "key_01jd0000000000000000000000",
                req: None,
                idem: Some(&idem),
                fp: Some(&idem),
            };
            let place = Place { tenant: *tenant, seq: *seq, at: SystemClock.now(), prev: *prev };
            let line = Line::seal(body.clone(), &place, &author);
            *prev = line.hash;
            let (answer, outcome) = oneshot::channel();
            let room = self.journal.room(*tenant, ROOM_BYTES).expect("there is room");
            self.journal.append(Handover {
                tenant: *tenant,
                incarnation: incarnation.clone(),
                lines: vec![line],
                room,
                done: Done::new(move |result| {
                    let _ = answer.send(result.is_ok());
                }),
            });
            waiting.push_back((Instant::now(), outcome));
        }
        slowest
    }
}

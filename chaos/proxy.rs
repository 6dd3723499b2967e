//! A TCP proxy that breaks what passes through it: cut, refused, stalled, and between a server's
//! commit and its answer.
//!
//! For the last it reads PostgreSQL's protocol as far as it must: which statement a client runs,
//! and when the server is ready for the next one. By then what ran is committed.

mod messages;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use tenantry_supervision::{Tasks, spawn};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use messages::{Client, Server, Step};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// When a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The server never sees the statement.
    BeforeItIsSent,
    /// The server has committed the statement, and its answer never arrives.
    AfterItsCommit,
}

/// A cut that waits for its statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How the statement begins.
    pub statement: &'static str,
    /// When to cut.
    pub moment: Moment,
}

/// A running proxy; dropping it cuts what is open.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Tasks,
}

/// What the connections are told.
#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    /// Counts up with every order to cut all connections.
    cuts: watch::Sender<u64>,
    is_refusing: watch::Sender<bool>,
    is_stalled: watch::Sender<bool>,
    armed: Mutex<Option<Cut>>,
    done: AtomicU64,
}

impl Proxy {
    /// Listens on a free port of the loopback and passes everything on to `upstream`.
    pub async fn start(upstream: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            cuts: watch::Sender::new(0),
            is_refusing: watch::Sender::new(false),
            is_stalled: watch::Sender::new(false),
            armed: Mutex::new(None),
            done: AtomicU64::new(0),
        });
        let tasks = Tasks::new();
        spawn("proxy", &tasks, accept(listener, Arc::clone(&shared), tasks.clone()));
        Ok(Self { address, shared, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every open connection.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Refuses new connections, or takes them again.
    pub fn refuse(&self, is_refusing: bool) {
        self.shared.is_refusing.send_replace(is_refusing);
    }

    /// Lets nothing pass either way, as a cable pulled out does, or lets it pass again.
    pub fn stall(&self, is_stalled: bool) {
        self.shared.is_stalled.send_replace(is_stalled);
    }

    /// Cuts the connection on which a statement comes next.
    pub fn arm(&self, cut: Cut) {
        *self.shared.lock() = Some(cut);
    }

    /// How many armed cuts were carried out.
    #[must_use]
    pub fn carried_out(&self) -> u64 {
        self.shared.done.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.token().cancel();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Cut>> {
        // One assignment under the lock: it is whole after a panic elsewhere.
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the armed cut if it is about this statement.
    fn take(&self, statement: &str) -> Option<Cut> {
        self.lock().take_if(|cut| statement.starts_with(cut.statement))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tasks: Tasks) {
    loop {
        let accepted = tokio::select! {
            () = tasks.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((client, _)) = accepted else { continue };
        if *shared.is_refusing.borrow() {
            continue;
        }
        let (shared, ended) = (Arc::clone(&shared), tasks.token());
        spawn("proxy-connection", &tasks, async move {
            let mut cuts = shared.cuts.subscribe();
            cuts.mark_unchanged();
            tokio::select! {
                () = ended.cancelled() => {}
                _ = cuts.changed() => {}
                // Both ends see a broken connection; that is what we are here for.
                _ = serve(client, &shared) => {}
            }
        });
    }
}

/// Passes messages both ways until one side ends or the connection is to be cut.
async fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut server = TcpStream::connect(shared.upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut stalled = shared.is_stalled.subscribe();
    let (mut asks, mut answers) = (Client::default(), Server::default());
    let (mut upward, mut downward) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    // The statement whose answer is held back until it is known to be committed.
    let mut is_held = false;
    loop {
        tokio::select! {
            read = client.read(&mut upward) => {
                let count = read?;
                if count == 0 {
                    return Ok(());
                }
                pass(&mut stalled).await;
                let Step { bytes, statements } = asks.take(&upward[..count]);
                for cut in statements.iter().filter_map(|statement| shared.take(statement)) {
                    if cut.moment == Moment::BeforeItIsSent {
                        shared.done.fetch_add(1, Ordering::AcqRel);
                        return Ok(());
                    }
                    is_held = true;
                    answers.hold();
                }
                answers.expect_plain(asks.take_plain_answers());
                server.write_all(&bytes).await?;
            }
            read = server.read(&mut downward) => {
                let count = read?;
                if count == 0 {
                    return Ok(());
                }
                pass(&mut stalled).await;
                let bytes = answers.take(&downward[..count]);
                if is_held && answers.is_ready() {
                    shared.done.fetch_add(1, Ordering::AcqRel);
                    return Ok(());
                }
                client.write_all(&bytes).await?;
            }
        }
    }
}

/// Waits while nothing may pass.
async fn pass(stalled: &mut watch::Receiver<bool>) {
    // The sender lives as long as the connection.
    let _ = stalled.wait_for(|stalled| !stalled).await;
}

#[cfg(test)]
mod tests;

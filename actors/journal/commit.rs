//! The committer: everything that queued up during one commit becomes the next one.
//!
//! It owns the only connection that writes to the journal. Answers leave after the commit, in the
//! order of the hand-overs. **Invariant:** once rows were submitted, their places take these rows
//! or none: the same bytes are submitted again until the outcome is known.

mod answer;
mod batch;
mod bisect;
mod forget;
mod log;
mod look;
mod pace;
mod submit;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use self::answer::{call, fail, refuse};
use self::batch::{Batch, Unit};
pub(super) use self::forget::Forget;
pub(super) use self::log::Log;
use self::pace::Pace;
use self::submit::Outcome;
pub(super) use self::submit::chain_of;
use super::incarnation::Incarnation;
use super::lost::Lost;
use super::room::{Admission, Gate};
use super::row::{Row, RowHash, shard_of};
use super::tail::Tail;
use super::{AppendError, Committed, Handover, metrics};
use crate::database::{Fatal, FatalHook};
use crate::ids::TenantId;

/// Incarnations known before those that nobody holds any more are forgotten, at the least.
const SWEEP_AT_LEAST: usize = 1024;

/// What the committer is asked to do.
#[derive(Debug)]
pub(super) enum Item {
    /// Append these lines and answer.
    Append(Handover),
    /// Answer once everything older is decided, and refuse what older incarnations still send.
    Activate { tenant: TenantId, reply: oneshot::Sender<Result<Incarnation, AppendError>> },
    /// Remove rows that stand in files.
    Forget(Forget),
}

/// Where a shard's next row goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) epoch: i64,
    pub(super) hash: RowHash,
    /// A lost shard takes nothing until it is acquired again.
    pub(super) is_lost: bool,
}

/// The one writer of the journal.
#[derive(Debug)]
pub(super) struct Committer<L> {
    log: L,
    heads: Vec<Head>,
    published: watch::Sender<Vec<Head>>,
    inbox: mpsc::Receiver<Item>,
    waiting: VecDeque<Item>,
    received: Vec<Item>,
    forgetting: Vec<Forget>,
    live: HashMap<TenantId, Incarnation>,
    sweep_at: usize,
    incarnations: u64,
    // Unique among all writers and times: a random part of this run, and a count.
    run: String,
    batches: u64,
    admission: Arc<Admission>,
    tail: Arc<Tail>,
    lost: Arc<Lost>,
    fatal: FatalHook,
    give_up: CancellationToken,
}

/// What a committer is made of.
#[derive(Debug)]
pub(super) struct Parts<L> {
    pub(super) log: L,
    pub(super) heads: Vec<Head>,
    /// Shows the heads to who signs or waits for them.
    pub(super) published: watch::Sender<Vec<Head>>,
    pub(super) inbox: mpsc::Receiver<Item>,
    pub(super) run: String,
    pub(super) admission: Arc<Admission>,
    pub(super) tail: Arc<Tail>,
    pub(super) lost: Arc<Lost>,
    pub(super) fatal: FatalHook,
    /// Ends retries at shutdown.
    pub(super) give_up: CancellationToken,
}

impl<L: Log> Committer<L> {
    pub(super) fn new(parts: Parts<L>) -> Self {
        Self {
            log: parts.log,
            heads: parts.heads,
            published: parts.published,
            inbox: parts.inbox,
            waiting: VecDeque::new(),
            received: Vec::new(),
            forgetting: Vec::new(),
            live: HashMap::new(),
            sweep_at: SWEEP_AT_LEAST,
            incarnations: 0,
            run: parts.run,
            batches: 0,
            admission: parts.admission,
            tail: parts.tail,
            lost: parts.lost,
            fatal: parts.fatal,
            give_up: parts.give_up,
        }
    }

    /// Commits until `stop` is cancelled and what came before it is decided; returns the log.
    pub(super) async fn run(mut self, stop: CancellationToken) -> L {
        // The embedded log is locked: nobody can take it.
        let may_lose = self.heads.len() > 1;
        let mut beat = interval(look::LOOK_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pace = Pace::new(Instant::now());
        loop {
            if stop.is_cancelled() {
                // What was handed over before is still committed.
                self.inbox.close();
            }
            if self.waiting.is_empty() {
                let limit = super::room::MAX_QUEUED;
                tokio::select! {
                    count = self.inbox.recv_many(&mut self.received, limit) => {
                        if count == 0 {
                            break;
                        }
                        if let Some(linger) = pace.wait_after(count, Instant::now()) {
                            sleep(linger).await;
                            self.take_waiting();
                            pace.count(self.received.len() - count);
                        }
                    }
                    () = stop.cancelled(), if !self.inbox.is_closed() => continue,
                    _ = beat.tick(), if may_lose => {
                        if let Err(fatal) = self.look().await {
                            self.abandon(&fatal);
                            break;
                        }
                        continue;
                    }
                }
            } else {
                self.take_waiting();
            }
            self.waiting.extend(self.received.drain(..));
            let batch = self.collect();
            if let Err(fatal) = self.commit(batch).await {
                self.abandon(&fatal);
                break;
            }
            self.forget().await;
        }
        self.admission.set_gate(Gate::Stopped);
        self.log
    }

    fn take_waiting(&mut self) {
        while let Ok(item) = self.inbox.try_recv() {
            self.received.push(item);
        }
    }

    /// Takes what fits into one row per shard, in order.
    fn collect(&mut self) -> Batch {
        let mut batch = Batch::new(self.heads.len());
        while let Some(item) = self.waiting.pop_front() {
            match item {
                Item::Append(handover) => {
                    let shard = shard_of(handover.tenant, self.shard_count());
                    if self.heads[usize::from(shard)].is_lost {
                        refuse(handover, AppendError::Fenced);
                    } else if !handover.incarnation.is_live() {
                        refuse(handover, AppendError::Failed);
                    } else if let Err(handover) = batch.add(shard, handover) {
                        self.waiting.push_front(Item::Append(handover));
                        break;
                    }
                }
                Item::Activate { tenant, reply } => {
                    // Whatever an older incarnation sends from here on came too late.
                    if let Some(old) = self.live.remove(&tenant) {
                        old.retire();
                    }
                    batch.units.push(Unit::Activate { tenant, reply });
                }
                Item::Forget(forget) => self.forgetting.push(forget),
            }
        }
        batch
    }

    /// Commits a batch and answers it, or gives it back when the database refuses its rows.
    async fn try_commit(&mut self, mut batch: Batch) -> Result<Option<Batch>, Fatal> {
        let rows = self.seal(&mut batch);
        let outcome = if rows.is_empty() {
            Outcome::Decided { lost: Vec::new() }
        } else {
            let started = Instant::now();
            let outcome = self.submit(&rows).await;
            metrics::committed(&rows, batch.line_count(), started.elapsed());
            outcome
        };
        match outcome {
            Outcome::Decided { lost } => {
                for row in &rows {
                    let head = &mut self.heads[usize::from(row.shard)];
                    if !lost.contains(&row.shard) {
                        (head.seq, head.hash) = (row.seq, row.hash);
                    }
                }
                self.published.send_modify(|published| published.clone_from(&self.heads));
                for shard in &lost {
                    self.lose(*shard);
                }
                self.release(batch, &rows, &lost);
                match lost.first() {
                    // The embedded log has one owner for as long as the process lives.
                    Some(&shard) if self.heads.len() == 1 => Err(Fatal::Fenced { shard }),
                    // Whoever took one has probably taken more.
                    Some(_) => self.look().await.map(|()| None),
                    None => Ok(None),
                }
            }
            Outcome::Rejected => {
                self.admission.set_gate(Gate::Open);
                Ok(Some(batch))
            }
            Outcome::GivenUp(error) => {
                self.admission.set_gate(Gate::Open);
                tracing::error!(%error, rows = rows.len(), "a batch was given up");
                fail(batch, error);
                Ok(None)
            }
            Outcome::Broken(error, fatal) => {
                fail(batch, error);
                Err(fatal)
            }
        }
    }

    /// Gives the batch its rows: place, epoch, name and hash.
    fn seal(&mut self, batch: &mut Batch) -> Vec<Row> {
        let mut rows = Vec::new();
        for (shard, head) in (0_u16..).zip(&self.heads) {
            let Some(body) = batch.take_body(shard) else { continue };
            let mut row = Row {
                shard,
                seq: head.seq + 1,
                epoch: head.epoch,
                batch_id: format!("{}-{}", self.run, self.batches),
                body: Arc::new(body),
                hash: RowHash::START,
            };
            row.hash = row.chain(head.hash);
            rows.push(row);
        }
        self.batches += 1;
        rows
    }

    /// Lets the answers out, after the tail knows the rows: who reads next finds them there.
    fn release(&mut self, mut batch: Batch, rows: &[Row], lost: &[u16]) {
        let committed = batch.committed_rows(rows, lost);
        let mut kinds = BTreeMap::<_, u64>::new();
        for line in committed.iter().flat_map(|row| &row.lines) {
            *kinds.entry(line.body.kind()).or_default() += 1;
        }
        self.tail.push(committed);
        for unit in batch.units {
            match unit {
                Unit::Append { shard, incarnation, done, room, .. } => {
                    drop(room);
                    if lost.contains(&shard) {
                        incarnation.retire();
                        call(done, Err(AppendError::Fenced));
                    } else {
                        let seq = self.heads[usize::from(shard)].seq;
                        call(done, Ok(Committed { shard, seq }));
                    }
                }
                Unit::Activate { tenant, reply } => {
                    let shard = shard_of(tenant, self.shard_count());
                    if self.heads[usize::from(shard)].is_lost {
                        let _ = reply.send(Err(AppendError::Fenced));
                        continue;
                    }
                    self.incarnations += 1;
                    let incarnation = Incarnation::new(self.incarnations);
                    self.live.insert(tenant, incarnation.clone());
                    // A caller that left finds its incarnation retired by the next activation.
                    let _ = reply.send(Ok(incarnation));
                }
            }
        }
        for (kind, count) in kinds {
            metrics::entries(kind, count);
        }
        self.forget_dead();
    }

    fn forget_dead(&mut self) {
        if self.live.len() > self.sweep_at {
            self.live.retain(|_, incarnation| incarnation.is_held());
            self.sweep_at = SWEEP_AT_LEAST.max(self.live.len() * 2);
        }
    }

    /// Answers everything that waits: nothing more is committed by this process.
    fn abandon(&mut self, fatal: &Fatal) {
        self.admission.set_gate(Gate::Stopped);
        self.inbox.close();
        while let Ok(item) = self.inbox.try_recv() {
            self.waiting.push_back(item);
        }
        for item in self.waiting.drain(..) {
            match item {
                Item::Append(handover) => refuse(handover, AppendError::Failed),
                Item::Activate { reply, .. } => {
                    let _ = reply.send(Err(AppendError::Failed));
                }
                // Who asked sees that nobody answers.
                Item::Forget(_) => {}
            }
        }
        self.fatal.raise(fatal);
    }

    fn shard_count(&self) -> u16 {
        u16::try_from(self.heads.len()).unwrap_or(u16::MAX)
    }
}

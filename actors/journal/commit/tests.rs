mod bisecting;
mod faults;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use proptest::prelude::*;
use tenantry_supervision::{Task, Tasks, spawn};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::*;
use crate::database::StoreError;
use crate::journal::entry::Entry;
use crate::journal::room::Overloaded;
use crate::journal::testing::{Scribe, tenant};
use crate::journal::{Done, Line};

/// What the scripted log does with one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Full,
    Busy,
    /// The connection breaks, before or after the rows were written.
    Gone {
        is_written: bool,
    },
    Refuse,
    /// Another owner wrote there first.
    Foreign,
    Device,
}

/// A log in memory that fails as it is told.
#[derive(Debug, Clone, Default)]
struct Scripted {
    inner: Arc<Mutex<Script>>,
    // Every append takes a permit when there is a turnstile.
    turnstile: Option<Arc<Semaphore>>,
}

#[derive(Debug, Default)]
struct Script {
    table: BTreeMap<(u16, i64), Row>,
    faults: VecDeque<Option<Fault>>,
    submitted: Vec<Vec<Row>>,
    // A database that took the rows once does not refuse the same rows later.
    is_unknown: bool,
    // Rows with this text are refused, however often they are tried.
    poison: Option<&'static str>,
}

impl Scripted {
    fn with(faults: impl IntoIterator<Item = Option<Fault>>) -> Self {
        let log = Self::default();
        log.lock().faults.extend(faults);
        log
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.inner.lock().unwrap()
    }

    fn texts(&self) -> Vec<String> {
        let lines = |row: &Row| row.body.lines().map(String::from).collect::<Vec<_>>();
        self.lock().table.values().flat_map(lines).collect()
    }
}

impl Log for Scripted {
    async fn append(&mut self, rows: &[Row]) -> Result<Vec<(u16, i64)>, StoreError> {
        if let Some(turnstile) = &self.turnstile {
            turnstile.acquire().await.unwrap().forget();
        }
        let mut script = self.lock();
        script.submitted.push(rows.to_vec());
        let is_unknown = script.is_unknown;
        let fault = script.faults.pop_front().flatten();
        let fault = fault.filter(|fault| *fault != Fault::Refuse || !is_unknown);
        script.is_unknown =
            matches!(fault, Some(Fault::Gone { .. })) || is_unknown && fault.is_some();
        if fault == Some(Fault::Foreign) {
            let row = &rows[0];
            let foreign = Row { batch_id: "foreign".into(), ..row.clone() };
            script.table.entry((row.shard, row.seq)).or_insert(foreign);
        }
        match fault {
            Some(Fault::Full) => return Err(StoreError::DiskFull),
            Some(Fault::Busy) => return Err(StoreError::Busy),
            Some(Fault::Gone { is_written: false }) => return Err(StoreError::gone()),
            Some(Fault::Refuse) => return Err(StoreError::refused()),
            Some(Fault::Device) => return Err(StoreError::broken_device()),
            Some(Fault::Foreign | Fault::Gone { is_written: true }) | None => {}
        }
        if script.poison.is_some_and(|text| rows.iter().any(|row| row.body.contains(text))) {
            return Err(StoreError::refused());
        }
        let mut free = Vec::new();
        for row in rows {
            let place = (row.shard, row.seq);
            if let Slot::Vacant(slot) = script.table.entry(place) {
                slot.insert(row.clone());
                free.push(place);
            }
        }
        match fault {
            Some(Fault::Gone { .. }) => Err(StoreError::gone()),
            _ => Ok(free),
        }
    }

    async fn batch_at(&mut self, shard: u16, seq: i64) -> Result<Option<String>, StoreError> {
        Ok(self.lock().table.get(&(shard, seq)).map(|row| row.batch_id.clone()))
    }

    async fn hashes(
        &mut self,
        places: &[(u16, i64)],
    ) -> Result<Vec<(u16, i64, RowHash)>, StoreError> {
        let script = self.lock();
        let rows = places.iter().filter_map(|place| script.table.get(place));
        let found = rows.map(|row| (row.shard, row.seq, row.hash));
        // The row that the head of the bench stands for.
        Ok(found.chain([(0, 1, RowHash::START)]).collect())
    }

    async fn forget(&mut self, shard: u16, through: i64) -> Result<(), StoreError> {
        self.lock().table.retain(|(of, seq), _| *of != shard || *seq > through);
        Ok(())
    }

    async fn reopen(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

type Answers = Arc<Mutex<Vec<(usize, Result<Committed, AppendError>)>>>;

/// A committer over a scripted log, and what it answered.
struct Bench {
    inbox: mpsc::Sender<Item>,
    admission: Arc<Admission>,
    answers: Answers,
    fatal: Arc<Mutex<Vec<Fatal>>>,
    stop: CancellationToken,
    give_up: CancellationToken,
    task: Task<Scripted>,
    scribe: Scribe,
}

impl Bench {
    fn start(log: Scripted) -> Self {
        let head = Head { seq: 1, epoch: 1, hash: RowHash::START, is_lost: false };
        let admission = Admission::new();
        let tail = Tail::new(Arc::clone(&admission), vec![1]);
        let (inbox, items) = mpsc::channel(super::super::room::MAX_QUEUED);
        let fatal = Arc::new(Mutex::new(Vec::new()));
        let raised = Arc::clone(&fatal);
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let committer = Committer::new(Parts {
            log,
            heads: vec![head],
            published: watch::Sender::new(vec![head]),
            inbox: items,
            run: "run".into(),
            admission: Arc::clone(&admission),
            tail,
            lost: Arc::new(Lost::new(1)),
            fatal: FatalHook::new(move |fatal| raised.lock().unwrap().push(fatal.clone())),
            give_up: give_up.clone(),
        });
        let task = spawn("committer", &Tasks::new(), committer.run(stop.clone()));
        let scribe = Scribe::default();
        Self { inbox, admission, answers: Answers::default(), fatal, stop, give_up, task, scribe }
    }

    async fn activate(&self, tenant: TenantId) -> Result<Incarnation, AppendError> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Item::Activate { tenant, reply }).await.unwrap();
        answer.await.unwrap()
    }

    /// Hands a line over and returns it; its answer is filed under `name`.
    fn append(&mut self, name: usize, tenant: TenantId, incarnation: &Incarnation) -> Line {
        let line = self.scribe.line(tenant);
        self.append_line(name, line.clone(), incarnation);
        line
    }

    fn append_line(&self, name: usize, line: Line, incarnation: &Incarnation) {
        let (answers, tenant) = (Arc::clone(&self.answers), line.tenant);
        let room = self.admission.room(tenant, line.text.len()).unwrap();
        let done = Done::new(move |result| answers.lock().unwrap().push((name, result)));
        let incarnation = incarnation.clone();
        let item = Item::Append(Handover { tenant, incarnation, lines: vec![line], room, done });
        self.inbox.try_send(item).unwrap();
    }

    fn answers(&self) -> Vec<(usize, Result<Committed, AppendError>)> {
        self.answers.lock().unwrap().clone()
    }

    async fn finish(self) -> Vec<(usize, Result<Committed, AppendError>)> {
        self.stop.cancel();
        self.task.await.unwrap();
        Arc::try_unwrap(self.answers).unwrap().into_inner().unwrap()
    }
}

const AT_2: Committed = Committed { shard: 0, seq: 2 };
const AT_3: Committed = Committed { shard: 0, seq: 3 };

#[tokio::test(start_paused = true)]
async fn answers_leave_after_their_commit_and_in_order() {
    let turnstile = Arc::new(Semaphore::new(0));
    let log = Scripted { turnstile: Some(Arc::clone(&turnstile)), ..Scripted::default() };
    let mut bench = Bench::start(log.clone());
    let first = bench.activate(tenant(1)).await.unwrap();
    let second = bench.activate(tenant(2)).await.unwrap();

    bench.append(0, tenant(1), &first);
    // Time only moves once the committer waits inside its append.
    sleep(Duration::from_millis(1)).await;
    bench.append(1, tenant(2), &second);
    bench.append(2, tenant(1), &first);
    sleep(Duration::from_millis(1)).await;
    let before_any_commit = bench.answers();
    turnstile.add_permits(1);
    sleep(Duration::from_millis(1)).await;
    let after_the_first = bench.answers();
    turnstile.add_permits(1);

    assert_eq!(before_any_commit, []);
    assert_eq!(after_the_first, [(0, Ok(AT_2))]);
    assert_eq!(bench.finish().await, [(0, Ok(AT_2)), (1, Ok(AT_3)), (2, Ok(AT_3))]);
    assert_eq!(log.lock().submitted.len(), 2, "what queued up meanwhile is one batch");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_resolved_by_the_same_bytes() {
    for is_written in [true, false] {
        let log = Scripted::with([Some(Fault::Gone { is_written })]);
        let mut bench = Bench::start(log.clone());
        let incarnation = bench.activate(tenant(1)).await.unwrap();
        let line = bench.append(0, tenant(1), &incarnation);

        assert_eq!(bench.finish().await, [(0, Ok(AT_2))]);
        assert_eq!(log.texts(), [line.text]);
        let submitted = &log.lock().submitted;
        assert!(submitted.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(submitted.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_keeps_the_bytes_and_closes_the_gate() {
    let log = Scripted::with([Some(Fault::Full); 5]);
    let mut bench = Bench::start(log.clone());
    let incarnation = bench.activate(tenant(1)).await.unwrap();

    bench.append(0, tenant(1), &incarnation);
    sleep(Duration::from_millis(1)).await;
    let refused = bench.admission.room(tenant(2), 1).unwrap_err();
    sleep(Duration::from_secs(5)).await;
    let admitted = bench.admission.room(tenant(2), 1);

    assert_eq!(refused, Overloaded::DiskFull);
    assert!(admitted.is_ok());
    assert!(incarnation.is_live());
    drop(admitted);
    assert_eq!(bench.finish().await, [(0, Ok(AT_2))]);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_stays_full_is_told_at_the_end() {
    let log = Scripted::with([Some(Fault::Full); 500]);
    let mut bench = Bench::start(log.clone());
    let incarnation = bench.activate(tenant(1)).await.unwrap();
    bench.append(0, tenant(1), &incarnation);
    sleep(Duration::from_secs(1)).await;

    bench.give_up.cancel();

    assert_eq!(bench.finish().await, [(0, Err(AppendError::DiskFull))]);
    assert!(log.texts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_batch_stops_its_incarnations_alone() {
    let log = Scripted::with([Some(Fault::Refuse)]);
    let mut bench = Bench::start(log.clone());
    let poisoned = bench.activate(tenant(1)).await.unwrap();
    let healthy = bench.activate(tenant(2)).await.unwrap();

    bench.append(0, tenant(1), &poisoned);
    sleep(Duration::from_millis(1)).await;
    bench.append(1, tenant(1), &poisoned);
    let line = bench.append(2, tenant(2), &healthy);
    sleep(Duration::from_millis(1)).await;
    let revived = bench.activate(tenant(1)).await.unwrap();
    bench.scribe.rewind(tenant(1), None);
    let again = bench.append(3, tenant(1), &revived);

    let failed = Err(AppendError::Failed);
    assert!(!poisoned.is_live() && healthy.is_live());
    assert_eq!(bench.finish().await, [(0, failed), (1, failed), (2, Ok(AT_2)), (3, Ok(AT_3))]);
    assert_eq!(log.texts(), [line.text, again.text]);
}

#[tokio::test(start_paused = true)]
async fn a_new_incarnation_ends_the_older_one() {
    let log = Scripted::default();
    let mut bench = Bench::start(log.clone());
    let old = bench.activate(tenant(1)).await.unwrap();
    bench.append(0, tenant(1), &old);
    let new = bench.activate(tenant(1)).await.unwrap();
    bench.append(1, tenant(1), &old);
    bench.scribe.rewind(tenant(1), None);

    assert!(new.number() > old.number());
    assert_eq!(bench.finish().await, [(0, Ok(AT_2)), (1, Err(AppendError::Failed))]);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_row_ends_the_ownership() {
    let log = Scripted::with([Some(Fault::Foreign)]);
    let mut bench = Bench::start(log.clone());
    let incarnation = bench.activate(tenant(1)).await.unwrap();
    bench.append(0, tenant(1), &incarnation);
    bench.append(1, tenant(1), &incarnation);
    sleep(Duration::from_millis(1)).await;

    assert_eq!(*bench.fatal.lock().unwrap(), [Fatal::Fenced { shard: 0 }]);
    assert_eq!(bench.admission.room(tenant(2), 1).unwrap_err(), Overloaded::Unavailable);
    let fenced = Err(AppendError::Fenced);
    assert_eq!(bench.finish().await, [(0, fenced), (1, fenced)]);
}

//! Live events of a tenant's jobs, for pages that watch them.
//!
//! An event is published after its entry is on disk and never before. The last events of each job
//! are kept while the tenant is awake, so that a reader who lost its connection goes on where it
//! was; one who was away for longer begins with the whole job as it is now.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::Stream;
use futures_util::stream;
use serde_json::Value;
use tokio::sync::broadcast;

use super::job_view::JobEvent;
use crate::ids::JobId;

/// Events kept of one job: a plan of 20 scenes has fewer changes than this in its usual life.
const BACKLOG_EVENTS: usize = 256;

/// Jobs whose events are kept; the one that was silent for longest goes first.
const MAX_JOBS: usize = 64;

/// An event, and whose it is.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) job: JobId,
    pub(super) event: JobEvent,
}

/// The events of one tenant's jobs.
#[derive(Debug, Default)]
pub(super) struct Feed {
    jobs: Mutex<HashMap<JobId, Channel>>,
}

#[derive(Debug)]
struct Channel {
    recent: VecDeque<JobEvent>,
    live: broadcast::Sender<JobEvent>,
}

/// What a reader gets first, and where the rest comes from.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Events after the reader's last one; `None` when some of them are gone.
    pub(super) missed: Option<Vec<JobEvent>>,
    pub(super) live: broadcast::Receiver<JobEvent>,
}

impl Feed {
    /// Tells everyone who watches the jobs.
    pub(super) fn publish(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut jobs = self.lock();
        for Event { job, event } in events {
            let channel = channel(&mut jobs, job);
            if channel.recent.len() == BACKLOG_EVENTS {
                channel.recent.pop_front();
            }
            channel.recent.push_back(event.clone());
            // Without readers there is nobody to tell.
            let _ = channel.live.send(event);
        }
    }

    /// Begins to read after `after`, or with nothing known.
    pub(super) fn subscribe(&self, job: JobId, after: Option<u64>) -> Subscription {
        let mut jobs = self.lock();
        let channel = channel(&mut jobs, job);
        let live = channel.live.subscribe();
        let missed = after.and_then(|after| {
            let reaches_back = channel.recent.front().is_some_and(|first| first.seq <= after);
            reaches_back
                .then(|| channel.recent.iter().filter(|event| event.seq > after).cloned().collect())
        });
        Subscription { missed, live }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Channel>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn channel(jobs: &mut HashMap<JobId, Channel>, job: JobId) -> &mut Channel {
    if !jobs.contains_key(&job) && jobs.len() >= MAX_JOBS {
        let idle = |channel: &Channel| channel.live.receiver_count() == 0;
        let oldest = jobs
            .iter()
            .filter(|(_, channel)| idle(channel))
            .min_by_key(|(_, channel)| channel.recent.back().map_or(0, |event| event.seq))
            .map(|(id, _)| *id);
        if let Some(oldest) = oldest {
            jobs.remove(&oldest);
        }
    }
    jobs.entry(job).or_insert_with(|| Channel {
        recent: VecDeque::new(),
        live: broadcast::channel(BACKLOG_EVENTS).0,
    })
}

/// Kept alive by a stream for as long as somebody reads it.
pub(super) type Guard = Arc<dyn std::any::Any + Send + Sync>;

/// Turns a subscription into a stream that ends when the job does, or when the reader is too slow:
/// it comes back with its last event's number then.
pub(super) fn into_stream(
    first: Vec<JobEvent>,
    live: broadcast::Receiver<JobEvent>,
    guard: Guard,
) -> impl Stream<Item = JobEvent> + Send + 'static {
    let state = (VecDeque::from(first), live, 0_u64, guard, false);
    stream::unfold(state, |(mut first, mut live, mut last, guard, is_over)| async move {
        if is_over {
            return None;
        }
        loop {
            let event = match first.pop_front() {
                Some(event) => event,
                None => live.recv().await.ok()?,
            };
            // What was both missed and live is told once.
            if event.seq > last || event.seq == 0 {
                last = event.seq;
                let is_over = is_last(&event);
                return Some((event, (first, live, last, guard, is_over)));
            }
        }
    })
}

fn is_last(event: &JobEvent) -> bool {
    let state = event.data.get("state").and_then(Value::as_str);
    event.event == JobEvent::JOB
        && matches!(state, Some("succeeded" | "failed" | "cancelled" | "deleted"))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use serde_json::json;

    use super::*;

    fn event(seq: u64, state: &str) -> Event {
        let data = json!({ "state": state });
        let event = JobEvent { seq, event: JobEvent::JOB.to_owned(), data };
        Event { job: JobId::from_bits(1), event }
    }

    #[tokio::test]
    async fn a_reader_resumes_after_its_last_event_and_ends_with_the_job() {
        let feed = Feed::default();
        let job = JobId::from_bits(1);
        for seq in 1..=3 {
            feed.publish(vec![event(seq, "running")]);
        }

        let Subscription { missed, live } = feed.subscribe(job, Some(1));
        feed.publish(vec![event(4, "succeeded")]);
        feed.publish(vec![event(5, "running")]);
        let stream = into_stream(missed.unwrap(), live, Arc::new(()));
        let seen: Vec<u64> = stream.map(|event| event.seq).collect().await;

        assert_eq!(seen, [2, 3, 4]);
    }

    #[test]
    fn a_reader_who_was_away_too_long_is_told_so() {
        let feed = Feed::default();
        let job = JobId::from_bits(1);
        for seq in 1..=1_000 {
            feed.publish(vec![event(seq, "running")]);
        }

        assert_eq!(feed.subscribe(job, Some(3)).missed, None);
        assert_eq!(feed.subscribe(job, None).missed, None);
        assert_eq!(feed.subscribe(job, Some(999)).missed.map(|missed| missed.len()), Some(1));
    }

    #[test]
    fn the_feed_keeps_a_bounded_number_of_jobs() {
        let feed = Feed::default();
        for job in 0..1_000 {
            feed.publish(vec![Event { job: JobId::from_bits(job), ..event(1, "running") }]);
        }

        assert!(feed.lock().len() <= MAX_JOBS);
    }
}

//! Properties of the job machine.

use proptest::prelude::*;

use super::tests::World;
use super::tests::fixture::result;
use super::*;
use crate::journal::entry::EntryBody;
use crate::tenant::quota::{Item, Verdict};

/// Chooses the next thing to happen to a job, among what can.
#[derive(Clone, Copy, Debug)]
enum Choice {
    Start(usize),
    Succeed(usize, u64),
    Fail(usize, FailKind),
    Timeout(usize),
    Wait(u64),
}

fn choice() -> impl Strategy<Value = Choice> {
    let kind = prop::sample::select(vec![FailKind::Retryable, FailKind::Interrupted]);
    prop_oneof![
        6 => (0..100usize).prop_map(Choice::Start),
        8 => (0..100usize, 0..40_000u64).prop_map(|(index, ms)| Choice::Succeed(index, ms)),
        1 => (0..100usize, kind).prop_map(|(index, kind)| Choice::Fail(index, kind)),
        1 => (0..100usize).prop_map(Choice::Timeout),
        2 => (0..40u64).prop_map(Choice::Wait),
    ]
}

impl World {
    /// Makes a choice; says what the job's steps used by it.
    fn choose(&mut self, choice: Choice, draw: u64) -> Vec<Item> {
        let job = self.job;
        let nth = |steps: Vec<(StepName, u32)>, index: usize| {
            let count = steps.len().max(1);
            steps.into_iter().nth(index % count)
        };
        let running = || self.job().running().map(|step| (step.name, step.attempts)).collect();
        let command = match choice {
            Choice::Wait(seconds) => {
                self.now = self.now.plus_s(seconds);
                return Vec::new();
            }
            Choice::Start(index) => {
                let runnable = self.job().runnable(self.now);
                nth(runnable.into_iter().map(|step| (step, 0)).collect(), index)
                    .map(|(step, _)| JobCommand::Start { job, step, timeout_ms: 60_000 })
            }
            Choice::Succeed(index, ms) => nth(running(), index).map(|(step, attempt)| {
                let result = Box::new(result(step, ms));
                JobCommand::Succeed { job, step, attempt, result }
            }),
            Choice::Fail(index, kind) => nth(running(), index).map(|(step, attempt)| {
                let code = "broken".to_owned();
                JobCommand::Fail { job, step, attempt, kind, code, draw }
            }),
            Choice::Timeout(index) => nth(running(), index)
                .map(|(step, attempt)| JobCommand::Timeout { job, step, attempt, draw }),
        };
        let Some(command) = command else { return Vec::new() };
        let turn = self.turn(command.clone());
        assert!(matches!(turn.verdict, Verdict::Admitted(_)), "{command:?}: {turn:?}");
        let own = &turn.lines[turn.own.unwrap()];
        match (&own.body, command) {
            (EntryBody::Job(JobFact::StepSucceeded { .. }), JobCommand::Succeed { result, .. }) => {
                result.usage
            }
            _ => Vec::new(),
        }
    }
}

proptest! {
    #[test]
    fn a_job_charges_just_what_its_finished_steps_used_and_gives_back_the_rest(
        choices in prop::collection::vec((choice(), any::<u64>()), 1..150),
    ) {
        let mut world = World::new();
        world.submit(2);
        let mut used = BTreeMap::<String, u64>::new();
        let mut progress = 0;
        for (choice, draw) in choices {
            for item in world.choose(choice, draw) {
                *used.entry(item.meter.to_string()).or_default() += item.amount;
            }
            let job = world.job();
            prop_assert!(job.progress_percent() >= progress);
            progress = job.progress_percent();
            prop_assert!(job.steps.iter().all(|step| step.failures <= MAX_FAILURES));
            prop_assert!(job.running().all(|step| step.deadline_at.is_some()));
            for meter in ["images", "tts_ms", "render_ms", "storage_bytes"] {
                let sum = used.get(meter).copied().unwrap_or(0);
                prop_assert_eq!(world.usage(meter).0, sum, "{}", meter);
            }
            if job.state.is_ended() {
                prop_assert!(job.runnable(world.now).is_empty());
                prop_assert!(!world.state.quota().has_open_holds());
                break;
            }
        }
    }
}

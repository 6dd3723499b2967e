//! How jobs end, are taken up again and are deleted.

use super::*;

#[test]
fn cancelling_ends_running_steps_gives_back_the_hold_and_can_be_said_twice() {
    let mut world = World::new();
    world.submit(2);
    world.succeed(StepName::Image(1), 0);
    world.start(StepName::Image(2));
    let job = world.job;

    let first = world.turn(JobCommand::Cancel { job });
    let second = world.turn(JobCommand::Cancel { job });

    assert_eq!(first.verdict, second.verdict);
    assert!(second.lines.is_empty());
    assert_eq!(world.job().state, JobState::Cancelled);
    assert_eq!(world.job().running().count(), 0);
    assert_eq!(world.usage("images"), (1, 0));
    assert_eq!(world.usage("storage_bytes"), (0, 0));
}

#[test]
fn a_retry_goes_on_where_the_job_stopped_and_charges_nothing_twice() {
    let mut world = World::new();
    world.submit(2);
    world.succeed(StepName::Image(1), 0);
    world.succeed(StepName::Speech(1), 4_000);
    world.fail(StepName::Image(2), FailKind::Permanent, 0);
    let job = world.job;
    assert_eq!(world.usage("images"), (1, 0));

    assert_eq!(world.code(JobCommand::Retry { job }), "admitted");
    assert_eq!(world.job().state, JobState::Queued);
    assert_eq!(world.usage("images"), (1, 1), "what is done is not held again");
    assert!(!world.runnable().contains(&"image-01".to_owned()));
    assert_eq!(world.code(JobCommand::Retry { job }), "job-state");
    world.run(4_000);

    assert_eq!(world.job().state, JobState::Succeeded);
    assert_eq!(world.usage("images"), (2, 0));
    assert_eq!(world.usage("tts_ms"), (8_000, 0));
    assert_eq!(world.code(JobCommand::Retry { job }), "job-state");
    assert_eq!(world.code(JobCommand::Cancel { job }), "job-state");
}

#[test]
fn deleting_frees_what_the_job_stored_and_ends_an_open_one() {
    let mut world = World::new();
    let job = world.job;
    world.submit(1);
    world.run(1_000);
    assert_eq!(world.usage("storage_bytes"), (1_000, 0));
    assert_eq!(world.code(JobCommand::Delete { job }), "admitted");
    assert_eq!(world.usage("storage_bytes"), (0, 0));
    assert_eq!(world.usage("render_ms").0, 12_000, "counters do not go back");
    assert!(world.state.jobs().get(job).is_none());

    world.submit(1);
    world.start(StepName::Image(1));
    let turn = world.turn(JobCommand::Delete { job });
    assert_eq!(turn.lines.len(), 1);
    assert_eq!(turn.verdict, Verdict::Admitted(TenantOutcome::Job { id: job, state: None }));
    assert_eq!(world.usage("images"), (1, 0));
    assert_eq!(world.code(JobCommand::Delete { job }), "job-not-found");
}

#[test]
fn a_deletion_never_frees_more_than_there_is() {
    let mut world = World::new();
    let job = world.job;
    world.submit(1);
    world.run(1_000);
    let free = Command::Free { items: vec![item("storage_bytes", 600)] };
    world.state.apply(&TenantCommand::Usage(free), &Author::SYSTEM, world.now);

    assert_eq!(world.code(JobCommand::Delete { job }), "admitted");
    assert_eq!(world.usage("storage_bytes"), (0, 0));
}

#[test]
fn a_job_ends_after_24_hours_at_the_latest() {
    let mut world = World::new();
    world.submit(1);
    world.start(StepName::Image(1));
    assert_eq!(world.state.next_due(), Some(world.now.plus_s(MAX_JOB_S)));
    world.now = world.now.plus_s(MAX_JOB_S + 5);

    let tick = TenantCommand::Usage(Command::Tick);
    let turn = world.state.apply(&tick, &Author::SYSTEM, world.now);

    assert_eq!(turn.lines[0].kind, "job_expired");
    assert_eq!(turn.lines[0].at, at("2026-11-24T09:00:00Z"));
    assert_eq!(world.job().error.as_ref().unwrap().code, "job-expired");
    assert_eq!(world.usage("images"), (0, 0));
}

#[test]
fn old_jobs_keep_their_result_and_lose_their_steps() {
    let mut world = World::new();
    let first = world.job;
    for number in 1..=MAX_DETAILED_JOBS as u128 + 1 {
        world.job = JobId::from_bits(number);
        world.submit(1);
        world.run(1_000);
    }

    let oldest = world.state.jobs().get(first).unwrap();
    assert!(oldest.steps.is_empty());
    assert_eq!((oldest.artifacts.len(), oldest.progress_percent()), (1, 100));
    assert_eq!(world.code(JobCommand::Delete { job: first }), "admitted");
}

#[test]
fn the_number_of_open_jobs_is_bounded() {
    let mut world = World::under(plan("enterprise", [None, None, None]));
    for number in 1..=MAX_OPEN_JOBS as u128 {
        world.job = JobId::from_bits(number);
        let submit = JobCommand::Submit { job: world.job, shape: Box::new(shape(1)) };
        world.state.apply(&TenantCommand::Job(submit), &Author::SYSTEM, world.now);
    }
    let submit = JobCommand::Submit { job: JobId::from_bits(0), shape: Box::new(shape(1)) };
    let verdict = world.turn(submit).verdict;

    assert_eq!(verdict, Verdict::Refused(Refusal::TooManyJobs { max: MAX_OPEN_JOBS }));
}

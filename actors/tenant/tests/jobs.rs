use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;

use super::house::{House, Script, Scripted, folder, plan, until};
use crate::ids::{JobId, TenantId};
use crate::studio::plan::Resolution;
use crate::tenant::TenantError;
use crate::tenant::job_view::JobsQuery;
use crate::tenant::quota::Refusal;
use crate::tenant::steps::{JobState, StepName, StepState};

async fn until_state(house: &House, tenant: TenantId, job: JobId, state: JobState) {
    until(async || house.tenants.job(tenant, job).await.unwrap().state == state).await;
}

async fn reserved(house: &House, tenant: TenantId) -> u64 {
    let usage = house.tenants.usage(tenant).await.unwrap();
    usage.meters.iter().map(|meter| meter.reserved).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_to_its_video_and_is_charged_for_what_it_used() {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let tenant = house.tenant();

    let job = house.tenants.submit(tenant, plan(), house.keyed("k", "p")).await.unwrap().value;
    assert_eq!(job.state, JobState::Queued);
    let events: Vec<_> =
        house.tenants.watch(tenant, job.id, Some(0)).await.unwrap().collect().await;

    let last = events.last().unwrap();
    assert_eq!((last.event.as_str(), &last.data["state"]), ("job", &"succeeded".into()));
    assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let done = house.tenants.job(tenant, job.id).await.unwrap();
    assert_eq!((done.progress_percent, done.artifacts.len()), (100, 1));
    assert_eq!(house.images_used(tenant).await, (2, 0));
    assert_eq!(reserved(&house, tenant).await, 0);
    let again = house.tenants.submit(tenant, plan(), house.keyed("k", "p")).await.unwrap();
    assert_eq!((again.value.id, again.replayed), (job.id, true));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_survives_a_restart_and_does_finished_steps_once() {
    let folder = folder();
    let hanging = Scripted::new(Script::HangAtAssemble);
    let house = House::start(folder.path(), &hanging).await;
    let tenant = house.tenant();
    let job = house.tenants.submit(tenant, plan(), house.context()).await.unwrap().value;
    until(async || hanging.hanging.load(Ordering::SeqCst) == 1).await;
    house.stop().await;

    let studio = Scripted::new(Script::Succeed);
    let house = House::start(folder.path(), &studio).await;
    // Nobody calls the tenant: it is woken for its job.
    until(async || studio.runs_of(StepName::Assemble) == 1).await;
    until_state(&house, tenant, job.id, JobState::Succeeded).await;

    assert_eq!(*studio.runs.lock().unwrap(), [StepName::Assemble]);
    assert_eq!(house.images_used(tenant).await, (2, 0));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_ends_what_runs_and_releases_what_was_held() {
    let folder = folder();
    let studio = Scripted::new(Script::HangAtAssemble);
    let house = House::start(folder.path(), &studio).await;
    let tenant = house.tenant();
    let job = house.tenants.submit(tenant, plan(), house.context()).await.unwrap().value;
    until(async || studio.hanging.load(Ordering::SeqCst) == 1).await;
    assert!(reserved(&house, tenant).await > 0);

    let cancelled = house.tenants.cancel(tenant, job.id, house.context()).await.unwrap().value;

    assert_eq!(cancelled.state, JobState::Cancelled);
    assert_eq!(reserved(&house, tenant).await, 0);
    until(async || studio.cancelled.load(Ordering::SeqCst) == 1).await;
    house.tenants.delete(tenant, job.id, house.context()).await.unwrap();
    let gone = house.tenants.job(tenant, job.id).await.unwrap_err();
    assert_eq!(gone, TenantError::Refused(Refusal::JobNotFound));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_provider_ends_in_failed_with_everything_released() {
    let folder = folder();
    let studio = Scripted::new(Script::FailImages);
    let house = House::start(folder.path(), &studio).await;
    let tenant = house.tenant();

    let job = house.tenants.submit(tenant, plan(), house.context()).await.unwrap().value;
    until_state(&house, tenant, job.id, JobState::Failed).await;

    let failed = house.tenants.job(tenant, job.id).await.unwrap();
    assert_eq!(failed.error.unwrap().code, "provider-unavailable");
    let image = failed.steps.iter().find(|step| step.state == StepState::Failed).unwrap();
    assert_eq!(image.attempts, 4);
    assert_eq!(house.images_used(tenant).await, (0, 0));
    assert_eq!(reserved(&house, tenant).await, 0);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_jobs_all_come_to_their_end() {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let tenant = house.tenant();
    let mut jobs = Vec::new();
    for _ in 0..40 {
        jobs.push(house.tenants.submit(tenant, plan(), house.context()).await.unwrap().value.id);
    }

    for job in &jobs {
        until_state(&house, tenant, *job, JobState::Succeeded).await;
    }

    let query = JobsQuery { limit: 30, ..JobsQuery::default() };
    let first = house.tenants.jobs(tenant, query.clone()).await.unwrap();
    let cursor = first.next_cursor.clone();
    let second = house.tenants.jobs(tenant, JobsQuery { cursor, ..query }).await.unwrap();
    assert_eq!((first.data.len(), second.data.len(), second.next_cursor), (30, 10, None));
    let mut listed: Vec<_> = first.data.iter().chain(&second.data).map(|job| job.id).collect();
    listed.sort_unstable();
    jobs.sort_unstable();
    assert_eq!(listed, jobs);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_an_ended_job_again_is_told_its_end() {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let tenant = house.tenant();
    let job = house.tenants.submit(tenant, plan(), house.context()).await.unwrap().value.id;
    let seen: Vec<_> = house.tenants.watch(tenant, job, None).await.unwrap().collect().await;
    let last = seen.last().unwrap().seq;

    for after in [Some(last), Some(last + 7), None] {
        let again: Vec<_> = house.tenants.watch(tenant, job, after).await.unwrap().collect().await;
        assert_eq!(again.len(), 1, "after {after:?}");
        assert_eq!(again[0].data["state"], "succeeded");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_free_plan_does_not_include_4k() {
    let folder = folder();
    let house = House::start(folder.path(), &Scripted::new(Script::Succeed)).await;
    let tenant = house.tenant();
    let mut large = plan();
    large.resolution = Resolution::Uhd;

    let refused = house.tenants.submit(tenant, large.clone(), house.context()).await.unwrap_err();
    assert!(matches!(refused, TenantError::Refused(Refusal::PlanRequired { .. })));

    house.tenants.set_plan(tenant, "pro".parse().unwrap(), house.context()).await.unwrap();
    house.tenants.submit(tenant, large, house.context()).await.unwrap();
    house.stop().await;
}

//! What the tenants tell of themselves. Labels are closed sets: no tenant, no job, no text.

use std::time::Duration;

use metrics::{
    Counter, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

/// Decisions of tenants, by command and outcome.
pub const DECISIONS: &str = "tenantry_tenant_decisions_total";
/// Tenants that were started again, by reason.
pub const RESTARTS: &str = "tenantry_actor_restarts_total";
/// Tenants that were put in quarantine.
pub const QUARANTINED: &str = "tenantry_tenants_quarantined_total";
/// Tenants that are awake.
pub const AWAKE: &str = "tenantry_tenants_awake";
/// Calls between the gate and their answer.
pub const MAILBOX_DEPTH: &str = "tenantry_actor_mailbox_depth";
/// Time to wake a tenant.
pub const ACTIVATION_SECONDS: &str = "tenantry_tenant_activation_duration_seconds";
/// Tenants that were not woken because everyone who wanted them had left.
pub const WAKES_SHED: &str = "tenantry_tenant_wakes_shed_total";
/// Ended steps, by kind and outcome, and how long each attempt took.
pub const STEP_SECONDS: &str = "tenantry_step_duration_seconds";
/// Attempts that run now, by kind.
pub const STEPS_RUNNING: &str = "tenantry_steps_running";
/// Ended jobs by outcome, and how long they took from submission.
pub const JOB_SECONDS: &str = "tenantry_job_duration_seconds";

/// Describes every metric once, at start.
pub(crate) fn describe() {
    describe_counter!(DECISIONS, "decisions of tenants by command and outcome");
    describe_counter!(RESTARTS, "actors that were started again, by reason");
    describe_counter!(QUARANTINED, "tenants that were put in quarantine");
    describe_gauge!(AWAKE, "tenants that are awake");
    describe_gauge!(MAILBOX_DEPTH, "calls between the gate and their answer");
    describe_histogram!(ACTIVATION_SECONDS, "time to wake a tenant");
    describe_counter!(WAKES_SHED, "tenants not woken: everyone who wanted them had left");
    describe_histogram!(STEP_SECONDS, "attempts of steps by kind and outcome");
    describe_gauge!(STEPS_RUNNING, "attempts of steps that run now, by kind");
    describe_histogram!(JOB_SECONDS, "jobs from submission to their end, by outcome");
}

/// Counts decisions; the usual one without asking the recorder for its counter.
#[derive(Debug)]
pub(super) struct Decisions {
    consumed: Counter,
}

impl Decisions {
    pub(super) fn new() -> Self {
        let consumed = counter!(DECISIONS, "command" => "consume", "outcome" => "admitted");
        Self { consumed }
    }

    pub(super) fn count(&self, command: &'static str, outcome: &'static str) {
        if (command, outcome) == ("consume", "admitted") {
            self.consumed.increment(1);
        } else {
            decided(command, outcome);
        }
    }
}

pub(super) fn decided(command: &'static str, outcome: &'static str) {
    counter!(DECISIONS, "command" => command, "outcome" => outcome).increment(1);
}

pub(super) fn restarted(reason: &'static str) {
    counter!(RESTARTS, "actor" => "tenant", "reason" => reason).increment(1);
}

pub(super) fn quarantined() {
    counter!(QUARANTINED).increment(1);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts are far below 2^53")]
pub(super) fn census(awake: usize, in_flight: u32) {
    gauge!(AWAKE).set(awake as f64);
    gauge!(MAILBOX_DEPTH, "actor" => "tenant").set(f64::from(in_flight));
}

pub(super) fn activated(took: Duration) {
    histogram!(ACTIVATION_SECONDS).record(took.as_secs_f64());
}

pub(super) fn wake_shed() {
    counter!(WAKES_SHED).increment(1);
}

pub(super) fn step_started(kind: &'static str) {
    gauge!(STEPS_RUNNING, "kind" => kind).increment(1.0);
}

pub(super) fn step_ended(kind: &'static str, outcome: &'static str, took: Duration) {
    gauge!(STEPS_RUNNING, "kind" => kind).decrement(1.0);
    histogram!(STEP_SECONDS, "kind" => kind, "outcome" => outcome).record(took.as_secs_f64());
}

pub(super) fn job_ended(outcome: &'static str, took: Duration) {
    histogram!(JOB_SECONDS, "outcome" => outcome).record(took.as_secs_f64());
}

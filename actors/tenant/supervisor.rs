//! The supervisor of the tenants: it hears of every end and tells the directory.
//!
//! It starts nobody again by itself: a tenant starts with its next call, so that a dependency that
//! is down does not make thousands of actors loop. A tenant that had work of its own gets an alarm.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::Instant;

use super::alarms::Alarms;
use super::directory::{Directory, Ending};
use super::metrics;

/// How long a tenant with work of its own rests before it is woken after a failure.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The supervising actor; it has no messages of its own.
#[derive(Debug)]
pub(super) struct TenantSupervisor;

/// What the supervisor tells of an end.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) directory: Arc<Directory>,
    pub(super) alarms: Arc<Alarms>,
}

impl Actor for TenantSupervisor {
    type Msg = ();
    type State = Told;
    type Arguments = Told;

    async fn pre_start(
        &self,
        _myself: ActorRef<()>,
        told: Told,
    ) -> Result<Told, ActorProcessingErr> {
        Ok(told)
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<()>,
        event: SupervisionEvent,
        told: &mut Told,
    ) -> Result<(), ActorProcessingErr> {
        let (actor, ending) = match event {
            SupervisionEvent::ActorFailed(cell, cause) => {
                tracing::error!(error = %cause, "tenant actor failed");
                metrics::restarted("panic");
                (cell.get_id(), Ending::Failed)
            }
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                if reason.as_deref() == Some(super::actor::APPEND_FAILED) {
                    metrics::restarted("append");
                }
                (cell.get_id(), Ending::Stopped)
            }
            _ => return Ok(()),
        };
        if let Some((tenant, true)) = told.directory.ended(actor, ending) {
            told.alarms.set(tenant, Instant::now() + REST_AFTER_FAILURE);
        }
        Ok(())
    }
}

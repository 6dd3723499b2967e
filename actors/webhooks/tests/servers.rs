//! Two servers on one database: each delivery is attempted by one of them, and nothing is lost.

use std::collections::BTreeMap;

use super::*;
use crate::database::Backend;
use crate::database::testing::{backend, url};

/// Tenants, endpoints of each, turns of the projector, and lapses of each tenant in a turn.
const TENANTS: usize = 5;
const ENDPOINTS: usize = 2;
const TURNS: u64 = 20;
const LAPSES: u64 = 3;

impl Fixture {
    /// Another server on the same database, with a folder of its own.
    async fn another(&self, folder: &TempDir) -> Webhooks {
        let settings = DatabaseSettings {
            url: url(self.folder.path()).await,
            ..settings(folder.path()).await
        };
        let database = Database::open(&settings, &self.tasks).await.unwrap();
        let deps = WebhookDeps { database, ..self.deps.clone() };
        Webhooks::start_with(deps, Arc::new(SystemLookup)).unwrap()
    }
}

#[tokio::test]
async fn two_servers_deliver_each_message_once_while_the_projector_writes() {
    if backend() != Backend::Postgres {
        return;
    }
    let world = Fixture::local().await;
    let folder = tempfile::tempdir().unwrap();
    let _other = world.another(&folder).await;
    let receiver = Receiver::start(&world.tasks).await;
    let owners: Vec<Principal> = (0..TENANTS).map(|_| owner()).collect();
    let mut endpoints = Vec::new();
    for owner in &owners {
        for _ in 0..ENDPOINTS {
            endpoints.push((owner, world.endpoint_of(owner, &receiver.url()).await));
        }
    }

    for turn in 0..TURNS {
        let seqs = turn * LAPSES + 1..=(turn + 1) * LAPSES;
        for owner in &owners {
            world.project_lapses(owner.tenant, seqs.clone()).await;
        }
    }

    let each = usize::try_from(TURNS * LAPSES).unwrap();
    for (owner, endpoint) in &endpoints {
        until("delivered", async || {
            let rows = world.deliveries_of(owner.tenant, endpoint).await;
            let is_done = |row: &Delivery| row.state == DeliveryState::Delivered;
            rows.len() == each && rows.iter().all(is_done)
        })
        .await;
        let rows = world.deliveries_of(owner.tenant, endpoint).await;
        assert!(rows.iter().all(|row| row.attempts == 1), "{rows:?}");
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for hook in receiver.seen() {
        *times.entry(hook.header("webhook-id").to_owned()).or_default() += 1;
    }
    assert_eq!(times.len(), each * TENANTS);
    assert!(times.values().all(|count| *count == ENDPOINTS), "{times:?}");
}

#[tokio::test]
async fn an_owner_changes_an_endpoint_while_two_relays_work_at_it() {
    let world = Fixture::local().await;
    let folder = tempfile::tempdir().unwrap();
    let _other = match backend() {
        Backend::Postgres => Some(world.another(&folder).await),
        Backend::Sqlite => None,
    };
    let receiver = Receiver::start(&world.tasks).await;
    let endpoint = world.endpoint(&receiver.url()).await;
    world.project_lapses(world.owner.tenant, 1..=200).await;
    receiver.wait_for(1).await;

    for enabled in [false, true, false, true] {
        let change = EndpointChange { enabled: Some(enabled), ..EndpointChange::default() };
        world.webhooks.change(&world.owner, endpoint.id, change, &client()).await.unwrap();
    }
    world.webhooks.rotate_secret(&world.owner, endpoint.id, 0, &client()).await.unwrap();
    world.project_lapses(world.owner.tenant, 201..=210).await;

    until("settled", async || {
        let rows = world.deliveries(&endpoint).await;
        rows.len() == 210 && rows.iter().all(|row| row.state != DeliveryState::Pending)
    })
    .await;
    let rows = world.deliveries(&endpoint).await;
    let is_late = |row: &&Delivery| row.seq > 200;
    assert!(rows.iter().filter(is_late).all(|row| row.state == DeliveryState::Delivered));
    world.webhooks.remove(&world.owner, endpoint.id, &client()).await.unwrap();
}

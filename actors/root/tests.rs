use std::path::Path;

use super::*;
use crate::clock::SystemClock;
use crate::database::testing;
use crate::identity::Mode;
use crate::ids::RequestId;
use crate::intents::{self, Intent};
use crate::studio::Tools;
use crate::tenant::CallContext;
use crate::tenant::quota::{Item, PlanChange};
use crate::webhooks::WebhookSettings;

async fn house(folder: &Path) -> House {
    let public_url = "http://localhost:8080".to_owned();
    let settings = HouseSettings {
        data_dir: folder.to_path_buf(),
        database_url: testing::url(folder).await,
        catalogue: Catalogue::builtin(),
        archive_after: None,
        storage: StorageSettings { dir: folder.join("storage") },
        studio: StudioSettings {
            image: None,
            speech: None,
            scratch_dir: folder.join("scratch"),
            tools: Tools::default(),
            image_workers: 1,
            speech_workers: 1,
            video_workers: 1,
        },
        webhooks: WebhookSettings::default(),
        mail: MailSettings::new(None, "Tenantry <noreply@localhost>".into(), public_url.clone()),
        identity: IdentitySettings {
            public_url,
            mode: Mode::Development,
            jwt_secret: None,
            links_per_address: 3,
        },
        tenants: TenantSettings::default(),
        clock: Arc::new(SystemClock),
        health: Registry::new(),
        fatal: FatalHook::default(),
    };
    House::start(settings).await.unwrap()
}

fn context(house: &House) -> CallContext {
    let request = RequestId::generate(&*house.clock);
    CallContext::system(request, Deadline::after(Duration::from_secs(20)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_house_ends_in_order_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let first = house(folder.path()).await;
    assert_eq!(first.readiness(), Readiness::Ready);
    let tenant = TenantId::generate(&*first.clock);
    let items = vec![Item { meter: "images".parse().unwrap(), amount: 7 }];
    first.tenants.consume(tenant, items, context(&first)).await.unwrap();

    assert!(first.stop(Duration::from_secs(25)).await);
    assert_eq!(first.readiness(), Readiness::Draining);
    drop(first);

    let second = house(folder.path()).await;
    let usage = second.tenants.usage(tenant).await.unwrap();
    let images = usage.meters.iter().find(|meter| meter.meter.as_str() == "images").unwrap();
    assert_eq!(images.used, 7);
    assert!(second.stop(Duration::from_secs(25)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_reaches_its_tenant_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let house = house(folder.path()).await;
    let tenant = TenantId::generate(&*house.clock);
    assert_eq!(house.tenants.plan_name(tenant).await.unwrap().as_str(), "free");

    let mut tx = house.database.system_tx().await.unwrap();
    for plan in ["enterprise", "pro"] {
        let intent =
            Intent::SetPlan { plan: plan.parse().unwrap(), cycle: None, when: PlanChange::Now };
        intents::insert(&mut tx, tenant, &intent, &*house.clock).await.unwrap();
    }
    tx.commit().await.unwrap();
    house.intents.nudge();

    let deadline = Deadline::after(Duration::from_secs(20));
    while count(&house).await > 0 {
        assert!(!deadline.is_past(), "the intents were not delivered");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(house.tenants.plan_name(tenant).await.unwrap().as_str(), "pro");
    assert!(house.stop(Duration::from_secs(25)).await);
}

async fn count(house: &House) -> i64 {
    let mut reader = house.database.reader().await.unwrap();
    crate::database::intents::count(&mut reader).await.unwrap()
}

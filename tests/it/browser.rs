//! The main job in a real browser: log in by mail, make a video, watch it, see usage, hit the limit.

mod driver;

use std::time::Duration;

use fantoccini::Locator;
use tenantry_chaos::{World, WorldSettings};

use driver::Browser;

#[tokio::test]
async fn the_outside_world_can_be_switched_by_hand() {
    let world = World::start(WorldSettings::default()).await.unwrap();
    let browser = Browser::open(1_280, 800).await;
    let page = browser.page();

    page.goto(&world.url()).await.unwrap();
    let button = "[data-service=speech] button[value=hanging]";
    page.find(Locator::Css(button)).await.unwrap().click().await.unwrap();
    let switched = "[data-service=speech][data-mode=hanging]";
    let found = page.wait().at_most(Duration::from_secs(10)).for_element(Locator::Css(switched));

    assert!(found.await.is_ok());
    browser.close().await;
}

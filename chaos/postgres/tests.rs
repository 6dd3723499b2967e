use super::*;

#[tokio::test]
async fn a_server_keeps_what_it_committed_when_it_is_killed() {
    let mut server = Postgres::start().await.unwrap();
    server.sql("CREATE TABLE kept (n BIGINT); INSERT INTO kept VALUES (7)").await.unwrap();
    let (url, before) = (server.url(), server.id());

    server.kill().await.unwrap();
    let refused = server.sql("SELECT 1").await.is_err();
    server.restart().await.unwrap();

    assert!(refused);
    assert_eq!(server.sql("SELECT n FROM kept").await.unwrap(), "7");
    assert_eq!(server.url(), url);
    assert_ne!(server.id(), before);
}

#[tokio::test]
async fn two_servers_share_nothing_and_leave_no_process() {
    let (first, second) = (Postgres::start().await.unwrap(), Postgres::start().await.unwrap());
    first.sql("CREATE TABLE own (n BIGINT)").await.unwrap();
    let families = [&first, &second].map(|server| processes::family(server.id().expect("it runs")));

    let found = second.sql("SELECT COUNT(*) FROM pg_tables WHERE tablename = 'own'").await.unwrap();
    drop((first, second));

    assert_eq!(found, "0");
    for family in families {
        processes::wait_until_gone(&family).await.unwrap();
    }
}

#[tokio::test]
async fn text_is_sorted_as_people_do_so_that_byte_order_cannot_be_taken_for_granted() {
    let server = Postgres::start().await.unwrap();

    assert_eq!(server.sql("SELECT 'job_~' < 'job_a', 'a' < 'B'").await.unwrap(), "t|t");
}

#[tokio::test]
async fn backends_are_found_by_name_and_can_be_paused() {
    let server = Postgres::start().await.unwrap();
    let query = "SET application_name = 'sleeper'; SELECT pg_sleep(30)";
    let sleeper = server.sql(query);
    let look = async {
        loop {
            if let Ok(id) = server.backend_of("sleeper").await {
                break id;
            }
            sleep(ASK_EVERY).await;
        }
    };

    let found = tokio::select! {
        id = look => id,
        ended = sleeper => panic!("the query ended: {ended:?}"),
    };

    assert!(server.backends().iter().any(|backend| backend.id == found), "{found}");
    server.pause();
    server.resume();
    assert_eq!(server.sql("SELECT 1").await.unwrap(), "1");
}

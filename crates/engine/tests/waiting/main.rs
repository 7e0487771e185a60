//! Clients that stop, and connections that are lost, while others wait. Without PostgreSQL the tests are skipped, and
//! say so.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

#[path = "../engine/postgres.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod postgres;

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use letmein_auth_engine::{Changed, EngineError, Session, Writer};
use tokio::time::timeout;

use postgres::{Database, run};

async fn add(session: &Session, name: &str) -> Result<(), EngineError> {
    session.batch(&format!("INSERT INTO letmein.users (name, password) VALUES ('{name}', 'p')")).await
}

/// Whether somebody else has the lock on head.
fn is_locked(error: &EngineError) -> bool {
    matches!(error, EngineError::Refused { code, .. } if code == "55P03")
}

#[test]
fn a_writer_that_stops_in_its_change_keeps_others_waiting_for_less_than_15_s_and_goes_on_afterwards() {
    let Some(database) = Database::new() else { return };
    let settings = &database.settings();
    let (stops, has_stopped) = channel();
    let (goes_on, may_go_on) = channel::<()>();
    thread::scope(|scope| {
        let stopped = scope.spawn(move || {
            run(Writer::new(settings).change("add alice", async |session| {
                add(session, "alice").await?;
                stops.send(()).unwrap();
                // The thread is blocked, so nothing reads the connection.
                let _ = may_go_on.recv();
                Ok(())
            }))
        });
        has_stopped.recv().unwrap();
        let mut writer = Writer::new(settings);
        let other = async {
            loop {
                match writer.change("add bob", async |session| add(session, "bob").await).await {
                    Err(error) if is_locked(&error) => {}
                    ended => return ended,
                }
            }
        };
        let other = run(async { timeout(Duration::from_secs(15), other).await });
        drop(goes_on);
        assert_eq!(other.unwrap(), Ok(Changed { revision: 1, value: () }));
        assert_eq!(stopped.join().unwrap(), Ok(Changed { revision: 2, value: () }));
    });
    assert_eq!(database.query("SELECT ARRAY[name] FROM letmein.users ORDER BY revision"), "bob, alice");
}

#[test]
fn a_change_that_was_decided_against_stays_so_though_the_connection_is_lost() {
    let Some(database) = Database::new() else { return };
    let settings = database.settings();
    run(async {
        let other = database.session().await;
        let mut writer = Writer::new(&settings);
        let decided = writer.decide("add alice", async |session| {
            add(session, "alice").await?;
            let backend: i32 = session.row("SELECT pg_backend_pid()", &[]).await?.get(0);
            other.batch(&format!("SELECT pg_terminate_backend({backend}, 10000)")).await?;
            Ok(Err::<(), _>("no"))
        });
        assert_eq!(decided.await, Ok(Err("no")));
        let changed = writer.change("add bob", async |session| add(session, "bob").await).await;
        assert_eq!(changed, Ok(Changed { revision: 1, value: () }));
    });
    assert_eq!(database.query("SELECT ARRAY[name] FROM letmein.users"), "bob");
}

#[test]
fn a_node_says_nothing_that_no_command_can_show() {
    let Some(database) = Database::new() else { return };
    let long = "n".repeat(256);
    for row in [
        "'one', 1, 'infinity'",
        "'one', 1, '-infinity'",
        "'one', -1, now()",
        "'', 1, now()",
        &format!("'{long}', 1, now()"),
    ] {
        let refusal = database.refusal(&format!("INSERT INTO letmein.nodes VALUES ({row})"));
        assert!(refusal.contains("nodes_check"), "{row}: {refusal}");
    }
}

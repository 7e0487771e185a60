//! A change is made once, whatever becomes of its connection.

use std::cell::Cell;
use std::fs;
use std::os::unix::net::UnixListener;
use std::thread;

use letmein_auth_engine::{Changed, EngineError, SCHEMA_VERSION, Session, Writer, init};
use tempfile::TempDir;

use crate::postgres::{Database, STANDBY, load, run};
use crate::proxy::{Cut, Proxy, SOCKET};

const ALICE: &str = "INSERT INTO letmein.users (name, password) VALUES ('alice', 'a')";
const CHANGES: &str =
    "SELECT ARRAY[revision::text, what] FROM letmein.changes WHERE revision > 0 ORDER BY revision";
const USERS: &str = "SELECT ARRAY[name, revision::text] FROM letmein.users ORDER BY name";

#[test]
fn a_change_is_made_once_though_the_connection_is_lost_at_commit() {
    for (cut, runs) in
        [(Cut::BeforeCommit, 2), (Cut::AfterCommit, 1), (Cut::BeforeAnswer, 1), (Cut::InsteadOfAnswer, 1)]
    {
        let Some(database) = Database::new() else { return };
        let proxy = Proxy::before(database.postgres.folder(), cut);
        let settings = database.settings_at(&proxy.folder());
        let counted = Cell::new(0);
        let changed = run(Writer::new(&settings).change("add alice", async |session| {
            counted.set(counted.get() + 1);
            session.batch(ALICE).await.map(|()| counted.get())
        }));
        assert_eq!(changed, Ok(Changed { revision: 1, value: runs }), "{cut:?}");
        assert_eq!(proxy.connections(), 2, "{cut:?}");
        assert_eq!(database.query(CHANGES), "1 add alice", "{cut:?}");
        assert_eq!(database.query(USERS), "alice 1", "{cut:?}");
    }
}

/// The database goes on with what it was sent, while the writer looks whether it was done.
#[test]
fn a_change_is_made_once_though_the_lost_commit_is_still_on_its_way() {
    let Some(database) = Database::new() else { return };
    database.batch(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON letmein.users DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION hold()",
    );
    let proxy = Proxy::before(database.postgres.folder(), Cut::AfterCommit);
    let settings = database.settings_at(&proxy.folder());
    let changed = thread::scope(|scope| {
        run(async {
            let holder = database.session().await;
            holder.batch("SELECT pg_advisory_lock(1)").await.unwrap();
            let writer = scope.spawn(|| {
                run(Writer::new(&settings).change("add alice", async |session| session.batch(ALICE).await))
            });
            let waiting = "SELECT count(*) FROM pg_stat_activity \
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            while holder.row(waiting, &[]).await.unwrap().get::<_, i64>(0) < 2 {
                assert!(!writer.is_finished(), "it waits for the lost transaction");
                thread::yield_now();
            }
            holder.batch("SELECT pg_advisory_unlock(1)").await.unwrap();
            writer
        })
        .join()
        .unwrap()
    });
    assert_eq!(changed, Ok(Changed { revision: 1, value: () }));
    // The second is refused the stamp, which the third finds.
    assert_eq!(proxy.connections(), 3);
    assert_eq!(database.query(CHANGES), "1 add alice");
    assert_eq!(database.query(USERS), "alice 1");
}

/// Where the database waits for a standby at COMMIT, an answer means that the standby has the change, too.
#[test]
fn a_change_is_not_made_before_a_synchronous_standby_has_it() {
    let Some(database) = Database::alone(|_| Vec::new()) else { return };
    let standby = database.copy(&STANDBY);
    database.be_synchronous();
    standby.postgres.freeze();
    let settings = database.settings();
    let changed = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            run(Writer::new(&settings).change("add alice", async |session| session.batch(ALICE).await))
        });
        // The second attempt has begun, and the first one still waits.
        let waiting = "SELECT ARRAY[bool_or(wait_event = 'SyncRep')::text, bool_or(wait_event_type = 'Lock')::text] \
                       FROM pg_stat_activity WHERE datname = current_database()";
        while database.query(waiting) != "true true" {
            assert!(!writer.is_finished(), "it waits for the standby");
            thread::yield_now();
        }
        standby.postgres.thaw();
        writer.join().unwrap()
    });
    assert_eq!(changed, Ok(Changed { revision: 1, value: () }));
    // It has it on its disk, and shows it a moment later.
    standby.wait_until(CHANGES, "1 add alice");
}

#[test]
fn a_change_is_made_again_if_it_was_undone() {
    let Some(database) = Database::new() else { return };
    for (name, undoing) in [
        ("lost", "SELECT pg_terminate_backend(pg_backend_pid())"),
        ("unserializable", "DO $$ BEGIN RAISE 'again' USING ERRCODE = '40001'; END $$"),
        ("deadlocked", "DO $$ BEGIN RAISE 'again' USING ERRCODE = '40P01'; END $$"),
    ] {
        let (settings, is_first) = (database.settings(), Cell::new(true));
        let changed = run(Writer::new(&settings).change(name, async |session| {
            session
                .batch(&format!("INSERT INTO letmein.users (name, password) VALUES ('{name}', 'p')"))
                .await?;
            if is_first.replace(false) { session.batch(undoing).await } else { Ok(()) }
        }));
        assert!(changed.is_ok(), "{name}: {changed:?}");
    }
    assert_eq!(database.query(CHANGES), "1 lost, 2 unserializable, 3 deadlocked");
    assert_eq!(database.query(USERS), "deadlocked 3, lost 1, unserializable 2");
}

#[test]
fn a_writer_changes_no_schema_that_it_does_not_know() {
    let Some(database) = Database::empty() else { return };
    let settings = database.settings();
    let change = || run(Writer::new(&settings).change("nothing", async |_| Ok(()))).map(|_| ());
    assert_eq!(change(), Err(EngineError::NoSchema));
    run(async { init(&database.session().await).await }).unwrap();
    let (older, newer) = (SCHEMA_VERSION - 1, SCHEMA_VERSION + 1);
    database.batch(&format!("UPDATE letmein.head SET schema_version = {older}, min_reader = {older}"));
    assert_eq!(change(), Err(EngineError::TooOld { version: older }));
    database.batch(&format!("UPDATE letmein.head SET schema_version = {newer}, min_reader = {newer}"));
    assert_eq!(change(), Err(EngineError::TooNew { version: newer, min_reader: newer }));
    database.batch(&format!("UPDATE letmein.head SET min_reader = {older}"));
    assert_eq!(change(), Ok(()));
}

#[test]
fn a_writer_that_has_lost_its_connection_takes_another() {
    let Some(database) = Database::new() else { return };
    let settings = database.settings();
    run(async {
        let mut writer = Writer::new(&settings);
        let backend = async |session: &Session| {
            session.row("SELECT pg_backend_pid()", &[]).await.map(|row| row.get::<_, i32>(0))
        };
        let first = writer.change("first", backend).await.unwrap();
        let second = writer.change("second", backend).await.unwrap();
        assert_eq!(first.value, second.value, "one connection serves many changes");
        let sql = format!("SELECT pg_terminate_backend({}, 10000)", first.value);
        database.session().await.batch(&sql).await.unwrap();
        let third = writer.change("third", backend).await.unwrap();
        assert_ne!(first.value, third.value);
        assert_eq!([first, second, third].map(|changed| changed.revision), [1, 2, 3]);
    });
}

#[test]
fn a_change_in_which_something_failed_is_not_made() {
    let Some(database) = Database::new() else { return };
    let settings = database.settings();
    let refused = run(Writer::new(&settings).change("add alice", async |session| {
        session.batch(ALICE).await?;
        let _ = session.batch("SELECT 1/0").await;
        Ok(())
    }));
    assert!(matches!(refused, Err(EngineError::Refused { code, .. }) if code == "22012"));
    assert_eq!(database.query(CHANGES), "");
    assert_eq!(database.query(USERS), "");
}

#[test]
fn a_change_that_is_undone_time_and_again_is_given_up() {
    let Some(database) = Database::new() else { return };
    let (settings, runs) = (database.settings(), Cell::new(0));
    let given_up = run(Writer::new(&settings).change("add alice", async |session| {
        runs.set(runs.get() + 1);
        session.batch("DO $$ BEGIN RAISE 'again' USING ERRCODE = '40001'; END $$").await
    }));
    assert!(matches!(given_up, Err(EngineError::Refused { code, .. }) if code == "40001"));
    assert_eq!(runs.get(), 6);
}

#[test]
fn a_change_does_not_wait_in_the_database_for_longer_than_its_writer() {
    let Some(database) = Database::new() else { return };
    let settings = database.settings();
    run(async {
        let holder = database.session().await;
        holder.batch("BEGIN; SELECT FROM letmein.head FOR UPDATE").await.unwrap();
        let mut writer = Writer::new(&settings);
        let changed = writer.change("wait", async |_| Ok(())).await;
        assert!(matches!(&changed, Err(EngineError::Refused { code, .. }) if code == "55P03"), "{changed:?}");
        holder.batch("ROLLBACK").await.unwrap();
        let limit = "SELECT current_setting('statement_timeout')";
        let limit = writer.change("look", async |session| session.row(limit, &[]).await).await.unwrap();
        assert_eq!(limit.value.get::<_, &str>(0), "4500ms");
    });
}

#[test]
fn a_writer_says_that_it_does_not_know_whether_a_change_was_made() {
    let Some(database) = Database::new() else { return };
    let proxy = Proxy::before(database.postgres.folder(), Cut::BeforeAnswer);
    let settings = database.settings_at(&proxy.folder());
    let unsettled = run(Writer::new(&settings).change("add alice", async |session| {
        fs::remove_file(proxy.folder().join(SOCKET)).unwrap();
        session.batch(ALICE).await
    }));
    let Err(EngineError::Unsettled(_, stamp)) = unsettled else { panic!("{unsettled:?}") };
    let made = database.query(&format!("SELECT ARRAY[what] FROM letmein.changes WHERE stamp = '{stamp}'"));
    assert_eq!(made, "add alice");
}

#[test]
fn a_database_that_does_not_answer_is_not_waited_for() {
    let folder = TempDir::new().unwrap();
    let _silent = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
    let settings = load(&format!("host={} user=alice", folder.path().display())).unwrap();
    let given_up =
        run(Writer::new(&settings).change("add alice", async |session| session.batch(ALICE).await));
    assert_eq!(given_up, Err(EngineError::ConnectTimedOut));
}

#[test]
fn a_change_that_is_decided_against_leaves_nothing_behind() {
    let Some(database) = Database::new() else { return };
    let settings = database.settings();
    let mut writer = Writer::new(&settings);
    run(async {
        let refused = writer.decide("add alice", async |session| {
            session.batch(ALICE).await?;
            Ok(Err::<(), _>("no"))
        });
        assert_eq!(refused.await, Ok(Err("no")));
        let made = writer.decide("add alice", async |session| {
            session.batch(ALICE).await?;
            Ok(Ok::<_, &str>("yes"))
        });
        assert_eq!(made.await, Ok(Ok(Changed { revision: 1, value: "yes" })));
    });
    assert_eq!(database.query(CHANGES), "1 add alice");
}

//! The database, or letmein-sync, ends or hangs at any moment.

use std::fs::{self, FileTimes, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use letmein_auth_engine::{Settings, Type, Writer};
use users::synced::{BASE_NAME, LOG_NAME};

use crate::contents::add_users;
use crate::node::{Node, eventually};
use crate::postgres::{Database, run};
use crate::proxy::{Proxy, Stop, Way};

/// Halfway through all users, and through what has changed; and where nothing has changed.
pub(crate) const LOAD: Stop = Stop { request: "opaque, disabled", bytes: 100_000 };
const BATCH: Stop = Stop { request: "letmein.removed", bytes: 100_000 };
const POLL: Stop = Stop { request: "pg_is_in_recovery", bytes: 0 };

#[test]
fn nothing_is_missing_after_the_database_is_killed_in_a_load_a_poll_or_a_batch() {
    let Some(database) = Database::alone(|_| Vec::new()) else { return };
    add_users(&database, "first", 10_000);
    let proxy = Proxy::before(database.postgres.folder());
    let node = Node::at(&database, &proxy.folder().display().to_string());
    let mut sync = None;
    let change = || {
        add_users(&database, "second", 10_000);
        database.batch("DELETE FROM letmein.users WHERE name = 'first1'");
    };
    for (stop, meanwhile) in [(LOAD, None), (POLL, None), (BATCH, Some(&change))] {
        let stopped = proxy.stop_at(stop);
        sync.get_or_insert_with(|| node.start());
        meanwhile.into_iter().for_each(|change| change());
        stopped.recv().unwrap();
        let before = node.users();
        database.postgres.kill();
        proxy.reset();
        database.postgres.start_again();
        node.equals(&database);
        let (revision, users) = node.users().unwrap();
        if let Some((before, _)) = before {
            assert!(before.revision <= revision.revision, "{stop:?}");
        }
        assert!(users.len() >= 10_000, "{stop:?}");
    }
    let mut sync = sync.unwrap();
    sync.has_loaded(1);
}

#[test]
fn the_users_stay_and_get_older_while_the_database_hangs_and_are_followed_after_it() {
    let Some(database) = Database::alone(|_| Vec::new()) else { return };
    add_users(&database, "user", 10);
    let node = Node::of(&database);
    let mut sync = node.start_by(node.program(), &["--stale-after", "1s"]);
    sync.is_healthy(200, "ok");
    database.postgres.freeze();
    let before = node.files();
    sync.is_healthy(503, "s old");
    sync.until("the database did not answer within 5 s");
    sync.is_healthy(503, "s old");
    assert_eq!(node.files(), before);
    database.postgres.thaw();
    sync.is_healthy(200, "ok");
    database.batch("DELETE FROM letmein.users WHERE name = 'user1'");
    node.equals(&database);
    sync.has_loaded(1);
}

#[test]
fn a_restart_of_letmein_sync_beside_a_database_that_is_away_keeps_the_users() {
    let Some(database) = Database::alone(|_| Vec::new()) else { return };
    add_users(&database, "user", 10);
    let node = Node::of(&database);
    let mut sync = node.start();
    node.equals(&database);
    // The files are there a moment before the users are confirmed.
    sync.is_healthy(200, "ok");
    sync.kill();
    database.postgres.kill();
    let before = node.files();
    let mut sync = node.start();
    sync.until("no connection to the database");
    sync.is_healthy(200, "ok: the users are");
    assert_eq!(node.files(), before);
    database.postgres.start_again();
    sync.is_healthy(200, "ok");
    sync.has_loaded(0);
}

#[test]
fn files_that_something_else_changes_or_removes_are_made_whole_while_it_runs() {
    let Some((database, node, mut sync)) = Node::followed("user", 10) else { return };
    database.batch("DELETE FROM letmein.users WHERE name = 'user1'");
    node.equals(&database);
    let path = |name: &str| node.folder().join(name);
    let change = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path(name)).unwrap();
        change(&mut bytes);
        fs::write(path(name), bytes).unwrap();
        // It may have been confirmed within the same tick of the clock of files.
        let file = OpenOptions::new().write(true).open(path(name)).unwrap();
        file.set_times(FileTimes::new().set_modified(UNIX_EPOCH)).unwrap();
    };
    // What is changed in the moment in which the program confirms the users is seen as its own.
    let time_of_log = || fs::metadata(path(LOG_NAME)).unwrap().modified().unwrap();
    let between_rounds = || {
        let before = time_of_log();
        eventually("the users are confirmed again", || time_of_log() != before);
        let confirmed = Instant::now();
        eventually("it waits for the next round", || confirmed.elapsed() > Duration::from_millis(200));
    };
    let damages: [(&dyn Fn(), usize); 6] = [
        // Of the log, what is damaged comes again.
        (&|| change(LOG_NAME, &|log| *log.last_mut().unwrap() ^= 1), 1),
        (&|| change(LOG_NAME, &|log| log.push(b'R')), 1),
        (&|| fs::remove_file(path(BASE_NAME)).unwrap(), 2),
        (&|| fs::write(path(BASE_NAME), "no base").unwrap(), 3),
        // The base is left, and what has changed since comes again.
        (&|| fs::remove_file(path(LOG_NAME)).unwrap(), 3),
        (&|| fs::write(path(LOG_NAME), "").unwrap(), 3),
    ];
    for (damage, loads) in damages {
        between_rounds();
        damage();
        sync.until("something else has changed the files of the users");
        node.equals(&database);
        // The log of the base before belongs to this one as well, for a moment.
        sync.has_loaded(loads);
    }
    sync.is_healthy(200, "ok");
}

/// The times of the file do not tell.
#[test]
fn a_base_that_turns_out_to_be_damaged_is_loaded_from_the_database_again() {
    let Some((database, node, mut sync)) = Node::followed("user", 100) else { return };
    let path = node.folder().join(BASE_NAME);
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    // So that it does not look in between.
    sync.freeze();
    (&file).write_all(&bytes).unwrap();
    file.set_times(FileTimes::new().set_modified(before)).unwrap();
    sync.thaw();
    add_users(&database, "more", 65_537);
    sync.until("users.base is damaged");
    node.equals(&database);
    sync.has_loaded(2);
}

/// Adds, changes and removes users until it is told to end.
fn write(settings: &Settings, ended: &AtomicBool) {
    let mut writer = Writer::new(settings);
    let mut number = 0;
    while !ended.load(Ordering::Acquire) {
        let name = format!("user{}", number % 50);
        let sql = match number % 3 {
            0 => "DELETE FROM letmein.users WHERE name = $1",
            1 => {
                "INSERT INTO letmein.users (name, password) VALUES ($1, 'first') \
                 ON CONFLICT (name) DO UPDATE SET disabled = NOT users.disabled"
            }
            _ => "UPDATE letmein.users SET password = 'p' || head.revision FROM letmein.head WHERE name = $1",
        };
        run(writer.change("write", async |session| session.rows(sql, &[(&name, Type::TEXT)]).await)).unwrap();
        number += 1;
    }
}

#[test]
fn letmein_sync_may_be_killed_at_any_moment() {
    let Some(database) = Database::new() else { return };
    add_users(&database, "other", 5000);
    let node = Node::of(&database);
    let (settings, ended) = (database.settings(), AtomicBool::new(false));
    thread::scope(|scope| {
        let writing = scope.spawn(|| write(&settings, &ended));
        let mut newest = 0;
        for round in 0..25 {
            let mut sync = node.start();
            // From its first system calls to its second poll.
            sync.run_for(Duration::from_millis(round * round * 2));
            sync.kill();
            if let Some((position, users)) = node.users() {
                assert!(position.revision >= newest, "{} after {newest}", position.revision);
                assert!(users.len() >= 5000, "{}", users.len());
                newest = position.revision;
            }
        }
        ended.store(true, Ordering::Release);
        writing.join().unwrap();
    });
    let sync = node.start();
    node.equals(&database);
    drop(sync);
    let files: Vec<_> = node.files().into_keys().collect();
    assert_eq!(files, ["users.base", "users.log"], "nothing is left behind");
}

/// The end of a connection is that of its session: nothing is left open on either side.
#[test]
fn no_connections_pile_up_while_the_database_hangs_now_and_then() {
    let Some(database) = Database::new() else { return };
    add_users(&database, "user", 10);
    let proxy = Proxy::before(database.postgres.folder());
    let node = Node::at(&database, &proxy.folder().display().to_string());
    let mut sync = node.start();
    sync.is_healthy(200, "ok");
    let process = sync.process().as_raw_nonzero();
    let sockets = || {
        let links = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
        let links = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    };
    let before = sockets();
    proxy.set(Way::Dropped);
    sync.until("the database did not answer within 5 s");
    proxy.set(Way::Open);
    sync.until("no failure any more");
    eventually("only the connection in use is open", || sockets() <= before);
}

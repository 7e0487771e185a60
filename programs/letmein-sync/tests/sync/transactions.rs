//! Large transactions, and many of them at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use letmein_auth_engine::{Settings, Type, Writer};
use users::synced::{BASE_NAME, LOG_NAME};

use crate::contents::add_users;
use crate::crashes::LOAD;
use crate::node::{LOADED, Node, eventually, len};
use crate::postgres::{Database, run};
use crate::proxy::Proxy;

#[test]
fn a_transaction_of_100_000_users_is_taken_whole_and_becomes_a_new_base() {
    let Some((database, node, mut sync)) = Node::followed("user", 0) else { return };
    let base = len(&node.folder().join(BASE_NAME));
    add_users(&database, "user", 100_000);
    sync.until("revision 1: 100000 users changed");
    sync.until("one file again: 100000 users");
    node.equals(&database);
    assert!(len(&node.folder().join(BASE_NAME)) > base + 1_000_000);
    assert!(len(&node.folder().join(LOG_NAME)) < 100);
    database.batch("DELETE FROM letmein.users WHERE name LIKE 'user7%' AND name <> 'user77'");
    node.equals(&database);
    sync.has_loaded(1);
}

#[test]
fn rows_that_have_changed_become_a_new_base_once_they_are_more_than_65_536() {
    let Some((database, node, mut sync)) = Node::followed("user", 100) else { return };
    let base = node.files()[BASE_NAME].clone();
    add_users(&database, "more", 65_536);
    node.equals(&database);
    assert_eq!(node.files()[BASE_NAME], base);
    database.batch("DELETE FROM letmein.users WHERE name = 'user1'");
    sync.until("one file again: 65635 users");
    node.equals(&database);
    assert!(len(&node.folder().join(LOG_NAME)) < 100);
}

/// Users who stop coming halfway stand for millions of them.
#[test]
fn while_a_load_takes_long_it_answers_and_can_be_stopped_and_loses_nothing() {
    let Some(database) = Database::new() else { return };
    add_users(&database, "user", 10_000);
    let proxy = Proxy::before(database.postgres.folder());
    let node = Node::at(&database, &proxy.folder().display().to_string());
    let mut sync = node.start();
    sync.is_healthy(200, "ok");
    assert_eq!(sync.stop(), 0);
    let before = node.files();
    database.batch("DELETE FROM letmein.changes; UPDATE letmein.head SET stamp = gen_random_uuid()");
    let stopped = proxy.stop_at(LOAD);
    let mut sync = node.start();
    stopped.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(sync.get("/healthz").0, 200);
    assert_eq!(sync.metric("letmein_sync_loads_total"), 0);
    sync.hang_up();
    assert_eq!(sync.stop(), 0);
    proxy.reset();
    let after = node.files();
    assert!(before.iter().all(|(name, bytes)| after[name] == *bytes), "base and log are as they were");
    let mut sync = node.start();
    node.equals(&database);
    sync.has_loaded(1);
}

#[test]
fn truncate_is_refused_and_changes_no_node() {
    let Some((database, node, mut sync)) = Node::followed("user", 10) else { return };
    assert!(database.refusal("TRUNCATE letmein.users").contains("use DELETE"));
    database.batch("DELETE FROM letmein.users WHERE name = 'user1'");
    node.equals(&database);
    assert_eq!((node.users().unwrap().1.len(), sync.count(LOADED)), (9, 1));
}

/// Random, and the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Changes users at random until told to end; each change that is acknowledged raises `newest`.
fn write(settings: &Settings, seed: u64, newest: &AtomicU64, ended: &AtomicBool) {
    let mut random = Random(seed);
    let mut writer = Writer::new(settings);
    while !ended.load(Ordering::Acquire) {
        let (first, second) = (format!("user{}", random.below(40)), format!("user{}", random.below(40)));
        let sql = match random.below(5) {
            0 => "DELETE FROM letmein.users WHERE name IN ($1, $2)",
            1 => {
                "UPDATE letmein.users SET name = $2 \
                 WHERE name = $1 AND NOT EXISTS (SELECT FROM letmein.users WHERE name = $2)"
            }
            2 => {
                "UPDATE letmein.users SET disabled = NOT disabled, networks = '{::1}' WHERE name >= $1 AND name < $2"
            }
            _ => {
                "INSERT INTO letmein.users (name, password) VALUES ($1, $2) \
                 ON CONFLICT (name) DO UPDATE SET password = excluded.password || users.revision"
            }
        };
        let changed = run(writer.change("write", async |session| {
            session.rows(sql, &[(&first, Type::TEXT), (&second, Type::TEXT)]).await
        }));
        // Longer than a writer waits: then it is not acknowledged.
        if let Ok(changed) = changed {
            newest.fetch_max(changed.revision.cast_unsigned(), Ordering::AcqRel);
        }
    }
}

#[test]
fn no_acknowledged_change_is_missing_whatever_is_killed() {
    const WRITERS: u64 = 3;
    let Some(database) = Database::alone(|_| Vec::new()) else { return };
    add_users(&database, "user", 40);
    let node = Node::of(&database);
    let (settings, newest, ended) = (database.settings(), AtomicU64::new(0), AtomicBool::new(false));
    let last_change = thread::scope(|scope| {
        let (settings, newest, ended) = (&settings, &newest, &ended);
        let writers: Vec<_> =
            (0..WRITERS).map(|seed| scope.spawn(move || write(settings, seed, newest, ended))).collect();
        let mut random = Random(7);
        let mut sync = node.start();
        for _ in 0..12 {
            sync.run_for(Duration::from_millis(random.below(700)));
            match random.below(3) {
                0 => database.postgres.kill_and_start(),
                1 => {
                    sync.kill();
                    sync = node.start();
                }
                _ => {
                    sync.kill();
                    database.postgres.kill_and_start();
                    sync = node.start();
                }
            }
        }
        // It and the writers have found the database again.
        let after_kills = newest.load(Ordering::Acquire);
        eventually("there are changes after the last kill", || {
            node.users().is_some_and(|(position, _)| position.revision.cast_unsigned() > after_kills)
        });
        ended.store(true, Ordering::Release);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let last_change = Instant::now();
        eventually("all acknowledged changes are there", || {
            node.users().is_some_and(|(position, _)| {
                position.revision.cast_unsigned() >= newest.load(Ordering::Acquire)
            })
        });
        let time = last_change.elapsed();
        node.equals(&database);
        assert_eq!(sync.count("rows that are no users"), 0);
        time
    });
    assert!(last_change < Duration::from_secs(5), "{last_change:?}");
    assert!(newest.into_inner() > 20);
}

//! Writers at random, and a schedule of faults: no change that was acknowledged is missing at any node.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use letmein_auth_engine::{Settings, Type, Writer};

use crate::contents::add_users;
use crate::node::{Node, eventually};
use crate::postgres::{Database, run};

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

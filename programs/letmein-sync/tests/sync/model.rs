//! Writers at random, and a schedule of faults: no change that was acknowledged is missing at any node.
//! `LETMEIN_FAULTS` is the number of faults.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use letmein_auth_engine::{EngineError, Settings, Type, Writer};

use crate::contents::{add_users, of_database};
use crate::node::{Node, Sync, eventually};
use crate::postgres::{Database, STANDBY, load, run};
use crate::proxy::{Proxy, Way};

const WRITERS: u64 = 3;
/// Users whom they change.
const USERS: u64 = 40;

/// Random, and the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// How long something stops: seldom longer than anybody waits for an answer.
    fn pause(&mut self) -> Duration {
        Duration::from_millis(if self.below(6) == 0 { 5500 } else { self.below(700) })
    }
}

/// The changes that were acknowledged, by revision: what each says that it is.
#[derive(Default)]
struct Acknowledged(Mutex<BTreeMap<i64, String>>);

impl Acknowledged {
    fn newest(&self) -> i64 {
        self.0.lock().unwrap().last_key_value().map_or(0, |(revision, _)| *revision)
    }
}

/// Changes users at random until told to end.
fn write(settings: &Settings, seed: u64, acknowledged: &Acknowledged, ended: &AtomicBool) {
    let mut random = Random(seed);
    let mut writer = Writer::new(settings);
    for number in 0.. {
        if ended.load(Ordering::Acquire) {
            break;
        }
        let [first, second] = [(); 2].map(|()| format!("user{}", random.below(USERS)));
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
        let what = format!("{seed}-{number}");
        let changed = run(writer.change(&what, async |session| {
            session.rows(sql, &[(&first, Type::TEXT), (&second, Type::TEXT)]).await
        }));
        match changed {
            Ok(changed) => {
                let other = acknowledged.0.lock().unwrap().insert(changed.revision, what);
                assert_eq!(other, None, "two changes have the revision {}", changed.revision);
            }
            Err(error) => assert!(is_of_a_fault(&error), "{error}"),
        }
    }
}

/// Whether a change may fail so when databases end or hang: then it is not acknowledged.
fn is_of_a_fault(error: &EngineError) -> bool {
    let is_slow = |code: &str| ["55P03", "57014"].contains(&code);
    matches!(
        error,
        EngineError::Unreachable(_)
            | EngineError::ConnectTimedOut
            | EngineError::TimedOut(_)
            | EngineError::Unsettled(..)
    ) || matches!(error, EngineError::Refused { code, .. } if is_slow(code))
}

/// Ends the writers, also on a panic.
struct End<'e>(&'e AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs writers while something happens, and gives the changes that were acknowledged.
fn written_beside(settings: &Settings, happens: impl FnOnce(&Acknowledged)) -> Acknowledged {
    let (acknowledged, ended) = (Acknowledged::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        let (acknowledged, ended) = (&acknowledged, &ended);
        let _end = End(ended);
        (0..WRITERS).for_each(|seed| drop(scope.spawn(move || write(settings, seed, acknowledged, ended))));
        happens(acknowledged);
    });
    acknowledged
}

/// Waits until writers and nodes have found the database again: there are changes beyond all that it has now.
fn go_on(nodes: &[&Node], database: &Database, acknowledged: &Acknowledged) {
    let (position, _) = of_database(database);
    let revision = position.revision;
    eventually("changes are acknowledged after the last fault", || acknowledged.newest() > revision);
    eventually("nodes have changes after the last fault", || {
        nodes.iter().all(|node| is_beyond(node, revision))
    });
}

fn is_beyond(node: &Node, revision: i64) -> bool {
    node.users().is_some_and(|(position, _)| position.revision > revision)
}

/// Nothing is missing: not in the database, and after five seconds not at the nodes.
fn have_all(nodes: &[&Node], database: &Database, acknowledged: Acknowledged) {
    let (ended, newest) = (Instant::now(), acknowledged.newest());
    eventually("all changes are there", || nodes.iter().all(|node| is_beyond(node, newest - 1)));
    let time = ended.elapsed();
    assert!(time < Duration::from_secs(5), "{time:?}");
    nodes.iter().for_each(|node| node.equals(database));
    let acknowledged = acknowledged.0.into_inner().unwrap();
    let made = database.query("SELECT ARRAY[revision::text, what] FROM letmein.changes");
    let made: BTreeSet<_> = made.split(", ").map(str::to_owned).collect();
    let lost = acknowledged.iter().map(|(revision, what)| format!("{revision} {what}"));
    assert_eq!(lost.filter(|change| !made.contains(change)).collect::<Vec<_>>(), Vec::<String>::new());
    assert!(acknowledged.len() > 20, "{} changes", acknowledged.len());
}

fn faults() -> u64 {
    env::var("LETMEIN_FAULTS").map_or(12, |faults| faults.parse().unwrap())
}

#[test]
fn no_acknowledged_change_is_missing_whatever_is_killed() {
    let Some(database) = Database::alone(|_| Vec::new()) else { return };
    add_users(&database, "user", USERS as usize);
    let node = Node::of(&database);
    let mut random = Random(7);
    let mut sync = node.start();
    let acknowledged = written_beside(&database.settings(), |acknowledged| {
        for _ in 0..faults() {
            sync.run_for(Duration::from_millis(random.below(700)));
            match random.below(3) {
                0 => database.postgres.kill_and_start(),
                1 => sync.kill_and_start(&node),
                _ => {
                    sync.end_by_kill();
                    database.postgres.kill_and_start();
                    sync = node.start();
                }
            }
        }
        go_on(&[&node], &database, acknowledged);
    });
    have_all(&[&node], &database, acknowledged);
    assert_eq!(sync.count("rows that are no users"), 0);
}

/// Two engines that stand in for each other: what one acknowledges, the other has.
struct Engines {
    both: [Database; 2],
    /// Which of them changes users.
    primary: usize,
}

impl Engines {
    fn new() -> Option<Self> {
        let first = Database::alone(|_| Vec::new())?;
        add_users(&first, "user", USERS as usize);
        first.batch("ALTER SYSTEM SET wal_retrieve_retry_interval = '100ms'");
        // The role of the nodes is made before the standby is.
        drop(Node::of(&first));
        let second = first.copy(&STANDBY);
        first.be_synchronous();
        Some(Self { both: [first, second], primary: 0 })
    }

    fn primary(&self) -> &Database {
        &self.both[self.primary]
    }

    fn standby(&self) -> &Database {
        &self.both[1 - self.primary]
    }

    /// How writers find the one that changes users.
    fn settings(&self) -> Settings {
        let [first, second] = self.both.each_ref().map(|engine| engine.postgres.folder().display());
        let name = &self.primary().name;
        let text =
            format!("host={first},{second} user=postgres dbname={name} target_session_attrs=read-write");
        load(&text).unwrap()
    }

    /// The primary is lost, the standby takes its place, and the other one comes back as a standby.
    fn fail_over(&mut self) {
        // After a crash it has what nobody has waited for.
        let primary = self.primary();
        primary.be_synchronous();
        primary.batch("SELECT pg_logical_emit_message(true, '', '')");
        primary.postgres.kill();
        self.standby().batch("SELECT pg_promote(false)");
        self.standby().wait_until("SELECT ARRAY[pg_is_in_recovery()::text]", "false");
        self.primary = 1 - self.primary;
        self.standby().postgres.start_as_standby_of(&self.primary().postgres);
        self.primary().be_synchronous();
    }
}

/// A node with its own ways to both engines.
struct Site {
    node: Node,
    sync: Sync,
    ways: [Proxy; 2],
}

impl Site {
    fn new(engines: &Engines) -> Self {
        let ways = engines.both.each_ref().map(|engine| Proxy::before(engine.postgres.folder()));
        let hosts = ways.each_ref().map(|way| way.folder().display().to_string());
        let node = Node::at(engines.primary(), &hosts.join(","));
        Self { sync: node.start(), node, ways }
    }

    fn set(&self, way: Way) {
        self.ways.iter().for_each(|proxy| proxy.set(way));
    }
}

/// Something stops for a while, or ends and begins again.
fn fault(number: u64, pause: Duration, engines: &mut Engines, site: &mut Site) {
    // All seven in turn; of 21 faults, each at each site.
    match number * 3 % 7 {
        0 => site.sync.kill_and_start(&site.node),
        1 => {
            site.sync.freeze();
            site.sync.run_for(pause);
            site.sync.thaw();
        }
        2 => {
            site.set(Way::Dropped);
            site.sync.run_for(pause);
            site.set(Way::Rejected);
            site.sync.run_for(pause);
            site.set(Way::Open);
        }
        3 => engines.primary().postgres.kill_and_start(),
        4 => {
            engines.primary().postgres.freeze();
            site.sync.run_for(pause);
            engines.primary().postgres.thaw();
        }
        5 => {
            engines.standby().postgres.freeze();
            site.sync.run_for(pause);
            engines.standby().postgres.thaw();
        }
        _ => engines.fail_over(),
    }
}

#[test]
fn no_acknowledged_change_is_missing_at_three_nodes_after_faults_of_nodes_and_of_two_engines() {
    let Some(mut engines) = Engines::new() else { return };
    let mut sites = [(); 3].map(|()| Site::new(&engines));
    let mut random = Random(11);
    let acknowledged = written_beside(&engines.settings(), |acknowledged| {
        for number in 0..faults() {
            let site = &mut sites[(number % 3) as usize];
            site.sync.run_for(Duration::from_millis(random.below(700)));
            fault(number, random.pause(), &mut engines, site);
        }
        go_on(&sites.each_ref().map(|site| &site.node), engines.primary(), acknowledged);
    });
    have_all(&sites.each_ref().map(|site| &site.node), engines.primary(), acknowledged);
    for site in &mut sites {
        assert_eq!(site.sync.count("rows that are no users"), 0);
    }
}

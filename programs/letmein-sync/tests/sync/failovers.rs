//! A primary, its standby, and backups: letmein-sync goes back in history only if the database does.

use crate::contents::{add_users, of_database};
use crate::node::{Node, Sync, eventually};
use crate::postgres::{Database, STANDBY};

/// What says that the host in use is behind.
const BEHIND: &str = "behind the users of this node";

/// A primary with ten users, its standby, and a node that knows both and follows the primary.
struct Pair {
    primary: Database,
    standby: Database,
    node: Node,
    sync: Sync,
}

impl Pair {
    fn new() -> Option<Self> {
        let primary = Database::alone(|_| Vec::new())?;
        add_users(&primary, "user", 10);
        // The role of the node is made before the standby is, which makes none.
        let standby_hosts = Node::of(&primary);
        drop(standby_hosts);
        let standby = primary.copy(&STANDBY);
        let node = Node::at(&primary, &hosts(&primary, &standby));
        let mut sync = node.start();
        node.equals(&primary);
        sync.is_healthy(200, "ok");
        Some(Self { primary, standby, node, sync })
    }

    /// Removes a user, and waits until the node knows.
    fn change(&self, name: &str) {
        self.primary.batch(&format!("DELETE FROM letmein.users WHERE name = '{name}'"));
        self.node.equals(&self.primary);
    }

    /// Waits until the standby has all that the primary has.
    fn catch_up(&self) {
        let newest = of_database(&self.primary);
        eventually("the standby has caught up", || of_database(&self.standby) == newest);
    }

    /// The standby hears no more of the primary.
    fn part(&self) {
        self.standby.batch("ALTER SYSTEM SET primary_conninfo = ''");
        self.standby.batch("SELECT pg_reload_conf()");
        let receivers = "SELECT ARRAY[count(*)::text] FROM pg_stat_wal_receiver";
        eventually("the standby is alone", || self.standby.query(receivers) == "0");
    }

    fn promote(&self) {
        self.standby.batch("SELECT pg_promote()");
    }
}

fn hosts(first: &Database, second: &Database) -> String {
    format!("{},{}", first.postgres.folder().display(), second.postgres.folder().display())
}

#[test]
fn a_failover_without_loss_is_followed_without_loading_again() {
    let Some(mut pair) = Pair::new() else { return };
    pair.change("user1");
    pair.catch_up();
    pair.primary.postgres.kill();
    pair.sync.until("no failure any more");
    pair.promote();
    pair.standby.batch("DELETE FROM letmein.users WHERE name = 'user2'");
    pair.node.equals(&pair.standby);
    pair.sync.has_loaded(1);
}

#[test]
fn a_failover_that_lost_transactions_is_seen_and_the_users_are_loaded_again() {
    let Some(mut pair) = Pair::new() else { return };
    pair.change("user1");
    pair.catch_up();
    pair.part();
    // Neither reaches the standby.
    pair.change("user2");
    pair.change("user3");
    let before = pair.node.users();
    pair.primary.postgres.kill();
    pair.sync.until(BEHIND);
    assert_eq!(pair.node.users(), before, "a standby that is behind takes nothing back");
    pair.promote();
    pair.node.equals(&pair.standby);
    // As many transactions as were lost, and others.
    pair.standby.batch("UPDATE letmein.users SET password = 'other' WHERE name = 'user2'");
    pair.standby.batch("UPDATE letmein.users SET password = 'other' WHERE name = 'user3'");
    pair.node.equals(&pair.standby);
    pair.sync.has_loaded(2);
}

/// The revisions are the same ones then, and only their stamps tell.
#[test]
fn a_failover_that_lost_transactions_is_seen_after_as_many_others() {
    let Some(mut pair) = Pair::new() else { return };
    pair.catch_up();
    pair.part();
    pair.change("user1");
    pair.change("user2");
    pair.primary.postgres.kill();
    pair.sync.until(BEHIND);
    // The node is not there when it happens.
    let Pair { primary, standby, node, sync } = pair;
    assert_eq!(sync.stop(), 0);
    standby.batch("SELECT pg_promote()");
    for number in 3..6 {
        standby.batch(&format!("DELETE FROM letmein.users WHERE name = 'user{number}'"));
    }
    let mut sync = node.start();
    node.equals(&standby);
    sync.has_loaded(1);
    drop(primary);
}

#[test]
fn a_standby_that_lags_takes_nothing_back_and_the_primary_is_followed_once_it_is_there_again() {
    let Some(mut pair) = Pair::new() else { return };
    pair.catch_up();
    pair.standby.batch("SELECT pg_wal_replay_pause()");
    pair.change("user1");
    let before = pair.node.users();
    pair.primary.postgres.kill();
    pair.sync.until(BEHIND);
    assert_eq!(pair.node.users(), before);
    pair.primary.postgres.start_again();
    pair.sync.until("no failure any more");
    pair.change("user2");
    pair.sync.has_loaded(1);
}

#[test]
fn a_standby_alone_is_followed_and_its_lag_with_it() {
    let Some(mut pair) = Pair::new() else { return };
    pair.sync.has_loaded(1);
    let node = Node::at(&pair.primary, &pair.standby.postgres.folder().display().to_string());
    let mut sync = node.start();
    pair.catch_up();
    node.equals(&pair.standby);
    pair.change("user1");
    node.equals(&pair.primary);
    sync.has_loaded(1);
    assert_eq!(sync.count("WARN"), 0, "that it cannot say how far it is is no failure: {}", sync.log());
}

#[test]
fn an_older_backup_that_is_restored_is_taken_as_it_is() {
    let Some(primary) = Database::alone(|_| Vec::new()) else { return };
    add_users(&primary, "user", 10);
    drop(Node::of(&primary));
    let backup = primary.copy(&[]);
    let node = Node::at(&primary, &hosts(&primary, &backup));
    let mut sync = node.start();
    node.equals(&primary);
    primary.batch("DELETE FROM letmein.users WHERE name = 'user1'");
    primary.batch("INSERT INTO letmein.users (name, password) VALUES ('late', 'p')");
    node.equals(&primary);
    primary.postgres.kill();
    node.equals(&backup);
    backup.batch("DELETE FROM letmein.users WHERE name = 'user2'");
    node.equals(&backup);
    sync.has_loaded(2);
}

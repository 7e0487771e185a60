//! Large transactions.

use std::time::Duration;

use users::synced::{BASE_NAME, LOG_NAME};

use crate::contents::add_users;
use crate::crashes::LOAD;
use crate::node::{LOADED, Node, len};
use crate::postgres::Database;
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

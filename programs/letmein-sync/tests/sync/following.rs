//! In fair weather: load, follow, restart, compare.

use std::fs;

use users::synced::{BASE_NAME, NODES_NAME};

use crate::contents::add_users;
use crate::node::{LOADED, Node};
use crate::postgres::Database;

const USERS: &str = "INSERT INTO letmein.users (name, password, disabled, expires, networks) VALUES
    ('alice', 'hers', false, NULL, NULL), ('bob', 'his', true, '2027-01-31', NULL),
    ('carol', 'hers, too', false, '1970-01-01', '{10.0.0.0/8,::1,2001:db8::/32}');
    INSERT INTO letmein.users (name, opaque) VALUES
    ('dave', '$opaque-3dh$v=1$none$1f2e3d4c5b6a7988$' || repeat('A', 256))";

#[test]
fn users_are_loaded_once_and_then_followed_whatever_is_done_to_them() {
    let Some(database) = Database::new() else { return };
    database.batch(USERS);
    let node = Node::of(&database);
    let mut sync = node.start();
    node.equals(&database);
    for sql in [
        "INSERT INTO letmein.users (name, password) VALUES ('erin', 'hers')",
        "UPDATE letmein.users SET password = 'new' WHERE name = 'alice'",
        "UPDATE letmein.users SET networks = NULL, expires = NULL, disabled = true WHERE name = 'carol'",
        "DELETE FROM letmein.users WHERE name = 'bob'",
        "UPDATE letmein.users SET name = 'david', opaque = NULL, password = 'his' WHERE name = 'dave'",
        "UPDATE letmein.users SET password = 'none' WHERE name = 'nobody'",
        "BEGIN; DELETE FROM letmein.users; INSERT INTO letmein.users (name, password) VALUES ('bob', 'again'); COMMIT",
        "INSERT INTO letmein.users (name, password) VALUES ('bob', 'b') ON CONFLICT (name) DO UPDATE SET password = 'c'",
    ] {
        database.batch(sql);
        node.equals(&database);
    }
    // A user who comes and goes between two questions.
    database.batch("INSERT INTO letmein.users (name, password) VALUES ('frank', 'his')");
    database.batch("DELETE FROM letmein.users WHERE name = 'frank'");
    node.equals(&database);
    sync.has_loaded(1);
    assert_eq!(sync.stop(), 0);
}

#[test]
fn a_restart_goes_on_with_the_files_that_are_there() {
    let Some(database) = Database::new() else { return };
    database.batch(USERS);
    let node = Node::of(&database);
    let sync = node.start();
    node.equals(&database);
    database.batch("DELETE FROM letmein.users WHERE name = 'bob'");
    node.equals(&database);
    assert_eq!(sync.stop(), 0);

    let before = node.files();
    let mut sync = node.start();
    sync.is_healthy(200, "ok");
    assert_eq!(node.files(), before);
    assert_eq!(sync.stop(), 0);

    database.batch("UPDATE letmein.users SET disabled = false");
    let mut sync = node.start();
    node.equals(&database);
    sync.is_healthy(200, "ok");
    assert_eq!((sync.count(LOADED), &node.files()[BASE_NAME]), (0, &before[BASE_NAME]));
}

#[test]
fn check_tells_whether_folder_and_database_are_alike_and_changes_neither() {
    let Some(database) = Database::new() else { return };
    database.batch(USERS);
    let node = Node::of(&database);
    let (status, text) = node.check();
    assert_eq!(status, 1);
    assert_eq!(text, "database  revision 1, users: 4, rows that are no users: 0\nfolder    no users yet\n");
    assert!(!node.folder().exists());

    let sync = node.start();
    node.equals(&database);
    let alike =
        "database  revision 1, users: 4, rows that are no users: 0\nfolder    revision 1, as the database\n";
    assert_eq!(node.check(), (0, alike.into()), "beside the one that runs");
    assert_eq!(sync.stop(), 0);

    database.batch("DELETE FROM letmein.users WHERE name = 'bob'");
    let before = node.files();
    let other =
        "database  revision 2, users: 3, rows that are no users: 0\nfolder    revision 1, another one\n";
    assert_eq!(node.check(), (1, other.into()));
    assert_eq!(node.files(), before);

    // Of the same revision, and of another history.
    database.batch("UPDATE letmein.head SET stamp = gen_random_uuid(), revision = 1");
    let other =
        "database  revision 1, users: 3, rows that are no users: 0\nfolder    revision 1, another one\n";
    assert_eq!(node.check(), (1, other.into()));
}

#[test]
fn a_node_says_how_far_it_is_in_the_table_of_nodes() {
    let Some(database) = Database::new() else { return };
    database.batch(USERS);
    let node = Node::of(&database);
    let mut sync = node.start();
    sync.is_healthy(200, "ok");
    crate::node::eventually("the node is in the table", || {
        database.query("SELECT ARRAY[name, revision::text] FROM letmein.nodes") == "here 1"
    });
}

/// A node that was cut off today serves, so it counts; one that said nothing for more than a day is gone.
#[test]
fn servers_are_told_how_many_nodes_follow_the_database() {
    let Some(database) = Database::new() else { return };
    database.batch(USERS);
    database.batch(
        "INSERT INTO letmein.nodes VALUES ('today', 1, now() - interval '23 hours'), ('here', 1, now()), \
         ('long ago', 1, now() - interval '25 hours'), ('never', 1, now() + interval '25 hours')",
    );
    let node = Node::of(&database);
    let mut sync = node.start();
    sync.until("nodes that follow the database, with this one: 2");
    assert_eq!(fs::read_to_string(node.folder().join(NODES_NAME)).unwrap(), "2\n");
    sync.is_healthy(200, "ok");
    assert_eq!(sync.metric("letmein_sync_nodes"), 2);
}

#[test]
fn a_role_that_may_not_say_how_far_the_node_is_follows_and_the_log_tells_it_once() {
    let Some(database) = Database::new() else { return };
    add_users(&database, "user", 10);
    database.batch("REVOKE INSERT, UPDATE ON letmein.nodes FROM letmein_server");
    let node = Node::of(&database);
    let mut sync = node.start();
    sync.until("other nodes do not count this one: permission denied for table nodes");
    database.batch("DELETE FROM letmein.users WHERE name = 'user1'");
    node.equals(&database);
    assert_eq!(sync.count("WARN"), 1, "{}", sync.log());
}

#[test]
fn a_second_letmein_sync_leaves_the_folder_of_the_first_alone() {
    let Some(database) = Database::new() else { return };
    let node = Node::of(&database);
    let mut first = node.start();
    first.is_healthy(200, "ok");
    let (status, text) = node.start().end();
    assert_eq!(status, 2);
    assert!(text.contains("another letmein-sync keeps the users there"), "{text}");
    database.batch(USERS);
    node.equals(&database);
}

/// Whoever could end up with a secret in the log or the files: nobody but the owner reads them.
#[test]
fn only_the_owner_reads_the_files_and_no_log_line_shows_a_secret() {
    use std::os::unix::fs::PermissionsExt;
    let Some(database) = Database::new() else { return };
    database.batch("INSERT INTO letmein.users (name, password) VALUES ('alice', 'hunter2')");
    let node = Node::of(&database);
    let mut sync = node.start_by(node.program(), &["--log-level", "debug"]);
    node.equals(&database);
    sync.until("nodes that follow the database");
    database.batch("UPDATE letmein.users SET password = 'hunter22'");
    node.equals(&database);
    for file in fs::read_dir(node.folder()).unwrap().map(Result::unwrap) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    assert_eq!(fs::metadata(node.folder()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(sync.count("hunter2"), 0);
}

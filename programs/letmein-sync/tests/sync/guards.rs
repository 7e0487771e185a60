//! What must not take users away, and what must not keep others from coming.

use std::collections::BTreeMap;
use std::fs;

use users::synced::{BASE_NAME, LOG_NAME};

use crate::contents::add_users;
use crate::node::{LOADED, Node, eventually};
use crate::postgres::{Database, run};

/// Puts another database in the place of one, with other users.
fn replace(database: &Database, prefix: &str, users: usize) {
    let other = Database::new().unwrap();
    if users > 0 {
        add_users(&other, prefix, users);
    }
    let name = &database.name;
    let postgres = database.postgres();
    postgres.batch(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    postgres.batch(&format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname IN ('{name}', '{}')",
        other.name
    ));
    postgres.batch(&format!("ALTER DATABASE {name} RENAME TO was_{name}_{}", other.name));
    postgres.batch(&format!("ALTER DATABASE {} RENAME TO {name}", other.name));
}

#[test]
fn another_database_behind_the_name_with_as_many_users_is_taken_at_once() {
    let Some((database, node, mut sync)) = Node::followed("ours", 10) else { return };
    replace(&database, "theirs", 5);
    node.equals(&database);
    sync.has_loaded(2);
    assert_eq!(sync.count("SIGHUP"), 0);
}

#[test]
fn another_database_with_no_users_or_fewer_than_half_waits_for_sighup() {
    for users in [0, 4] {
        let Some((database, node, mut sync)) = Node::followed("ours", 10) else { return };
        let before = node.files();
        replace(&database, "theirs", users);
        let line = sync.until("until SIGHUP takes the others");
        assert!(line.contains("another history and only") && line.contains("of 10"), "{line}");
        sync.is_healthy(503, "which wait for SIGHUP");
        assert_eq!((node.files(), sync.metric("letmein_sync_held")), (before, 1));
        sync.hang_up();
        node.equals(&database);
        sync.is_healthy(200, "ok");
    }
}

/// The users of the folder are those of the base and of the log.
#[test]
fn users_who_came_after_the_first_load_are_guarded_as_well() {
    let Some((database, node, mut sync)) = Node::followed("user", 0) else { return };
    add_users(&database, "ours", 10);
    node.equals(&database);
    replace(&database, "theirs", 0);
    let line = sync.until("until SIGHUP takes the others");
    assert!(line.contains("of 10"), "{line}");
}

/// Many users were in the folder, even if their files are gone.
#[test]
fn users_whose_files_something_else_has_removed_are_guarded_as_well() {
    for name in [BASE_NAME, LOG_NAME] {
        let Some((database, node, mut sync)) = Node::followed("user", 0) else { return };
        add_users(&database, "ours", 10);
        node.equals(&database);
        sync.is_healthy(200, "ok");
        // So that the database is another one by the time it looks.
        sync.freeze();
        fs::remove_file(node.folder().join(name)).unwrap();
        replace(&database, "theirs", 4);
        sync.thaw();
        let line = sync.until("until SIGHUP takes the others");
        assert!(line.contains("another history and only") && line.contains("of 10"), "{name}: {line}");
        sync.is_healthy(503, "which wait for SIGHUP");
        sync.hang_up();
        node.equals(&database);
        sync.is_healthy(200, "ok");
    }
}

#[test]
fn users_whose_files_something_else_has_removed_come_back_however_few_the_same_database_has_left() {
    let Some((database, node, mut sync)) = Node::followed("ours", 10) else { return };
    sync.freeze();
    fs::remove_file(node.folder().join(BASE_NAME)).unwrap();
    database.batch("DELETE FROM letmein.users WHERE name <> 'ours1'");
    sync.thaw();
    node.equals(&database);
    sync.has_loaded(2);
    assert_eq!(sync.count("SIGHUP"), 0, "{}", sync.log());
}

#[test]
fn users_who_were_removed_after_the_load_are_not_counted() {
    let Some((database, node, mut sync)) = Node::followed("ours", 10) else { return };
    database.batch("DELETE FROM letmein.users WHERE name <> 'ours1'");
    node.equals(&database);
    replace(&database, "theirs", 1);
    node.equals(&database);
    assert_eq!(sync.count("SIGHUP"), 0, "{}", sync.log());
}

/// Gives the database another history with no users, and the other way round.
const HIDE: &str = "ALTER TABLE letmein.users RENAME TO kept; CREATE TABLE letmein.users (LIKE letmein.kept); \
     GRANT SELECT ON letmein.users TO letmein_server; \
     ALTER TABLE letmein.changes RENAME TO kept_changes; CREATE TABLE letmein.changes (LIKE letmein.kept_changes); \
     GRANT SELECT ON letmein.changes TO letmein_server; \
     UPDATE letmein.head SET revision = revision + 1, stamp = gen_random_uuid()";
const SHOW: &str = "DROP TABLE letmein.users; ALTER TABLE letmein.kept RENAME TO users; \
     DROP TABLE letmein.changes; ALTER TABLE letmein.kept_changes RENAME TO changes; \
     UPDATE letmein.head SET (revision, stamp) = \
         (SELECT revision, stamp FROM letmein.changes ORDER BY revision DESC LIMIT 1)";

#[test]
fn nothing_waits_for_sighup_once_the_old_database_is_back() {
    let Some((database, node, mut sync)) = Node::followed("ours", 10) else { return };
    database.batch(HIDE);
    sync.is_healthy(503, "which wait for SIGHUP");
    database.batch(SHOW);
    sync.is_healthy(200, "ok");
    node.equals(&database);
    sync.has_loaded(1);
    sync.hang_up();
    sync.until("no set of users waits for it");
}

#[test]
fn a_sighup_is_for_the_set_of_users_that_waits_and_for_none_after_the_old_database_is_back() {
    let Some((database, _node, mut sync)) = Node::followed("ours", 10) else { return };
    database.batch(HIDE);
    sync.until("until SIGHUP takes the others");
    // The set that waits cannot be read when it would be taken.
    database.batch("ALTER TABLE letmein.users RENAME TO hidden");
    sync.hang_up();
    sync.until("the users of the database are taken");
    sync.until("the database refuses");
    database.batch(&format!("ALTER TABLE letmein.hidden RENAME TO users; {SHOW}"));
    sync.is_healthy(200, "ok");
    database.batch(HIDE);
    sync.until("until SIGHUP takes the others");
}

#[test]
fn a_transaction_that_removes_all_users_is_taken_at_once() {
    let Some((database, node, mut sync)) = Node::followed("user", 10) else { return };
    database.batch("DELETE FROM letmein.users");
    node.equals(&database);
    assert!(node.users().unwrap().1.is_empty());
    assert_eq!(sync.count("SIGHUP"), 0);
}

/// Has the database take any row.
const DROP_RULES: &str = "DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT conname FROM pg_constraint WHERE conrelid = 'letmein.users'::regclass AND contype = 'c'
        LOOP EXECUTE format('ALTER TABLE letmein.users DROP CONSTRAINT %I', name); END LOOP;
     END $$;
     ALTER TABLE letmein.users ALTER disabled DROP NOT NULL";

#[test]
fn the_log_tells_how_a_row_that_is_no_user_is_found() {
    const TOLD: &str = "%' is no user";
    let Some((database, node, mut sync)) = Node::followed("user", 10) else { return };
    database.batch(DROP_RULES);
    let found = |log: &str| {
        let lines = log.lines().filter_map(|line| line.strip_suffix(" is no user"));
        let rows = lines.map(|line| {
            let (reason, condition) = line.split_once(": the row with ").unwrap();
            let sql = format!("SELECT name FROM letmein.users WHERE {condition}");
            let rows = run(async { database.session().await.rows(&sql, &[]).await }).unwrap();
            assert_eq!(rows.len(), 1, "{condition}");
            let reason = reason.rsplit_once(" WARN ").map_or(reason, |(_, reason)| reason);
            (rows[0].get::<_, String>(0), reason.to_owned())
        });
        rows.collect::<BTreeMap<_, _>>()
    };
    database.batch("INSERT INTO letmein.users (name, password) VALUES ('a:ü', 'p'), ('', 'p'), ('zoe', '')");
    sync.until("rows that are no users: 3");
    eventually("all of them are told", || sync.count(TOLD) == 3);
    let reasons =
        [("", "a name is empty"), ("a:ü", "a name has a colon in it"), ("zoe", "a password is empty")];
    let reasons = reasons.map(|(name, reason)| (name.to_owned(), reason.to_owned())).into();
    assert_eq!(found(&sync.log()), reasons);
    assert_eq!(found(&node.check().1), reasons);
    // A few of many say what there is to say.
    database.batch("UPDATE letmein.users SET password = '' WHERE name ~ '^user'");
    let line = sync.until("rows that are no users: 10");
    assert!(line.contains(": 0 users changed; rows"), "who is none any more is told once: {line}");
    database.batch("DELETE FROM letmein.users WHERE name = 'user1'");
    sync.until(": 1 user changed");
    assert_eq!(sync.count(TOLD), 3 + 5);
}

#[test]
fn rows_that_are_no_users_remove_these_users_and_keep_no_others_from_coming() {
    let Some(database) = Database::new() else { return };
    database.batch(DROP_RULES);
    add_users(&database, "user", 20);
    let node = Node::of(&database);
    let mut sync = node.start();
    node.equals(&database);
    let poisons = [
        "password = ''",
        "password = repeat('p', 129)",
        "password = NULL, opaque = 'no record'",
        "password = NULL, opaque = '$opaque-3dh$' || repeat('p', 600)",
        "expires = '1969-12-31'",
        "expires = 'infinity'",
        "expires = '-infinity'",
        "expires = '0044-03-15 BC'",
        "networks = ARRAY['10.0.0.0/8', NULL]::cidr[]",
        "networks = array_fill('10.0.0.0/8'::cidr, ARRAY[65])",
        "networks = '{{10.0.0.0/8,::1},{10.0.0.0/8,::1}}'",
        "networks = '{}'",
        "password = NULL",
    ];
    for (number, poison) in poisons.iter().enumerate() {
        database.batch(&format!("UPDATE letmein.users SET {poison} WHERE name = 'user{number}'"));
    }
    for name in ["a:b", "", " a", "a\u{1}", &"n".repeat(65)] {
        database.batch(&format!("INSERT INTO letmein.users (name, password) VALUES ('{name}', 'p')"));
    }
    database.batch("UPDATE letmein.users SET disabled = NULL WHERE name = 'user19'");
    database.batch("INSERT INTO letmein.users (name, password) VALUES ('zoe', 'hers')");
    let good: Vec<_> =
        (poisons.len()..20).map(|number| format!("user{number}")).chain(["zoe".into()]).collect();
    let names = || node.users().unwrap().1.into_keys().collect::<Vec<_>>();
    let mut good = good;
    good.sort();
    eventually("only good rows are users", || names() == good);
    assert!(node.users().unwrap().1["user19"].contains("true"), "who is not said to be enabled is disabled");
    let invalid = (poisons.len() + 5) as u64;
    // They are counted a moment after the files are right.
    eventually("they are counted", || sync.metric("letmein_sync_invalid_rows_total") >= invalid);
    eventually("the log tells it", || sync.log().contains("rows that are no users"));
    let (status, text) = node.check();
    assert_eq!(status, 1);
    assert!(text.contains(&format!("users: {}, rows that are no users: {invalid}", good.len())), "{text}");

    // The same if they are loaded.
    assert_eq!(sync.stop(), 0);
    fs::remove_file(node.folder().join(BASE_NAME)).unwrap();
    let mut sync = node.start();
    sync.until(LOADED);
    assert_eq!(names(), good);

    database.batch(
        "DELETE FROM letmein.users WHERE name !~ '^(user|zoe)';
         UPDATE letmein.users SET password = 'p', opaque = NULL, expires = NULL, networks = NULL, disabled = false",
    );
    node.equals(&database);
    assert_eq!(names().len(), 21);
}

/// The folder gets the record, since its rules may be newer than this program, and servers leave it out.
#[test]
fn a_check_tells_of_records_that_no_server_takes() {
    let Some((database, node, _sync)) = Node::followed("user", 2) else { return };
    let records = "('carol', '$opaque-3dh$v=9$'), ('dave', '$opaque-3dh$v=1$')";
    database.batch(&format!("INSERT INTO letmein.users (name, opaque) VALUES {records}"));
    node.equals(&database);
    let (status, text) = node.check();
    assert_eq!(status, 1);
    assert!(
        text.contains("users: 2, rows that are no users: 2; the first: a record has a version"),
        "{text}"
    );
    assert!(
        text.contains("a record is damaged: take it from a backup, or set a new password: the row with md5")
    );
}

#[test]
fn a_node_from_before_the_floor_loads_everything() {
    let Some((database, node, sync)) = Node::followed("user", 10) else { return };
    assert_eq!(sync.stop(), 0);
    database.batch("DELETE FROM letmein.users WHERE name = 'user1'");
    database.batch("UPDATE letmein.users SET disabled = true WHERE name = 'user2'");
    database.batch(
        "DELETE FROM letmein.removed; DELETE FROM letmein.changes WHERE revision < 3; UPDATE letmein.head SET floor = 2",
    );
    let mut sync = node.start();
    node.equals(&database);
    sync.has_loaded(1);
    // What is newer than the floor is followed.
    database.batch("UPDATE letmein.users SET disabled = true WHERE name = 'user3'");
    node.equals(&database);
    sync.has_loaded(1);
}

//! SQL by hand gets its revisions, whatever it does.

use crate::postgres::Database;

const NEWS: &str = "SELECT ARRAY[name, revision::text, kind] FROM (
    SELECT name, revision, 'user' FROM letmein.users UNION ALL SELECT name, revision, 'removed' FROM letmein.removed
) AS news (name, revision, kind) ORDER BY revision, name";
const REVISION: &str = "SELECT ARRAY[revision] FROM letmein.head";
const CHANGES: &str = "SELECT ARRAY[revision::text, program, what] FROM letmein.changes ORDER BY revision";

#[test]
fn each_transaction_has_one_revision_however_many_statements_it_has() {
    let Some(database) = Database::new() else { return };
    database.batch("INSERT INTO letmein.users (name, password) VALUES ('alice', 'a'), ('bob', 'b')");
    database.batch("UPDATE letmein.users SET disabled = true");
    database.batch(
        "BEGIN;
         DELETE FROM letmein.users WHERE name = 'bob';
         UPDATE letmein.users SET password = 'c' WHERE name = 'alice';
         INSERT INTO letmein.users (name, password) VALUES ('carol', 'd') ON CONFLICT (name) DO NOTHING;
         COMMIT",
    );
    assert_eq!(database.query(NEWS), "alice 3 user, bob 3 removed, carol 3 user");
    assert_eq!(database.query(CHANGES), "0 letmein-users init, 1 test INSERT, 2 test UPDATE, 3 test DELETE");
}

#[test]
fn what_was_undone_leaves_no_gap() {
    let Some(database) = Database::new() else { return };
    database.batch("BEGIN; INSERT INTO letmein.users (name, password) VALUES ('alice', 'a'); ROLLBACK");
    database.batch(
        "BEGIN;
         SAVEPOINT before;
         INSERT INTO letmein.users (name, password) VALUES ('bob', 'b');
         ROLLBACK TO before;
         INSERT INTO letmein.users (name, password) VALUES ('carol', 'c');
         COMMIT",
    );
    assert_eq!(database.query(NEWS), "carol 1 user");
    assert_eq!(database.query(REVISION), "1");
}

#[test]
fn a_name_has_a_tombstone_exactly_while_it_is_gone() {
    let Some(database) = Database::new() else { return };
    database.batch("INSERT INTO letmein.users (name, password) VALUES ('alice', 'a'), ('bob', 'b')");
    database.batch("DELETE FROM letmein.users WHERE name = 'alice'");
    database.batch("UPDATE letmein.users SET name = 'robert' WHERE name = 'bob'");
    assert_eq!(database.query(NEWS), "alice 2 removed, bob 3 removed, robert 3 user");
    database.batch("INSERT INTO letmein.users (name, password) VALUES ('alice', 'a')");
    database.batch("UPDATE letmein.users SET name = 'bob' WHERE name = 'robert'");
    assert_eq!(database.query(NEWS), "alice 4 user, bob 5 user, robert 5 removed");
}

#[test]
fn a_row_has_the_revision_of_its_transaction_whatever_it_says() {
    let Some(database) = Database::new() else { return };
    database.batch("INSERT INTO letmein.users (name, password, revision) VALUES ('alice', 'a', 77)");
    assert_eq!(database.query(NEWS), "alice 1 user");
    database.batch("UPDATE letmein.users SET revision = 1");
    assert_eq!(database.query(NEWS), "alice 2 user");
}

#[test]
fn truncate_is_refused_even_to_a_superuser() {
    let Some(database) = Database::new() else { return };
    database.batch("INSERT INTO letmein.users (name, password) VALUES ('alice', 'a')");
    assert!(database.refusal("TRUNCATE letmein.users").contains("use DELETE"));
    assert_eq!(database.query(NEWS), "alice 1 user");
}

#[test]
fn what_a_change_says_of_itself_is_cut() {
    let Some(database) = Database::new() else { return };
    database.batch("SELECT letmein.take_revision(gen_random_uuid(), repeat('w', 201))");
    assert_eq!(database.query("SELECT ARRAY[length(what)] FROM letmein.changes WHERE revision = 1"), "200");
}

/// As logical replication does, and whoever wants foreign keys out of the way.
#[test]
fn a_replica_keeps_the_order_as_everybody_else() {
    let Some(database) = Database::new() else { return };
    let as_replica = |sql: &str| format!("SET session_replication_role = replica; {sql}");
    database
        .batch(&as_replica("INSERT INTO letmein.users (name, password, revision) VALUES ('alice', 'a', 77)"));
    assert_eq!(database.query(NEWS), "alice 1 user");
    database.batch(&as_replica("UPDATE letmein.users SET name = 'bob'"));
    assert_eq!(database.query(NEWS), "alice 2 removed, bob 2 user");
    assert!(database.refusal(&as_replica("TRUNCATE letmein.users")).contains("use DELETE"));
    database.batch(&as_replica("DELETE FROM letmein.users"));
    assert_eq!(database.query(NEWS), "alice 2 removed, bob 3 removed");
}

/// As after a dump was restored into another cluster, whose transactions have lower numbers.
#[test]
fn a_transaction_with_the_number_of_an_old_one_gets_a_revision_of_its_own() {
    let Some(database) = Database::new() else { return };
    database.batch("INSERT INTO letmein.users (name, password) VALUES ('alice', 'a')");
    database.batch(
        "BEGIN;
         UPDATE letmein.head SET taken_by = pg_current_xact_id(), taken_at = '2001-01-01';
         INSERT INTO letmein.users (name, password) VALUES ('bob', 'b');
         COMMIT",
    );
    assert_eq!(database.query(NEWS), "alice 1 user, bob 2 user");
}

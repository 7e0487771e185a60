//! What the roles may do, and what not.

use std::sync::Arc;

use letmein_auth_engine::{SCHEMA_VERSION, init};

use crate::postgres::{Database, Postgres, run};

const ALICE: &str = "INSERT INTO letmein.users (name, password) VALUES ('alice', 'a')";

#[test]
fn a_server_reads_everything_and_writes_how_far_it_is() {
    let Some(database) = Database::new() else { return };
    database.batch(ALICE);
    for table in ["head", "changes", "users", "removed", "nodes", "exchange"] {
        database.batch(&format!("SET ROLE letmein_server; SELECT * FROM letmein.{table}"));
    }
    database.batch("SET ROLE letmein_server; INSERT INTO letmein.nodes VALUES ('one', 1, now())");
    database.batch("SET ROLE letmein_server; UPDATE letmein.nodes SET revision = 2");
    database.batch("SET ROLE letmein_server; INSERT INTO letmein.exchange VALUES ('one', 'sealed', now())");
    database.batch("SET ROLE letmein_server; UPDATE letmein.exchange SET message = 'again'");
    for sql in [
        "UPDATE letmein.users SET password = 'b'",
        "INSERT INTO letmein.users (name, password) VALUES ('bob', 'b')",
        "DELETE FROM letmein.users",
        "UPDATE letmein.head SET revision = 7",
        "DELETE FROM letmein.changes",
        "DELETE FROM letmein.removed",
        "DELETE FROM letmein.nodes",
        "DELETE FROM letmein.exchange",
        "SELECT letmein.take_revision(gen_random_uuid(), 'test')",
    ] {
        assert_denied(&database, "letmein_server", sql);
    }
}

#[test]
fn an_administrator_changes_users_and_nothing_else() {
    let Some(database) = Database::new() else { return };
    database.batch(&format!("SET ROLE letmein_admin; {ALICE}"));
    database.batch("SET ROLE letmein_admin; UPDATE letmein.users SET name = 'bob', disabled = true");
    database.batch("SET ROLE letmein_admin; DELETE FROM letmein.users");
    assert_eq!(
        database.query("SELECT ARRAY[name, revision::text] FROM letmein.removed ORDER BY 1"),
        "alice 2, bob 3"
    );
    for sql in [
        "UPDATE letmein.head SET revision = 7",
        "INSERT INTO letmein.changes VALUES (7, gen_random_uuid(), now(), 'somebody', 'else', 'test')",
        "DELETE FROM letmein.removed",
        "INSERT INTO letmein.nodes VALUES ('one', 1, now())",
        "SELECT * FROM letmein.exchange",
        "INSERT INTO letmein.exchange VALUES ('one', 'sealed', now())",
        "TRUNCATE letmein.users",
        "ALTER TABLE letmein.users DISABLE TRIGGER ALL",
        "CREATE TABLE letmein.other ()",
    ] {
        assert_denied(&database, "letmein_admin", sql);
    }
}

#[test]
fn who_has_no_role_sees_nothing() {
    let Some(database) = Database::new() else { return };
    database.batch(&format!("CREATE ROLE stranger_of_{}", database.name));
    for sql in ["SELECT * FROM letmein.users", "SELECT letmein.take_revision(gen_random_uuid(), 'test')"] {
        assert_denied(&database, &format!("stranger_of_{}", database.name), sql);
    }
}

/// They run as the owner, and would forget or forge removals.
#[test]
fn functions_of_triggers_are_for_the_users_alone() {
    let Some(database) = Database::new() else { return };
    database.batch(&format!("{ALICE}; DELETE FROM letmein.users"));
    let trigger = "CREATE TEMP TABLE other (name text);
         CREATE TRIGGER other AFTER INSERT ON other REFERENCING NEW TABLE AS after
            FOR EACH STATEMENT EXECUTE FUNCTION letmein.note_removals();
         INSERT INTO other VALUES ('alice')";
    for role in ["letmein_server", "letmein_admin"] {
        assert_denied(&database, role, trigger);
    }
    let refusal = database.refusal(&format!("SET ROLE letmein_owner; {trigger}"));
    assert!(refusal.contains("letmein.users"), "{refusal}");
    assert_eq!(database.query("SELECT ARRAY[name] FROM letmein.removed"), "alice");
}

#[test]
fn an_owner_that_can_log_in_is_refused() {
    // Roles are shared by all databases, so other tests would meet this one.
    let Some(postgres) = Postgres::start(|_| Vec::new()) else { return };
    let database = Database { postgres: Arc::new(postgres), name: "postgres".into() };
    database.batch("CREATE ROLE letmein_owner LOGIN");
    let make = || run(async { init(&database.session().await).await });
    let refused = make().unwrap_err().to_string();
    assert!(refused.contains("ALTER ROLE letmein_owner NOLOGIN"), "{refused}");
    database.batch("ALTER ROLE letmein_owner NOLOGIN");
    assert_eq!(make().map(|made| made.to), Ok(SCHEMA_VERSION));
}

/// Refused for lack of a privilege (42501).
fn assert_denied(database: &Database, role: &str, sql: &str) {
    let refusal = database.refusal(&format!("SET ROLE {role}; {sql}"));
    assert!(refusal.contains("42501"), "{role}, {sql}: {refusal}");
}

//! `letmein-users engine`, which makes the database.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use crate::postgres::{Database, Postgres};
use crate::{Ended, done, failed, letmein_users, settings_in};

fn engine(command: &str, file: &Path) -> Ended {
    letmein_users(&["engine", command, "--engine", file.to_str().unwrap()])
}

#[test]
fn a_database_is_made_looked_at_and_left_alone() {
    let Some(database) = Database::empty() else { return };
    let folder = TempDir::new().unwrap();
    let file = settings_in(&folder, &database, "postgres");
    let no_schema =
        "letmein-users: the database has no schema letmein: make it with letmein-users engine init\n";
    assert_eq!(engine("status", &file), failed(2, no_schema));
    assert_eq!(engine("migrate", &file), failed(2, no_schema));

    let (status, stdout, stderr) = engine("init", &file);
    assert_eq!((status, stderr), (0, String::new()));
    // What it says to do next works.
    for sql in stdout.lines().filter_map(|line| line.trim().strip_prefix("CREATE ROLE ")) {
        let (sql, _) = sql.split_once(';').unwrap();
        database.batch(&format!("BEGIN; CREATE ROLE {sql}; ROLLBACK"));
    }
    assert_eq!(stdout.matches("CREATE ROLE ").count(), 2);

    let nothing = done("nothing to do: the tables have version 4\n");
    assert_eq!(engine("init", &file), nothing);
    assert_eq!(engine("migrate", &file), nothing);
    assert_eq!(engine("status", &file), done("revision  0\nusers     0\nversion   4\n"));
    database
        .batch("SET ROLE letmein_admin; INSERT INTO letmein.users (name, password) VALUES ('alice', 'a')");
    assert_eq!(engine("status", &file), done("revision  1\nusers     1\nversion   4\n"));

    database.batch(
        "ALTER TABLE letmein.users DROP CONSTRAINT users_name_colon, DISABLE TRIGGER note_deletes;
         DROP TRIGGER refuse_truncate ON letmein.users",
    );
    let missing = "missing   note_deletes, refuse_truncate, users_name_colon: rules that somebody has dropped or turned off;";
    assert!(engine("status", &file).1.contains(missing));

    database.batch("UPDATE letmein.head SET schema_version = 5, min_reader = 5");
    let newer = "letmein-users: the schema of the database has version 5 and needs a program that knows version 5, and \
                 this one knows 4: install a newer letmein\n";
    for command in ["init", "migrate", "status"] {
        assert_eq!(engine(command, &file), failed(2, newer));
    }
}

#[test]
fn the_log_shows_no_password_once_what_init_says_is_done() {
    let Some(postgres) = Postgres::start(|_| Vec::new()) else { return };
    let database = Database { postgres: Arc::new(postgres), name: "postgres".into() };
    let folder = TempDir::new().unwrap();
    let (_, stdout, _) = engine("init", &settings_in(&folder, &database, "postgres"));
    let sql = stdout.lines().map(str::trim);
    for sql in sql.filter(|line| line.starts_with("ALTER SYSTEM ") || line.starts_with("SELECT ")) {
        database.batch(sql);
    }
    while database.query("SELECT ARRAY[current_setting('log_error_verbosity')]") != "terse" {}
    let refused = "INSERT INTO letmein.users (name, password) VALUES ('a:b', 'hunter2')";
    assert!(database.refusal(refused).contains("users_name_colon"));
    database.batch("DO $$ BEGIN RAISE LOG 'the end'; END $$");
    let log = database.postgres.log_until("the end");
    assert!(log.contains("users_name_colon") && !log.contains("hunter2"), "{log}");
}

#[test]
fn who_may_run_a_command_is_told() {
    let Some(database) = Database::empty() else { return };
    database.batch("CREATE ROLE stranger LOGIN");
    let folder = TempDir::new().unwrap();
    let is_told = |command, remedy| {
        let (status, _, stderr) = engine(command, &settings_in(&folder, &database, "stranger"));
        assert!(
            status == 3 && stderr.contains(&format!("(42501): {remedy}")),
            "{command}: {status} {stderr}"
        );
    };
    is_told("init", "run it as a superuser, or as the owner of the database with CREATEROLE");
    assert_eq!(engine("init", &settings_in(&folder, &database, "postgres")).0, 0);
    is_told("status", "run it as a member of one of the roles");
    database.batch("GRANT letmein_server TO stranger; UPDATE letmein.head SET schema_version = 2");
    is_told("migrate", "run it as a member of letmein_owner or as a superuser");
}

#[test]
fn what_is_wrong_with_file_or_database_is_told() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("engine");
    let shown = file.display();
    fs::write(&file, format!("host={} user=alice password=hunter2", folder.path().display())).unwrap();
    let open = format!(
        "letmein-users: {shown}: open to others, and there may be a password in it: chmod 600 {shown}\n"
    );
    assert_eq!(engine("status", &file), failed(2, &open));
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let (status, stdout, stderr) = engine("status", &file);
    assert_eq!((status, stdout), (3, String::new()));
    let no_connection =
        "letmein-users: no connection to the database: error connecting to server: No such file";
    assert!(stderr.starts_with(no_connection), "{stderr}");
}

#[test]
fn help_is_a_success_and_a_missing_command_or_file_is_told() {
    let (status, stdout, _) = letmein_users(&["engine", "init", "--help"]);
    assert!(status == 0 && stdout.contains("sslmode=verify-full"), "{status} {stdout}");
    for (arguments, missing) in [(&["engine"][..], "command"), (&["engine", "init"], "--engine <FILE>")] {
        let (status, _, stderr) = letmein_users(arguments);
        assert!(status == 2 && stderr.contains(missing), "{arguments:?}: {stderr}");
        assert!(stderr.ends_with("Example: letmein-users engine status --engine FILE\n"), "{stderr}");
    }
}

//! The schema, made and brought up to date.

use std::thread;

use letmein_auth_engine::{EngineError, Migrated, SCHEMA_VERSION, Session, Status, init, migrate, status};

use crate::postgres::{Database, load, run};

const UP_TO_DATE: Migrated = Migrated { from: SCHEMA_VERSION, to: SCHEMA_VERSION };

#[test]
fn each_rule_that_is_dropped_or_turned_off_is_told() {
    let Some(database) = Database::new() else { return };
    let rules = database.query(
        "SELECT ARRAY[name] FROM (
            SELECT conname::text AS name FROM pg_constraint
                WHERE conrelid = 'letmein.users'::regclass AND contype = 'c'
            UNION ALL SELECT tgname::text FROM pg_trigger WHERE tgrelid = 'letmein.users'::regclass AND NOT tgisinternal
         ) AS rule ORDER BY name COLLATE \"C\"",
    );
    database.batch(
        "DO $$ DECLARE rule text; BEGIN
            FOR rule IN SELECT conname FROM pg_constraint WHERE conrelid = 'letmein.users'::regclass AND contype = 'c'
            LOOP EXECUTE format('ALTER TABLE letmein.users DROP CONSTRAINT %I', rule); END LOOP;
         END $$;
         ALTER TABLE letmein.users DISABLE TRIGGER USER",
    );
    let told = run(async { status(&database.session().await).await }).unwrap().missing_rules;
    assert_eq!(told.join(", "), rules);
}

#[test]
fn what_is_done_twice_changes_nothing() {
    let Some(database) = Database::empty() else { return };
    let everything = "SELECT ARRAY[(SELECT count(*) FROM pg_catalog.pg_depend)::text, revision::text, stamp::text] \
                      FROM letmein.head";
    run(async {
        let session = database.session().await;
        assert_eq!(migrate(&session).await, Err(EngineError::NoSchema));
        assert_eq!(status(&session).await, Err(EngineError::NoSchema));
        assert_eq!(init(&session).await, Ok(Migrated { from: 0, to: SCHEMA_VERSION }));
    });
    let before = database.query(everything);
    run(async {
        let session = database.session().await;
        assert_eq!(init(&session).await, Ok(UP_TO_DATE));
        assert_eq!(migrate(&session).await, Ok(UP_TO_DATE));
        let missing_rules = Vec::new();
        let expected = Status { revision: 0, users: 0, schema_version: SCHEMA_VERSION, missing_rules };
        assert_eq!(status(&session).await, Ok(expected));
    });
    assert_eq!(database.query(everything), before);
}

#[test]
fn a_schema_that_is_half_made_is_completed() {
    let Some(database) = Database::empty() else { return };
    database.batch(include_str!("../../sql/0001_tables.sql"));
    database.batch("UPDATE letmein.head SET schema_version = 1");
    let migrated = run(async { migrate(&database.session().await).await });
    assert_eq!(migrated, Ok(Migrated { from: 1, to: SCHEMA_VERSION }));
}

#[test]
fn of_several_who_make_the_schema_at_once_all_succeed() {
    let Some(database) = Database::empty() else { return };
    thread::scope(|scope| {
        let making = [(); 4].map(|()| scope.spawn(|| run(async { init(&database.session().await).await })));
        for made in making.map(|making| making.join().unwrap()) {
            assert_eq!(made.map(|migrated| migrated.to), Ok(SCHEMA_VERSION));
        }
    });
}

#[test]
fn a_schema_is_used_while_it_allows_that() {
    let Some(database) = Database::new() else { return };
    let later = SCHEMA_VERSION + 2;
    database
        .batch(&format!("UPDATE letmein.head SET schema_version = {later}, min_reader = {SCHEMA_VERSION}"));
    run(async {
        let session = database.session().await;
        assert_eq!(migrate(&session).await, Ok(Migrated { from: later, to: later }));
        assert_eq!(status(&session).await.map(|status| status.schema_version), Ok(later));
    });
    database.batch(&format!("UPDATE letmein.head SET min_reader = {}", SCHEMA_VERSION + 1));
    let too_new = EngineError::TooNew { version: later, min_reader: SCHEMA_VERSION + 1 };
    run(async {
        let session = database.session().await;
        assert_eq!(init(&session).await, Err(too_new.clone()));
        assert_eq!(migrate(&session).await, Err(too_new.clone()));
        assert_eq!(status(&session).await, Err(too_new));
    });
}

#[test]
fn no_other_encoding_than_utf8_is_taken() {
    let Some(database) = Database::empty() else { return };
    let name = format!("{}_latin1", database.name);
    database.batch(&format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"));
    let latin1 = Database { name, ..database };
    let refused = run(async { init(&latin1.session().await).await });
    assert_eq!(refused, Err(EngineError::NotUtf8("LATIN1".into())));
}

/// As pg_dump reads it, for as long as that takes.
#[test]
fn a_migration_gives_up_while_somebody_reads_and_keeps_no_one_else_waiting() {
    let Some(database) = Database::empty() else { return };
    database.batch(include_str!("../../sql/0001_tables.sql"));
    database.batch("UPDATE letmein.head SET schema_version = 1");
    run(async {
        let reader = database.session().await;
        reader.batch("BEGIN; SELECT FROM letmein.head").await.unwrap();
        let session = database.session().await;
        let given_up = migrate(&session).await;
        assert!(
            matches!(&given_up, Err(EngineError::Refused { code, .. }) if code == "55P03"),
            "{given_up:?}"
        );
        drop(session);
        assert_eq!(status(&database.session().await).await.map(|status| status.schema_version), Ok(1));
        reader.batch("COMMIT").await.unwrap();
        let migrated = migrate(&database.session().await).await;
        assert_eq!(migrated, Ok(Migrated { from: 1, to: SCHEMA_VERSION }));
    });
}

/// Everybody may make them in the schema public of PostgreSQL 14 and older. Run as a superuser, they could do anything.
#[test]
fn functions_that_somebody_has_planted_are_not_run() {
    let Some(database) = Database::empty() else { return };
    for (function, result) in [
        ("cardinality(cidr[])", "int"),
        ("array_ndims(cidr[])", "int"),
        ("format(text, text)", "text"),
        ("to_regclass(text)", "regclass"),
        ("current_setting(text)", "text"),
    ] {
        database.batch(&format!(
            "CREATE FUNCTION public.{function} RETURNS {result} LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$;
             ALTER DATABASE {} SET search_path = public, pg_catalog",
            database.name
        ));
    }
    run(async {
        let session = database.session().await;
        assert_eq!(init(&session).await, Ok(Migrated { from: 0, to: SCHEMA_VERSION }));
        assert_eq!(migrate(&session).await, Ok(UP_TO_DATE));
        assert_eq!(status(&session).await.map(|status| status.users), Ok(0));
    });
    database.batch("INSERT INTO letmein.users (name, password, networks) VALUES ('alice', 'a', '{::1}')");
}

#[test]
fn the_schema_needs_no_superuser() {
    let Some(database) = Database::empty() else { return };
    let user = format!("owner_of_{}", database.name);
    // Whoever may make roles, and those of the schema may be there already.
    let Some(other) = Database::new() else { return };
    database.batch(&format!(
        "CREATE ROLE {user} LOGIN CREATEROLE; ALTER DATABASE {} OWNER TO {user}",
        database.name
    ));
    let folder = other.postgres.folder().display();
    let settings = load(&format!("host={folder} user={user} dbname={}", database.name)).unwrap();
    let made = run(async { init(&Session::open(&settings).await?).await });
    assert_eq!(made, Ok(Migrated { from: 0, to: SCHEMA_VERSION }));
    database
        .batch("SET ROLE letmein_admin; INSERT INTO letmein.users (name, password) VALUES ('alice', 'a')");
}

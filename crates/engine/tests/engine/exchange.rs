//! Messages from node to node.

use std::time::Duration;

use letmein_auth_engine::{EngineError, MESSAGE_LEN_MAX, PurgeAge, Reader, SCHEMA_VERSION, migrate, purge};

use crate::postgres::{Database, STANDBY, run};

const NODES: &str = "SELECT ARRAY[node] FROM letmein.exchange ORDER BY node";

/// Says something in the name of a node.
fn say(database: &Database, node: &str, message: &[u8]) -> Result<(), EngineError> {
    let settings = database.settings();
    run(async { Reader::open(&settings).await?.exchange(node, message).await })
}

/// What a node is told.
fn told(database: &Database, node: &str) -> Result<Vec<Vec<u8>>, EngineError> {
    let settings = database.settings();
    run(async { Reader::open(&settings).await?.others(node).await })
}

/// The SQLSTATE of a refusal.
fn code<T>(answer: Result<T, EngineError>) -> String {
    match answer {
        Err(EngineError::Refused { code, .. }) => code,
        Err(other) => panic!("no refusal: {other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn a_node_is_told_the_newest_message_of_each_other_node_in_the_order_of_their_names() {
    let Some(database) = Database::new() else { return };
    assert_eq!(told(&database, "a"), Ok(Vec::new()));
    for (node, message) in
        [("c", &b"old"[..]), ("b", b"\0 of b"), ("a", b"of a"), ("B", b"of B"), ("c", b"of c")]
    {
        assert_eq!(say(&database, node, message), Ok(()));
    }
    assert_eq!(told(&database, "a"), Ok(vec![b"of B".into(), b"\0 of b".into(), b"of c".into()]));
    assert_eq!(told(&database, "c"), Ok(vec![b"of B".into(), b"of a".into(), b"\0 of b".into()]));
}

#[test]
fn a_message_that_is_old_or_of_the_future_is_not_told() {
    let Some(database) = Database::new() else { return };
    database.batch(
        "INSERT INTO letmein.exchange VALUES
            ('old', 'old', now() - interval '9 s'), ('new', 'new', now() - interval '5 s'),
            ('next', 'next', now() + interval '10 minutes')",
    );
    assert_eq!(told(&database, "here"), Ok(vec![b"new".into()]));
    assert_eq!(say(&database, "old", b"again"), Ok(()));
    assert_eq!(told(&database, "here"), Ok(vec![b"new".into(), b"again".into()]));
}

#[test]
fn a_node_is_told_the_messages_of_64_others() {
    let Some(database) = Database::new() else { return };
    database.batch(
        "INSERT INTO letmein.exchange
            SELECT to_char(it, 'FM0000'), int4send(it), now() FROM generate_series(1, 300) AS it",
    );
    let messages = told(&database, "0001").unwrap();
    assert_eq!((messages.len(), messages.last().unwrap().as_slice()), (64, &65_u32.to_be_bytes()[..]));
}

#[test]
fn a_message_has_a_longest_length_and_so_has_a_name() {
    let Some(database) = Database::new() else { return };
    let longest = vec![7; MESSAGE_LEN_MAX];
    assert_eq!(say(&database, "one", &longest), Ok(()));
    assert_eq!(told(&database, "other"), Ok(vec![longest]));
    for (node, message) in
        [("one", &vec![7; MESSAGE_LEN_MAX + 1][..]), ("one", b""), ("", b"it"), (&"n".repeat(261), b"it")]
    {
        assert_eq!(code(say(&database, node, message)), "23514");
    }
}

#[test]
fn what_is_forgotten_of_nodes_is_forgotten_of_their_messages() {
    let Some(database) = Database::new() else { return };
    database.batch(
        "INSERT INTO letmein.exchange VALUES
            ('gone', 'old', now() - interval '2 hours'), ('here', 'old', now() - interval '30 minutes')",
    );
    let age = PurgeAge::new(Duration::from_secs(60 * 60)).unwrap();
    run(async { purge(&database.session().await, age).await }).unwrap();
    assert_eq!(database.query(NODES), "here");
}

#[test]
fn a_standby_refuses_messages_and_has_none_once_it_is_promoted() {
    let Some(database) = Database::alone(|_| Vec::new()) else { return };
    assert_eq!(say(&database, "one", b"of one"), Ok(()));
    let standby = database.copy(&STANDBY);
    assert_eq!(code(told(&standby, "other")), "0A000");
    assert_eq!(code(say(&standby, "other", b"of other")), "25006");
    standby.batch("SELECT pg_promote()");
    assert_eq!(told(&standby, "other"), Ok(Vec::new()));
    assert_eq!(say(&standby, "other", b"of other"), Ok(()));
}

/// Programs are brought up to date at one time, and the schema at another.
#[test]
fn a_schema_without_messages_refuses_them_and_is_followed_all_the_same() {
    let Some(database) = Database::new() else { return };
    assert_eq!(
        database.query("SELECT ARRAY[min_reader] FROM letmein.head"),
        "3",
        "older programs can use it"
    );
    database.batch("DROP TABLE letmein.exchange; UPDATE letmein.head SET schema_version = 3");
    assert_eq!(code(told(&database, "one")), "42P01");
    assert_eq!(code(say(&database, "one", b"of one")), "42P01");
    let head = |database: &Database| {
        let settings = database.settings();
        run(async { Reader::open(&settings).await?.head(None).await })
    };
    assert!(head(&database).is_ok());
    let migrated = run(async { migrate(&database.session().await).await });
    assert_eq!(migrated.map(|migrated| (migrated.from, migrated.to)), Ok((3, SCHEMA_VERSION)));
    assert_eq!(say(&database, "one", b"of one"), Ok(()));
    database.batch("UPDATE letmein.head SET schema_version = 2");
    assert_eq!(head(&database).map(drop), Err(EngineError::TooOld { version: 2 }));
}

//! What a node is given when the database changes between its questions.

use letmein_auth_engine::Reader;

use crate::postgres::{Database, run};

const USERS: &str = "INSERT INTO letmein.users (name, password) VALUES ('alice', 'a'), ('bob', 'b')";

/// How many rows are given after the position of the first user, if what comes between happens after the question
/// whether that position is known.
fn given_after(between: &str) -> Option<Option<usize>> {
    let database = Database::new()?;
    database.batch(USERS);
    let settings = database.settings();
    run(async {
        let reader = Reader::open(&settings).await.unwrap();
        let mine = reader.head(None).await.unwrap().position;
        database.session().await.batch("DELETE FROM letmein.users WHERE name = 'bob'").await.unwrap();
        assert!(reader.head(Some(mine)).await.unwrap().can_follow);
        database.session().await.batch(between).await.unwrap();
        let mut rows = 0;
        let position = reader.changed_since(mine, |_| rows += 1).await.unwrap();
        Some(position.map(|_| rows))
    })
}

#[test]
fn a_removal_that_is_purged_after_the_question_for_the_head_is_not_missed() {
    let purge = "DELETE FROM letmein.removed; UPDATE letmein.head SET floor = 2";
    assert!(matches!(given_after(purge), None | Some(None)));
}

#[test]
fn another_history_that_begins_after_the_question_for_the_head_is_not_taken_for_the_old_one() {
    let replace = "UPDATE letmein.changes SET stamp = gen_random_uuid(); \
                   UPDATE letmein.head SET stamp = changes.stamp FROM letmein.changes WHERE changes.revision = 2";
    assert!(matches!(given_after(replace), None | Some(None)));
}

#[test]
fn what_has_changed_is_given_otherwise() {
    assert!(matches!(given_after("SELECT"), None | Some(Some(1))));
}

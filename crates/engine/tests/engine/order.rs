//! Many writers at once, and somebody who follows them.

use std::collections::BTreeSet;
use std::thread::{self, ScopedJoinHandle};

use letmein_auth_engine::{EngineError, Session, Settings, Type, Writer};

use crate::postgres::{Database, run};

const WRITERS: usize = 4;
const CHANGES: usize = 50;

/// What is newer than a revision, beside the newest one and the number of changes, all at one moment.
const NEWS: &str = "SELECT head.revision, (SELECT count(*) FROM letmein.changes WHERE revision > 0), name, is_there
    FROM letmein.head LEFT JOIN (
        SELECT name, revision, true FROM letmein.users UNION ALL SELECT name, revision, false FROM letmein.removed
    ) AS news (name, revision, is_there) ON news.revision > $1";

/// Somebody who has the users of a revision, and asks for what is newer.
#[derive(Default)]
struct Follower {
    revision: i64,
    names: BTreeSet<String>,
}

impl Follower {
    async fn poll(&mut self, session: &Session) {
        let rows = session.rows(NEWS, &[(&self.revision, Type::INT8)]).await.unwrap();
        for row in &rows {
            let (revision, changes): (i64, i64) = (row.get(0), row.get(1));
            assert_eq!(revision, changes, "revisions are committed in their order, without gaps");
            self.revision = revision;
            match (row.get::<_, Option<String>>(2), row.get(3)) {
                (Some(name), Some(true)) => drop(self.names.insert(name)),
                (Some(name), _) => drop(self.names.remove(&name)),
                (None, _) => {}
            }
        }
    }
}

/// Adds a user in each change, and removes every other one again.
async fn write(settings: &Settings, writer: usize) -> Result<(), EngineError> {
    let mut writes = Writer::new(settings);
    for number in 0..CHANGES {
        let name = format!("writer{writer}-{}", number / 2);
        let sql = match number % 4 {
            1 => "DELETE FROM letmein.users WHERE name = $1",
            _ => "INSERT INTO letmein.users (name, password) VALUES ($1, 'p') ON CONFLICT DO NOTHING",
        };
        writes.change("test", async |session| session.rows(sql, &[(&name, Type::TEXT)]).await).await?;
    }
    Ok(())
}

/// Locks the same two users as others do, in another order, and changes several in one transaction.
async fn write_by_hand(session: &Session, writer: usize) -> Result<(), EngineError> {
    let (first, second) = if writer.is_multiple_of(2) { ("alice", "bob") } else { ("bob", "alice") };
    for number in 0..CHANGES {
        session
            .batch(&format!(
                "BEGIN;
                 UPDATE letmein.users SET disabled = NOT disabled WHERE name = '{first}';
                 INSERT INTO letmein.users (name, password) VALUES ('hand{writer}-{number}', 'p');
                 UPDATE letmein.users SET disabled = NOT disabled WHERE name = '{second}';
                 DELETE FROM letmein.users WHERE name = 'hand{writer}-{}';
                 COMMIT",
                number / 2
            ))
            .await?;
    }
    Ok(())
}

#[test]
fn whoever_asks_for_what_is_newer_misses_nothing_of_many_writers() {
    let Some(database) = Database::new() else { return };
    database.batch("INSERT INTO letmein.users (name, password) VALUES ('alice', 'a'), ('bob', 'b')");
    let settings = database.settings();
    let mut follower = Follower::default();
    thread::scope(|scope| {
        let (settings, database) = (&settings, &database);
        let writers = (0..WRITERS).map(|writer| scope.spawn(move || run(write(settings, writer)).unwrap()));
        let by_hand = (0..2).map(|writer| {
            scope.spawn(move || {
                run(async { write_by_hand(&database.session().await, writer).await }).unwrap();
            })
        });
        let writing: Vec<_> = writers.chain(by_hand).collect();
        run(async {
            let session = database.session().await;
            while !writing.iter().all(ScopedJoinHandle::is_finished) {
                follower.poll(&session).await;
            }
            follower.poll(&session).await;
        });
    });
    assert_eq!(follower.revision, i64::try_from(1 + (WRITERS + 2) * CHANGES).unwrap());
    let names = database.query("SELECT ARRAY[name] FROM letmein.users ORDER BY name");
    assert_eq!(follower.names.into_iter().collect::<Vec<_>>().join(", "), names);
}

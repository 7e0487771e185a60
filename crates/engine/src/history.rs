//! What has been changed, how far the nodes are, and how both are forgotten.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::EngineError;
use crate::session::{LOCK_LIMIT, STATEMENT_LIMIT, Session};

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastChange {
    /// Its revision.
    pub revision: i64,
    /// When it was made: a second of UTC, as in 2027-01-31T12:00:00Z.
    pub at: String,
    /// Who made it, by the name of the login.
    pub actor: String,
    /// With which program.
    pub program: String,
    /// What it was; of SQL by hand, its first command.
    pub what: String,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The revision that it serves.
    pub revision: i64,
    /// How many revisions are newer.
    pub behind: i64,
    /// When it last said so, as [`PastChange::at`].
    pub seen: String,
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// The number of names that were removed long ago.
    pub removals: i64,
    /// The number of changes.
    pub changes: i64,
    /// The number of nodes.
    pub nodes: i64,
    /// Up to this revision, removals may be forgotten.
    pub floor: i64,
}

/// How many changes a statement reads.
const CHANGES_A_STATEMENT: u32 = 5_000;
/// How many revisions a transaction forgets, so that it keeps writers waiting for no more than a part of a second.
const REVISIONS_A_PURGE: i64 = 20_000;

/// What is said of a time that is older than so many seconds.
const OLD: &str = "< pg_catalog.now() - pg_catalog.make_interval(secs => $1)";

/// How a time is written. Names of a schema leave nothing to the search path.
fn second(column: &str) -> String {
    format!(r#"pg_catalog.to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"#)
}

/// The newest changes, the newest last: all of them, or those that others were told to be of a user, and the last of
/// each kind that the user's rows show. A user may have several names, which are one to clients.
///
/// # Errors
/// Why the database does not tell.
pub async fn history(
    session: &Session,
    names: Option<&[&str]>,
    limit: Option<u32>,
) -> Result<Vec<PastChange>, EngineError> {
    let at = second("at");
    let sql = format!(
        "SELECT revision, {at}, actor, program, what FROM letmein.changes WHERE revision < $1 AND ($2 IS NULL \
         OR revision IN (SELECT revision FROM letmein.users WHERE name = ANY ($2)) \
         OR revision IN (SELECT revision FROM letmein.removed WHERE name = ANY ($2)) \
         OR EXISTS (SELECT FROM pg_catalog.unnest($2) AS it \
             WHERE pg_catalog.substr(what, pg_catalog.strpos(what, ' ') + 1) = it \
             OR pg_catalog.starts_with(what, 'rename ' || it || ' to ') \
             OR pg_catalog.starts_with(what, 'rename ') \
                AND pg_catalog.right(what, pg_catalog.length(it) + 4) = ' to ' || it)) \
         ORDER BY revision DESC LIMIT $3"
    );
    let mut changes: Vec<PastChange> = Vec::new();
    let mut left = limit.unwrap_or(u32::MAX);
    while left > 0 {
        let before = changes.last().map_or(i64::MAX, |change| change.revision);
        let page = left.min(CHANGES_A_STATEMENT);
        let parameters = [
            (&before as _, Type::INT8),
            (&names as _, Type::TEXT_ARRAY),
            (&i64::from(page) as _, Type::INT8),
        ];
        let rows = session.rows(&sql, &parameters).await?;
        changes.extend(rows.iter().map(past_change));
        left = if rows.len() < page as usize { 0 } else { left - page };
    }
    changes.reverse();
    Ok(changes)
}

fn past_change(row: &Row) -> PastChange {
    PastChange {
        revision: row.get(0),
        at: row.get(1),
        actor: row.get(2),
        program: row.get(3),
        what: row.get(4),
    }
}

/// All nodes, in the order of their names.
///
/// # Errors
/// Why the database does not tell.
pub async fn nodes(session: &Session) -> Result<Vec<Node>, EngineError> {
    let seen = second("seen");
    let sql = format!(
        "SELECT name, nodes.revision, head.revision - nodes.revision, {seen} FROM letmein.nodes, letmein.head \
         ORDER BY name"
    );
    let rows = session.rows(&sql, &[]).await?;
    let node =
        |row: &Row| Node { name: row.get(0), revision: row.get(1), behind: row.get(2), seen: row.get(3) };
    Ok(rows.iter().map(node).collect())
}

/// Forgets removals, changes and nodes that are older than this, but never the newest change. Only the owner may.
///
/// # Errors
/// Why they are not forgotten, or not all of them.
pub async fn purge(session: &Session, older_than: Duration) -> Result<Purged, EngineError> {
    let mut purged = Purged::default();
    loop {
        let step = purge_some(session, older_than).await?;
        purged = Purged {
            removals: purged.removals + step.removals,
            changes: purged.changes + step.changes,
            nodes: purged.nodes + step.nodes,
            floor: step.floor,
        };
        if step.removals == 0 && step.changes == 0 {
            return Ok(purged);
        }
    }
}

/// Forgets the oldest revisions, under the lock on head.
async fn purge_some(session: &Session, older_than: Duration) -> Result<Purged, EngineError> {
    session.batch(&format!("BEGIN ISOLATION LEVEL READ COMMITTED; {LOCK_LIMIT}; {STATEMENT_LIMIT}")).await?;
    let head = session.row("SELECT revision, floor FROM letmein.head FOR UPDATE", &[]).await?;
    let (newest, floor): (i64, i64) = (head.get(0), head.get(1));
    // A clock may have been set back, so an old change may follow a younger one.
    let sql = format!(
        "SELECT least($2 - 1, pg_catalog.min(revision) FILTER (WHERE NOT at {OLD}) - 1, \
         pg_catalog.min(revision) + {REVISIONS_A_PURGE}) FROM letmein.changes"
    );
    let age = (&older_than.as_secs_f64() as _, Type::FLOAT8);
    let last: i64 = session.row(&sql, &[age.clone(), (&newest, Type::INT8)]).await?.get(0);
    let (removals, last_removal) = forget(session, "removed", last).await?;
    let (changes, last_change) = forget(session, "changes", last).await?;
    let floor = floor.max(last_removal).max(last_change);
    session.rows("UPDATE letmein.head SET floor = $1 WHERE floor < $1", &[(&floor, Type::INT8)]).await?;
    let sql = format!(
        "WITH gone AS (DELETE FROM letmein.nodes WHERE seen {OLD} RETURNING 1) SELECT pg_catalog.count(*) FROM gone"
    );
    let nodes = session.row(&sql, &[age]).await?.get(0);
    session.first_error()?;
    session.batch("COMMIT").await?;
    Ok(Purged { removals, changes, nodes, floor })
}

/// Forgets the rows of a table up to a revision. Gives their number, and the greatest revision among them.
async fn forget(session: &Session, table: &str, last: i64) -> Result<(i64, i64), EngineError> {
    let sql = format!(
        "WITH gone AS (DELETE FROM letmein.{table} WHERE revision <= $1 RETURNING revision) \
         SELECT pg_catalog.count(*), coalesce(pg_catalog.max(revision), 0) FROM gone"
    );
    let row = session.row(&sql, &[(&last, Type::INT8)]).await?;
    Ok((row.get(0), row.get(1)))
}

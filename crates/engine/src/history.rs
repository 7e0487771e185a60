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
    /// When it last said so, as [`PastChange::at`], unless that is no time.
    pub seen: Option<String>,
}

/// How old something is that is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeAge(Duration);

impl PurgeAge {
    /// A writer that had no answer to COMMIT looks for its stamp among the changes, for minutes if need be. Were it
    /// forgotten by then, the change would be made again.
    pub const MIN: Duration = Duration::from_secs(60 * 60);

    /// An age of at least [`PurgeAge::MIN`].
    #[must_use]
    pub fn new(age: Duration) -> Option<Self> {
        (age >= Self::MIN).then_some(Self(age))
    }
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
/// How many rows a transaction forgets, so that it keeps writers waiting for no more than a part of a second.
const ROWS_A_PURGE: usize = 20_000;

/// What is said of a time that is older than so many seconds.
const OLD: &str = "< pg_catalog.now() - pg_catalog.make_interval(secs => $1)";

/// How a time is written; NULL for none that can be.
fn second(column: &str) -> String {
    format!(r#"pg_catalog.to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"#)
}

/// The changes of a user, who may have several names, which are one to clients.
#[derive(Clone, Copy, Debug)]
pub struct ChangesOf<'n> {
    /// The names.
    pub names: &'n [&'n str],
    /// What others are told of changes of the user alone, other than `rename NAME to NAME`.
    pub told: &'n [String],
}

/// The newest changes, the newest last: all of them, or those that others were told to be of a user, and the last of
/// each kind that the user's rows show.
///
/// # Errors
/// Why the database does not tell.
pub async fn history(
    session: &Session,
    of: Option<ChangesOf<'_>>,
    limit: Option<u32>,
) -> Result<Vec<PastChange>, EngineError> {
    let at = second("at");
    let sql = format!(
        "SELECT revision, {at}, actor, program, what FROM letmein.changes WHERE revision < $1 AND ($2 IS NULL \
         OR revision IN (SELECT revision FROM letmein.users WHERE name = ANY ($2)) \
         OR revision IN (SELECT revision FROM letmein.removed WHERE name = ANY ($2)) \
         OR what = ANY ($3) \
         OR pg_catalog.starts_with(what, 'rename ') AND EXISTS (SELECT FROM pg_catalog.unnest($2) AS it \
             WHERE pg_catalog.starts_with(what, 'rename ' || it || ' to ') \
             OR pg_catalog.right(what, pg_catalog.length(it) + 4) = ' to ' || it)) \
         ORDER BY revision DESC LIMIT $4"
    );
    let (names, told) = (of.map(|of| of.names), of.map(|of| of.told));
    let mut changes: Vec<PastChange> = Vec::new();
    let mut left = limit.unwrap_or(u32::MAX);
    while left > 0 {
        let before = changes.last().map_or(i64::MAX, |change| change.revision);
        let page = left.min(CHANGES_A_STATEMENT);
        let parameters = [
            (&before as _, Type::INT8),
            (&names as _, Type::TEXT_ARRAY),
            (&told as _, Type::TEXT_ARRAY),
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

/// Forgets removals, changes, nodes and their messages that are older than this, but never the newest change. Only the
/// owner may.
///
/// # Errors
/// Why they are not forgotten, or not all of them.
pub async fn purge(session: &Session, older_than: PurgeAge) -> Result<Purged, EngineError> {
    let nodes = forget_nodes(session, older_than).await?;
    let last = last_to_forget(session, older_than).await?;
    // A node that is below the floor loads all users, so it misses no removal, however far we come.
    let floor = raise_floor(session, last).await?;
    let removals = forget(session, "removed", last).await?;
    let changes = forget(session, "changes", last).await?;
    Ok(Purged { removals, changes, nodes, floor })
}

async fn forget_nodes(session: &Session, PurgeAge(age): PurgeAge) -> Result<i64, EngineError> {
    session.batch(&format!("BEGIN; {LOCK_LIMIT}; {STATEMENT_LIMIT}")).await?;
    let forget = async |table| {
        let sql = format!("DELETE FROM letmein.{table} WHERE seen {OLD} RETURNING 1");
        session.rows(&sql, &[(&age.as_secs_f64(), Type::FLOAT8)]).await
    };
    let gone = forget("nodes").await?;
    forget("exchange").await?;
    session.batch("COMMIT").await?;
    Ok(gone.len() as i64)
}

/// The last revision that is old as all before it: a clock may have been set back, so an old change may follow a
/// younger one.
async fn last_to_forget(session: &Session, PurgeAge(age): PurgeAge) -> Result<i64, EngineError> {
    let sql = format!(
        "SELECT least(revision, \
         (SELECT revision FROM letmein.changes WHERE NOT at {OLD} ORDER BY revision LIMIT 1)) - 1 FROM letmein.head"
    );
    Ok(session.row(&sql, &[(&age.as_secs_f64(), Type::FLOAT8)]).await?.get(0))
}

/// Says that removals up to a revision may be forgotten. Gives the floor.
async fn raise_floor(session: &Session, last: i64) -> Result<i64, EngineError> {
    lock_head(session).await?;
    let sql = "UPDATE letmein.head SET floor = greatest(floor, $1) RETURNING floor";
    let floor = session.row(sql, &[(&last, Type::INT8)]).await?.get(0);
    session.batch("COMMIT").await?;
    Ok(floor)
}

/// Forgets the rows of a table up to a revision, in several transactions. Gives their number.
async fn forget(session: &Session, table: &str, last: i64) -> Result<i64, EngineError> {
    let sql = format!(
        "DELETE FROM letmein.{table} WHERE revision <= $1 AND ctid = ANY (ARRAY( \
         SELECT ctid FROM letmein.{table} WHERE revision <= $1 LIMIT {ROWS_A_PURGE})) RETURNING 1"
    );
    let mut forgotten = 0;
    loop {
        lock_head(session).await?;
        let gone = session.rows(&sql, &[(&last, Type::INT8)]).await?.len();
        session.batch("COMMIT").await?;
        forgotten += gone as i64;
        if gone < ROWS_A_PURGE {
            return Ok(forgotten);
        }
    }
}

/// Begins a transaction with the lock that all who change users or removals take first.
async fn lock_head(session: &Session) -> Result<(), EngineError> {
    session.batch(&format!("BEGIN ISOLATION LEVEL READ COMMITTED; {LOCK_LIMIT}; {STATEMENT_LIMIT}")).await?;
    session.row("SELECT FROM letmein.head FOR UPDATE", &[]).await.map(drop)
}

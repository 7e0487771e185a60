//! All users at a revision, and what has changed since, for nodes that follow; and what these tell each other.
//!
//! ```text
//! head ── where I am is in this history ──► changes since, and the new position
//!      └─ it is not, or too far back ─────► all users, and their position
//! ```
//! Either is read in one transaction that sees one state of the database, so a position stands for exactly these users.
//! Nothing is locked, and a standby does as well as a primary. Only messages need a primary.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::TryStreamExt;
use std::pin::pin;
use tokio::time::timeout;
use tokio_postgres::types::Type;
use users::parse_network;
use users::synced::{Credential, Position, Row, RowError};

use crate::SCHEMA_VERSION;
use crate::error::EngineError;
use crate::session::{Parameter, Session};
use crate::settings::Settings;

/// How long so many rows may take.
const ROWS_LIMIT: Duration = Duration::from_secs(30);
const ROWS_AT_A_TIME: usize = 4096;

/// The oldest schema that can be followed. It has no messages yet.
const SCHEMA_VERSION_MIN: i32 = 3;

/// The longest message to other nodes, in bytes; the table takes no longer one.
pub const MESSAGE_LEN_MAX: usize = 32_768;
/// How many messages are read at once, 2 MiB at most.
const MESSAGES_MAX: usize = 64;

/// Reads users, says how far a node is, and carries messages from node to node.
pub struct Reader {
    session: Session,
}

/// Where the database is, and what that is to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where the database is.
    pub position: Position,
    /// Whether what has changed since the node's position is known: it is of this history, and no removal after it was
    /// purged.
    pub can_follow: bool,
    /// Whether this is a standby, which may be behind the primary that was asked before.
    pub is_standby: bool,
}

impl Reader {
    /// Connects.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(settings: &Settings) -> Result<Self, EngineError> {
        Ok(Self { session: Session::open(settings).await? })
    }

    /// Asks where the database is. One statement, which reads two rows.
    ///
    /// # Errors
    /// Why there is no answer, or none for this program: [`EngineError::NoSchema`], [`EngineError::TooOld`],
    /// [`EngineError::TooNew`].
    pub async fn head(&self, mine: Option<Position>) -> Result<Head, EngineError> {
        let Position { revision, stamp } = mine.unwrap_or(Position { revision: -1, stamp: [0; 16] });
        let sql = "SELECT revision, stamp::text, schema_version, min_reader, floor <= $1 AND \
                   EXISTS (SELECT FROM letmein.changes WHERE revision = $1 AND stamp = $2::uuid), \
                   pg_is_in_recovery() FROM letmein.head";
        let stamp = stamp_text(stamp);
        let row = self.session.row(sql, &[(&revision, Type::INT8), (&stamp, Type::TEXT)]).await;
        let row = row.map_err(EngineError::or_no_schema)?;
        let (version, min_reader) = (row.get(2), row.get(3));
        if min_reader > SCHEMA_VERSION {
            return Err(EngineError::TooNew { version, min_reader });
        }
        if version < SCHEMA_VERSION_MIN {
            return Err(EngineError::TooOld { version });
        }
        Ok(Head {
            position: position(row.get(0), row.get(1))?,
            can_follow: row.get(4),
            is_standby: row.get(5),
        })
    }

    /// Gives all users, in no order.
    ///
    /// # Errors
    /// Why not all were given.
    pub async fn all(&self, mut each: impl FnMut(Given<'_>)) -> Result<Position, EngineError> {
        let head = self.begin(None).await?;
        self.each(&format!("SELECT {COLUMNS} FROM letmein.users"), &[], |row| give(row, &mut each)).await?;
        self.session.batch("COMMIT").await?;
        Ok(head.position)
    }

    /// Gives the users who were changed after a position, and the names that were removed after it. Gives nothing if
    /// that is not known here: a pool may lead to another database than [`Reader::head`] has asked.
    ///
    /// # Errors
    /// Why not all were given.
    pub async fn changed_since(
        &self,
        mine: Position,
        mut each: impl FnMut(Given<'_>),
    ) -> Result<Option<Position>, EngineError> {
        let head = self.begin(Some(mine)).await?;
        if head.can_follow {
            let since: &[Parameter<'_>] = &[(&mine.revision, Type::INT8)];
            let sql = "SELECT name FROM letmein.removed WHERE revision > $1";
            self.each(sql, since, |row| give_removed(row, &mut each)).await?;
            let sql = format!("SELECT {COLUMNS} FROM letmein.users WHERE revision > $1");
            self.each(&sql, since, |row| give(row, &mut each)).await?;
        }
        self.session.batch("COMMIT").await?;
        Ok(head.can_follow.then_some(head.position))
    }

    /// Says in the table of nodes how far this node is. On a standby nobody can.
    ///
    /// # Errors
    /// Why it is not said.
    pub async fn report(&self, node: &str, revision: i64) -> Result<(), EngineError> {
        let sql = "INSERT INTO letmein.nodes VALUES ($1, $2, now()) \
                   ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, seen = excluded.seen";
        self.session.rows(sql, &[(&node, Type::TEXT), (&revision, Type::INT8)]).await?;
        Ok(())
    }

    /// How many nodes follow this database, with this one: those that have said within a day how far they are. A node
    /// that was cut off is still one of them, since it serves.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn nodes(&self, node: &str) -> Result<NonZeroU32, EngineError> {
        let sql = "SELECT count(*) FROM letmein.nodes WHERE name <> $1 \
                   AND seen BETWEEN now() - interval '1 day' AND now() + interval '1 day'";
        let row = self.session.row(sql, &[(&node, Type::TEXT)]).await?;
        let others = u32::try_from(row.get::<_, i64>(0)).unwrap_or(u32::MAX);
        Ok(NonZeroU32::MIN.saturating_add(others))
    }

    /// Puts a message to the other nodes in the place of the one before it.
    ///
    /// # Errors
    /// Why it is not there. [`EngineError::Refused`] if this is a standby, the schema has no messages yet, the role may
    /// not write them, or the message is empty or longer than [`MESSAGE_LEN_MAX`].
    pub async fn exchange(&self, node: &str, message: &[u8]) -> Result<(), EngineError> {
        let sql = "INSERT INTO letmein.exchange VALUES ($1, $2, now()) \
                   ON CONFLICT (node) DO UPDATE SET message = excluded.message, seen = excluded.seen";
        self.session.rows(sql, &[(&node, Type::TEXT), (&message, Type::BYTEA)]).await?;
        Ok(())
    }

    /// The messages of the other nodes that are at most 8 s old, in the order of the nodes' names; of the first 64
    /// nodes, if there are more. Servers read none that is older than 10 s.
    ///
    /// # Errors
    /// Why there is no answer. [`EngineError::Refused`] if this is a standby, the schema has no messages yet, or the
    /// role may not read them.
    pub async fn others(&self, node: &str) -> Result<Vec<Vec<u8>>, EngineError> {
        let sql = format!(
            "SELECT message FROM letmein.exchange WHERE node <> $1 \
             AND seen BETWEEN now() - interval '8 s' AND now() + interval '8 s' ORDER BY node LIMIT {MESSAGES_MAX}"
        );
        let rows = self.session.rows(&sql, &[(&node, Type::TEXT)]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Begins a transaction that sees one state, and says which. The database may have changed since it was last asked.
    async fn begin(&self, mine: Option<Position>) -> Result<Head, EngineError> {
        self.session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        self.head(mine).await
    }

    async fn each(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
        mut give: impl FnMut(&tokio_postgres::Row) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut rows = pin!(self.session.stream(sql, parameters).await?);
        let mut is_more = true;
        while is_more {
            let some = async {
                for _ in 0..ROWS_AT_A_TIME {
                    let Some(row) = rows.try_next().await? else { return Ok(false) };
                    give(&row)?;
                }
                Ok::<_, EngineError>(true)
            };
            is_more = timeout(ROWS_LIMIT, some).await.map_err(|_| EngineError::TimedOut(ROWS_LIMIT))??;
        }
        Ok(())
    }
}

/// No row may keep the others from being read: a day out of range is told as -1, networks that are no list as NULL in
/// one, and nobody gets in who is not said to be enabled.
const COLUMNS: &str = "name, password, opaque, disabled IS NOT FALSE, \
     CASE WHEN expires BETWEEN DATE '1970-01-01' AND DATE '9999-12-31' THEN expires - DATE '1970-01-01' \
     WHEN expires IS NOT NULL THEN -1 END, \
     CASE WHEN networks IS NULL OR array_ndims(networks) = 1 THEN networks::text[] ELSE '{NULL}' END";

/// A row of the database.
#[derive(Debug)]
pub struct Given<'a> {
    /// The name, whatever it is.
    pub name: &'a str,
    /// The row, if it keeps all rules.
    pub row: Result<Row<'a>, RowError>,
}

/// Gives a name that was removed.
fn give_removed(row: &tokio_postgres::Row, each: &mut impl FnMut(Given<'_>)) -> Result<(), EngineError> {
    let name = row.try_get(0)?;
    let row = Row::removed(name);
    each(Given { name, row: row.check().map(|()| row) });
    Ok(())
}

/// Gives a user.
fn give(row: &tokio_postgres::Row, each: &mut impl FnMut(Given<'_>)) -> Result<(), EngineError> {
    let name = row.try_get(0)?;
    let credential = match (row.try_get(1)?, row.try_get(2)?) {
        (_, Some(record)) => Ok(Credential::Record(record)),
        (Some(password), None) => Ok(Credential::Password(password)),
        (None, None) => Err(RowError::NoCredential),
    };
    let is_disabled = row.try_get(3)?;
    let last_day: Option<i32> = row.try_get(4)?;
    let networks: Option<Vec<Option<&str>>> = row.try_get(5)?;
    let valid = || {
        let last_day = last_day.map(u32::try_from).transpose().map_err(|_| RowError::Day)?;
        // Left out, a network would let the user in from anywhere.
        let networks = networks.map(|all| all.into_iter().map(|it| parse_network(it?)).collect());
        let networks = networks.unwrap_or_else(|| Some(Vec::new())).ok_or(RowError::Networks)?;
        let row = Row { name, credential: credential?, is_disabled, last_day, networks };
        row.check().map(|()| row)
    };
    each(Given { name, row: valid() });
    Ok(())
}

fn position(revision: i64, stamp: &str) -> Result<Position, EngineError> {
    let digits = stamp.replace('-', "");
    let stamp = u128::from_str_radix(&digits, 16).map(u128::to_be_bytes);
    let stamp = stamp.map_err(|_| EngineError::Unexpected("a stamp that is no UUID".into()))?;
    Ok(Position { revision, stamp })
}

fn stamp_text(stamp: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(stamp))
}

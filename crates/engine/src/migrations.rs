//! The schema: made, brought up to date, and looked at.

use std::time::Duration;

use tokio_postgres::types::Type;

use crate::error::EngineError;
use crate::session::{LOCK_LIMIT, STATEMENT_LIMIT, Session, TIME_LIMIT};
use crate::settings::Settings;

/// Each file brings the schema from the version before to its own. Files that have been released stay as they are.
const FILES: [&str; 4] = [
    include_str!("../sql/0001_tables.sql"),
    include_str!("../sql/0002_revisions.sql"),
    include_str!("../sql/0003_roles.sql"),
    include_str!("../sql/0004_exchange.sql"),
];

/// The version of the schema that this program makes.
pub const SCHEMA_VERSION: i32 = FILES.len() as i32;
/// The oldest version that a program may know to use a schema of ours.
const MIN_READER: i32 = 3;
/// How many collisions with other migrations are retried.
const COLLISIONS_MAX: u32 = 10;

/// How long a file may take in the database: it may have to read all users.
const FILE_LIMIT: Duration = Duration::from_secs(60);
/// Functions that somebody has planted in another schema are not found, so a superuser does not run them.
const BEGIN: &str = "BEGIN; SET LOCAL search_path = pg_catalog, pg_temp";

/// The named constraints of users, and the triggers on them, in the order of their names.
const RULES: [&str; 18] = [
    "before_change",
    "note_deletes",
    "note_inserts",
    "note_updates",
    "number_row",
    "refuse_truncate",
    "users_expires_since_1970",
    "users_name_colon",
    "users_name_control",
    "users_name_length",
    "users_name_space",
    "users_networks_flat",
    "users_networks_length",
    "users_networks_null",
    "users_opaque_length",
    "users_opaque_start",
    "users_password_length",
    "users_password_or_opaque",
];

/// What became of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version that it had; 0 if there was none.
    pub from: i32,
    /// The version that it has.
    pub to: i32,
}

/// What is in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The newest revision.
    pub revision: i64,
    /// The number of users.
    pub users: i64,
    /// The version of the schema.
    pub schema_version: i32,
    /// Named constraints of users, and triggers on them, that somebody has dropped or turned off, in the order of their
    /// names.
    pub missing_rules: Vec<String>,
}

/// Makes the schema and its roles in a database that has none, or brings the schema up to date.
///
/// # Errors
/// Why it cannot. Each file is a transaction, so the schema then has the version of the last that succeeded.
pub async fn init(session: &Session) -> Result<Migrated, EngineError> {
    let row = session.row("SELECT pg_catalog.current_setting('server_encoding')", &[]).await?;
    match row.get(0) {
        "UTF8" => apply_all(session).await,
        other => Err(EngineError::NotUtf8(other.into())),
    }
}

/// Brings the schema up to date.
///
/// # Errors
/// As for [`init`], and [`EngineError::NoSchema`].
pub async fn migrate(session: &Session) -> Result<Migrated, EngineError> {
    schema(session).await?.ok_or(EngineError::NoSchema)?;
    apply_all(session).await
}

/// Says what is in the database.
///
/// # Errors
/// [`EngineError::NoSchema`], [`EngineError::TooNew`], or why the database does not tell.
pub async fn status(session: &Session) -> Result<Status, EngineError> {
    let schema_version = schema(session).await?.ok_or(EngineError::NoSchema)?.version;
    let sql = "SELECT revision, (SELECT pg_catalog.count(*) FROM letmein.users) FROM letmein.head";
    let row = session.row(sql, &[]).await?;
    let missing_rules = missing_rules(session, schema_version).await?;
    Ok(Status { revision: row.get(0), users: row.get(1), schema_version, missing_rules })
}

/// The rules that are not in force. Those of a version that this program does not make are unknown.
async fn missing_rules(session: &Session, version: i32) -> Result<Vec<String>, EngineError> {
    if version != SCHEMA_VERSION {
        return Ok(Vec::new());
    }
    // A trigger fires always, also where a session says that it copies what another database has checked.
    let sql = "SELECT name FROM pg_catalog.unnest($1) AS rule(name) WHERE name NOT IN (
                   SELECT conname FROM pg_catalog.pg_constraint
                       WHERE conrelid = 'letmein.users'::pg_catalog.regclass AND convalidated
                   UNION ALL SELECT tgname FROM pg_catalog.pg_trigger
                       WHERE tgrelid = 'letmein.users'::pg_catalog.regclass AND tgenabled = 'A')
               ORDER BY name";
    let rows = session.rows(sql, &[(&RULES.as_slice(), Type::TEXT_ARRAY)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Connects to a database whose schema this program can use.
///
/// # Errors
/// Whatever keeps it from connecting; [`EngineError::NoSchema`], [`EngineError::TooOld`] or [`EngineError::TooNew`].
pub async fn open(settings: &Settings) -> Result<Session, EngineError> {
    let session = Session::open(settings).await?;
    let Schema { version, .. } = schema(&session).await?.ok_or(EngineError::NoSchema)?;
    if version < SCHEMA_VERSION { Err(EngineError::TooOld { version }) } else { Ok(session) }
}

/// What the database says of its schema.
#[derive(Clone, Copy)]
struct Schema {
    version: i32,
    /// The oldest version that a program may know to use it.
    min_reader: i32,
}

/// The schema, if there is one that this program can use.
async fn schema(session: &Session) -> Result<Option<Schema>, EngineError> {
    let is_there = session.row("SELECT pg_catalog.to_regclass('letmein.head') IS NOT NULL", &[]).await?;
    if !is_there.get::<_, bool>(0) {
        return Ok(None);
    }
    usable(session).await.map(Some)
}

async fn usable(session: &Session) -> Result<Schema, EngineError> {
    let row = session.row("SELECT schema_version, min_reader FROM letmein.head", &[]).await?;
    let schema = Schema { version: row.get(0), min_reader: row.get(1) };
    if schema.min_reader > SCHEMA_VERSION {
        return Err(EngineError::TooNew { version: schema.version, min_reader: schema.min_reader });
    }
    Ok(schema)
}

async fn apply_all(session: &Session) -> Result<Migrated, EngineError> {
    let from = schema(session).await?.map_or(0, |schema| schema.version);
    let mut collisions = 0;
    loop {
        match apply_next(session).await {
            Ok(Step::Applied) => {}
            Ok(Step::NothingLeft { version }) => return Ok(Migrated { from, to: version }),
            // Somebody else has made the schema meanwhile, or the roles from another database; or they wait for the row
            // while we alter its table.
            Err(error) if collisions < COLLISIONS_MAX && (error.is_duplicate() || error.is_conflict()) => {
                collisions += 1;
                session.batch("ROLLBACK").await?;
                schema(session).await?.ok_or(error)?;
            }
            Err(error) => return Err(error),
        }
    }
}

enum Step {
    Applied,
    NothingLeft { version: i32 },
}

/// Applies the next file in a transaction, under the lock on head once that is there.
async fn apply_next(session: &Session) -> Result<Step, EngineError> {
    let seen = schema(session).await?;
    if let Some(Schema { version, .. }) = seen
        && version >= SCHEMA_VERSION
    {
        return Ok(Step::NothingLeft { version });
    }
    session.batch(&format!("{BEGIN}; {LOCK_LIMIT}; {STATEMENT_LIMIT}")).await?;
    let mut version = 0;
    if seen.is_some() {
        // The lock that ALTER TABLE needs, before any other: to go from one to the other deadlocks with writers.
        session.batch("LOCK TABLE letmein.head IN ACCESS EXCLUSIVE MODE").await?;
        // It may have changed until we had the lock.
        version = usable(session).await?.version;
    }
    let Some((next, sql)) = (1..).zip(FILES).find(|(number, _)| *number == version + 1) else {
        session.batch("ROLLBACK").await?;
        return Ok(Step::NothingLeft { version });
    };
    session
        .long_batch(
            &format!("SET LOCAL statement_timeout = '{}s'; {sql}", FILE_LIMIT.as_secs()),
            FILE_LIMIT + TIME_LIMIT,
        )
        .await?;
    let sql = "UPDATE letmein.head SET schema_version = $1, min_reader = $2";
    session.rows(sql, &[(&next, Type::INT4), (&MIN_READER, Type::INT4)]).await?;
    session.batch("COMMIT").await?;
    Ok(Step::Applied)
}

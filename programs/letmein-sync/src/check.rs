//! Database and folder compared, without a change to either.

use std::fs::File;
use std::path::Path;

use engine::{EngineError, Reader, Settings};
use letmein::cli::{self, ExitStatus};
use tokio::runtime::Runtime;
use users::synced::{BASE_NAME, Credential, LOG_NAME, Position, Row, read_base, read_log};
use users::{RecordTextError, parse_record};

use crate::taken::Invalid;
use crate::{PROGRAM, failed};

/// What is in the database.
struct Database {
    position: Position,
    users: u64,
    /// Rows that are no users.
    invalid: Invalid,
}

/// Says how far the folder is, and which rows are no users.
pub(crate) fn check(runtime: &Runtime, settings: &Settings, folder: &Path) -> Result<ExitStatus, ExitStatus> {
    let database = runtime.block_on(read(settings)).map_err(|error| failed(&error))?;
    let mine = position(folder);
    let state = match mine {
        None => "no users yet".to_owned(),
        Some(mine) if mine == database.position => format!("revision {}, as the database", mine.revision),
        Some(mine) => format!("revision {}, another one", mine.revision),
    };
    let Database { position: Position { revision, .. }, users, invalid } = &database;
    let (rows, first) = (invalid.rows, invalid.first_text());
    let lines = [
        format!("database  revision {revision}, users: {users}, rows that are no users: {rows}{first}"),
        format!("folder    {state}"),
    ];
    cli::print(PROGRAM, lines.into_iter().chain(invalid.lines()))?;
    let is_alike = mine == Some(database.position) && rows == 0;
    Ok(if is_alike { ExitStatus::Done } else { ExitStatus::Refused })
}

async fn read(settings: &Settings) -> Result<Database, EngineError> {
    let reader = Reader::open(settings).await?;
    // It tells whether this program knows the tables.
    let mut database =
        Database { position: reader.head(None).await?.position, users: 0, invalid: Invalid::default() };
    let position = reader.all(|given| match given.row {
        Err(error) => database.invalid.note(given.name, &error),
        Ok(row) => match check_record(&row) {
            Err(error) => database.invalid.note(given.name, &format_args!("a record {error}")),
            Ok(()) => database.users += 1,
        },
    });
    let position = position.await?;
    Ok(Database { position, ..database })
}

/// Whether servers take the record of a user, if that is what there is.
fn check_record(row: &Row<'_>) -> Result<(), RecordTextError> {
    match row.credential {
        Credential::Record(record) => parse_record(record).map(drop),
        Credential::Password(_) | Credential::Removed => Ok(()),
    }
}

/// Where the users in a folder are in the history.
fn position(folder: &Path) -> Option<Position> {
    let base = read_base(File::open(folder.join(BASE_NAME)).ok()?, |_| {}).ok()?.position;
    let log = File::open(folder.join(LOG_NAME)).ok().and_then(|file| read_log(file, |_| {}).ok());
    Some(log.filter(|log| log.base == base).map_or(base, |log| log.position))
}

//! Why the engine did not do what it was asked.

use std::error::Error;
use std::fmt::Write;
use std::io;
use std::time::Duration;

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::session::TIME_LIMIT;

/// Why the engine did not do what it was asked. No text shows a row, since rows have passwords.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// There is no connection, or none any more.
    #[error("no connection to the database: {0}")]
    Unreachable(String),
    /// The database takes too long to let us in.
    #[error("no connection to the database within {} s: check host and port, and what is between", TIME_LIMIT.as_secs())]
    ConnectTimedOut,
    /// The database takes too long.
    #[error("the database did not answer within {} s: see what it waits for in pg_stat_activity", .0.as_secs())]
    TimedOut(Duration),
    /// The database refuses.
    #[error("the database refuses: {reason} ({code})")]
    Refused {
        /// SQLSTATE.
        code: String,
        /// The database's words, without its details.
        reason: String,
    },
    /// Two users would have the same name and password, written together.
    #[error(
        "a user would have the same name and password, written together, as another one, so that each could log in as \
         the other: give another password"
    )]
    EqualLogins,
    /// The database answered with something unexpected.
    #[error("unexpected answer from the database: {0}")]
    Unexpected(String),
    /// The connection was lost at the end of a change, and could not be restored.
    #[error("{0}; whether the change was made is not known: look for stamp = '{1}' in letmein.changes")]
    Unsettled(Box<Self>, String),
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    NoRandomness(String),
    /// Names and passwords are UTF-8.
    #[error(
        "the encoding of the database is {0}: make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    )]
    NotUtf8(String),
    /// Nothing is in the database yet.
    #[error("the database has no schema letmein: make it with letmein-users engine init")]
    NoSchema,
    /// The schema was made by an earlier program.
    #[error(
        "the schema of the database has version {version}, and this program needs version {}: \
         run letmein-users engine migrate",
        crate::SCHEMA_VERSION
    )]
    TooOld {
        /// The version of the schema.
        version: i32,
    },
    /// The schema was made by a later program.
    #[error(
        "the schema of the database has version {version} and needs a program that knows version {min_reader}, and this \
         one knows {known}: install a newer letmein", known = crate::SCHEMA_VERSION
    )]
    TooNew {
        /// The version of the schema.
        version: i32,
        /// The oldest version that a program may know.
        min_reader: i32,
    },
}

impl EngineError {
    /// Why there is no connection. That is always fatal, and a wrong password is no better the next time.
    pub(crate) fn of_connecting(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refusal) if ends_session(refusal.code()) => Self::Unreachable(refusal.message().into()),
            Some(refusal) => Self::of_refusal(refusal),
            None => Self::Unreachable(with_causes(error)),
        }
    }

    /// Detail, hint and context stay behind: the detail of a violated CHECK is the row.
    fn of_refusal(refusal: &DbError) -> Self {
        if refusal.constraint() == Some("users_login") {
            return Self::EqualLogins;
        }
        Self::Refused { code: refusal.code().code().into(), reason: refusal.message().into() }
    }

    /// Whether the transaction was undone because of another one, so that it may succeed now.
    pub(crate) fn is_conflict(&self) -> bool {
        self.has_code(&SqlState::T_R_SERIALIZATION_FAILURE) || self.has_code(&SqlState::T_R_DEADLOCK_DETECTED)
    }

    /// Whether the connection is gone, and with it the answer.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// Whether something is there already that was to be made.
    pub(crate) fn is_duplicate(&self) -> bool {
        let codes = [SqlState::DUPLICATE_SCHEMA, SqlState::DUPLICATE_OBJECT, SqlState::UNIQUE_VIOLATION];
        codes.iter().any(|code| self.has_code(code))
    }

    /// The same, or that there is no schema, if that is why a table is missing.
    pub(crate) fn or_no_schema(self) -> Self {
        let codes = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
        if codes.iter().any(|code| self.has_code(code)) { Self::NoSchema } else { self }
    }

    fn has_code(&self, state: &SqlState) -> bool {
        matches!(self, Self::Refused { code, .. } if code == state.code())
    }
}

impl From<tokio_postgres::Error> for EngineError {
    /// What became of a statement.
    fn from(error: tokio_postgres::Error) -> Self {
        let is_io = error.source().is_some_and(|cause| cause.is::<io::Error>());
        match error.as_db_error() {
            Some(refusal) if ends_session(refusal.code()) || is_fatal(refusal) => {
                Self::Unreachable(refusal.message().into())
            }
            Some(refusal) => Self::of_refusal(refusal),
            None if is_io || error.is_closed() => Self::Unreachable(with_causes(&error)),
            None => Self::Unexpected(with_causes(&error)),
        }
    }
}

/// Whether this is no answer: the database stops, has not started yet, or does not know what became of the statement.
fn ends_session(state: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN,
    ]
    .contains(state)
}

/// Whether the connection is lost, between a pool and the database, too. What became of the statement is not known.
fn is_fatal(refusal: &DbError) -> bool {
    let is_about_connection = refusal.code().code().starts_with("08");
    is_about_connection || matches!(refusal.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
}

/// An error that is not the database's, with what it comes from.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing into a string does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

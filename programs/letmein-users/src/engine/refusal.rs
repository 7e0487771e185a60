//! Why nothing is changed in the database, or read from it, and what to do.

use std::path::PathBuf;

use engine::{EngineError, NETWORKS_MAX};
use letmein::cli::ExitStatus;
use proto::credentials::Username;
use proto::opaque::key::KeyId;

/// What a command does with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Init,
    Migrate,
    Purge,
    Read,
    Change,
}

/// Why a command is not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The database, or whatever is between.
    #[error("{error}{}", remedy(*doing, error).map(|remedy| format!(": {remedy}")).unwrap_or_default())]
    Database { doing: Doing, error: EngineError },
    /// There is no thread, file or memory to wait with.
    #[error("{0}")]
    System(std::io::Error),
    #[error(
        "{}: users in PostgreSQL have one password each, so nothing was changed: leave --keep-old and --drop-old out, and \
         tell the user when the new password takes effect", path.display()
    )]
    NoOldPasswords { path: PathBuf },
    #[error(
        "{}: the key of the records is not in the database: name its file with --key-file{or}", path.display()
    )]
    NoKeyFile { path: PathBuf, or: &'static str },
    #[error(
        "{}: the record of {name} was made with the key {key}, and the key file has {own}: give {name} a password \
         instead, or name the file of that key", path.display()
    )]
    ForeignRecord { path: PathBuf, name: Username, key: KeyId, own: KeyId },
    #[error(
        "{}: the record of {name} was made with the key {key}, and those in the database with {present}: name the key \
         file that belongs to them, and delete the other if it was made just now", path.display()
    )]
    OtherKey { path: PathBuf, name: Username, key: KeyId, present: KeyId },
    #[error(
        "{}: name and password of {name} and of {other}, written together, are the same: change a password",
        path.display()
    )]
    EqualLogins { path: PathBuf, name: String, other: String },
    #[error("{}: {name} has more than {NETWORKS_MAX} networks: put some of them together", path.display())]
    TooManyNetworks { path: PathBuf, name: String },
    /// Rows that no node serves.
    #[error("{}", problems.iter().map(|it| format!("{}: {it}", path.display())).collect::<Vec<_>>().join("\n"))]
    Rows { path: PathBuf, problems: Vec<String> },
}

impl Refusal {
    /// Whether nobody knows if the change was made.
    pub(crate) fn is_unsettled(&self) -> bool {
        matches!(self, Self::Database { error: EngineError::Unsettled(..), .. })
    }

    /// A database that is another than it should be is wrong as a users file is.
    pub(crate) fn status(&self) -> ExitStatus {
        let error = match self {
            Self::Database { error, .. } => error,
            Self::System(_) => return ExitStatus::Failed,
            Self::NoOldPasswords { .. }
            | Self::NoKeyFile { .. }
            | Self::ForeignRecord { .. }
            | Self::OtherKey { .. }
            | Self::EqualLogins { .. }
            | Self::TooManyNetworks { .. }
            | Self::Rows { .. } => return ExitStatus::Usage,
        };
        match error {
            EngineError::NotUtf8(_)
            | EngineError::NoSchema
            | EngineError::EqualLogins
            | EngineError::TooOld { .. }
            | EngineError::TooNew { .. } => ExitStatus::Usage,
            EngineError::Unreachable(_)
            | EngineError::ConnectTimedOut
            | EngineError::TimedOut(_)
            | EngineError::Refused { .. }
            | EngineError::Unexpected(_)
            | EngineError::Unsettled(..)
            | EngineError::NoRandomness(_) => ExitStatus::Failed,
        }
    }
}

/// SQLSTATE insufficient_privilege.
const NO_PRIVILEGE: &str = "42501";
/// SQLSTATE lock_not_available.
const LOCKED: &str = "55P03";

/// What to do about a refusal of the database.
fn remedy(doing: Doing, error: &EngineError) -> Option<&'static str> {
    let EngineError::Refused { code, .. } = error else { return None };
    match (code.as_str(), doing) {
        (NO_PRIVILEGE, Doing::Init) => {
            Some("run it as a superuser, or as the owner of the database with CREATEROLE")
        }
        (NO_PRIVILEGE, Doing::Migrate | Doing::Purge) => {
            Some("run it as a member of letmein_owner or as a superuser")
        }
        (NO_PRIVILEGE, Doing::Read) => Some("run it as a member of one of the roles"),
        (NO_PRIVILEGE, Doing::Change) => Some("run it as a member of letmein_admin"),
        (LOCKED, _) => Some("see in pg_stat_activity who uses the tables, and try again afterwards"),
        (_, _) => None,
    }
}

//! `users.toml` on disk: reading it, and what its permissions tell.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Problem, Samples, Users, parse};

/// How many problems are shown of one file.
const PROBLEMS_SHOWN: usize = 20;

/// A users file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// It cannot be read.
    #[error("{}: {error}: {}", path.display(), remedy(error))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word for it.
        error: io::Error,
    },
    /// It can be read, but has problems.
    #[error("{}", listing(path, problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// At least one.
        problems: Vec<Problem>,
    },
}

/// A users file that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// The users in it.
    pub users: Users,
    /// What the operator should know about it.
    pub warnings: Vec<Warning>,
}

/// Something about a users file that is no reason not to use it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Everybody on the machine can read or change the passwords.
    #[error("{path}: others can read or change the passwords in it: chmod o-rw {path}", path = .0.display())]
    OpenToOthers(PathBuf),
    /// Everybody will be refused.
    #[error("{}: there are no users in it: everybody will be refused", .0.display())]
    NoUsers(PathBuf),
}

/// Reads and parses a users file.
///
/// # Errors
/// What keeps it from being used, with file, line, column and remedy.
pub fn load(path: &Path) -> Result<Loaded, UsersError> {
    let unreadable = |error| UsersError::Unreadable { path: path.into(), error };
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    // One allocation of the right size: a buffer that grows leaves copies of passwords behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    let users = parse_bytes(&bytes).map_err(|problems| UsersError::Wrong { path: path.into(), problems })?;
    let mut warnings = Vec::new();
    if metadata.mode() & 0o006 != 0 && !matches!(users.samples(), Samples::Only(_)) {
        warnings.push(Warning::OpenToOthers(path.into()));
    }
    if users.is_empty() {
        warnings.push(Warning::NoUsers(path.into()));
    }
    Ok(Loaded { users, warnings })
}

fn parse_bytes(bytes: &[u8]) -> Result<Users, Vec<Problem>> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
        vec![Problem { line, column: 1, message: "this line is not UTF-8: save the file as UTF-8".into() }]
    })?;
    parse(text)
}

fn remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "let the server's user read it, or name another with --users FILE"
    } else {
        "create it, or name another with --users FILE"
    }
}

fn listing(path: &Path, problems: &[Problem]) -> String {
    let shown = problems.iter().take(PROBLEMS_SHOWN).map(|problem| format!("{}:{problem}", path.display()));
    let left_out = problems.len().saturating_sub(PROBLEMS_SHOWN);
    let more = (left_out > 0).then(|| format!("{}: {left_out} more problems", path.display()));
    shown.chain(more).collect::<Vec<_>>().join("\n")
}

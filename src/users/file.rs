//! `users.toml` on disk: reading it, and what its permissions tell.

use std::fs::{File, Metadata};
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
    /// Somebody else decides what is in it.
    #[error("{}: {reason}", path.display())]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// Who, and what to do about it.
        reason: Distrust,
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

/// Why a users file is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Everybody on the machine can make themselves a user.
    #[error("everybody can write it, and so log in: chmod o-w it")]
    OpenToAll,
    /// It is a symbolic link of somebody who is neither root nor the user who starts the server.
    #[error("it is a symbolic link that another user owns: name the file itself, or make the link yours")]
    ForeignLink,
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
    /// Everybody on the machine can read the passwords.
    #[error("{path}: others can read the passwords in it: chmod o-r {path}", path = .0.display())]
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
    load_source(path).map(|source| source.loaded)
}

/// A users file that can be used, with its text.
pub(crate) struct Source {
    loaded: Loaded,
    bytes: Zeroizing<Vec<u8>>,
}

impl Source {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.bytes).unwrap_or_default()
    }

    pub(crate) fn warnings(&self) -> &[Warning] {
        &self.loaded.warnings
    }
}

/// The same as [`load`], for those who want to see the text, too.
pub(crate) fn load_source(path: &Path) -> Result<Source, UsersError> {
    distrust_link(path)?;
    let unreadable = |error| UsersError::Unreadable { path: path.into(), error };
    let (bytes, metadata) = read(File::open(path).map_err(unreadable)?, path)?;
    let users =
        parse(text(&bytes, path)?).map_err(|problems| UsersError::Wrong { path: path.into(), problems })?;
    let mut warnings = Vec::new();
    if metadata.mode() & 0o004 != 0 && !matches!(users.samples(), Samples::Only(_)) {
        warnings.push(Warning::OpenToOthers(path.into()));
    }
    if users.is_empty() {
        warnings.push(Warning::NoUsers(path.into()));
    }
    Ok(Source { loaded: Loaded { users, warnings }, bytes })
}

/// Reads a users file to its end, unless everybody can write it.
pub(super) fn read(mut file: File, path: &Path) -> Result<(Zeroizing<Vec<u8>>, Metadata), UsersError> {
    let unreadable = |error| UsersError::Unreadable { path: path.into(), error };
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.mode() & 0o002 != 0 {
        return Err(UsersError::Unsafe { path: path.into(), reason: Distrust::OpenToAll });
    }
    // One allocation of the right size: a buffer that grows leaves copies of passwords behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    Ok((bytes, metadata))
}

/// Refuses a path that is a link that neither root nor this user made. Whoever owns its folder can change that at any
/// time, so this protects from links in folders that all may write to.
pub(super) fn distrust_link(path: &Path) -> Result<(), UsersError> {
    let metadata =
        path.symlink_metadata().map_err(|error| UsersError::Unreadable { path: path.into(), error })?;
    let own = rustix::process::geteuid().as_raw();
    if metadata.is_symlink() && metadata.uid() != own && metadata.uid() != 0 {
        return Err(UsersError::Unsafe { path: path.into(), reason: Distrust::ForeignLink });
    }
    Ok(())
}

/// The bytes of a users file as text.
pub(super) fn text<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str, UsersError> {
    str::from_utf8(bytes).map_err(|error| {
        let line = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
        let message = "this line is not UTF-8: save the file as UTF-8".into();
        UsersError::Wrong { path: path.into(), problems: vec![Problem { line, column: 1, message }] }
    })
}

fn remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "let the server's user read it, or name another with --users FILE"
    } else {
        "create it, or name another with --users FILE"
    }
}

/// Problems of a file, a line each.
pub(super) fn listing(path: &Path, problems: &[Problem]) -> String {
    let shown = problems.iter().take(PROBLEMS_SHOWN).map(|problem| format!("{}:{problem}", path.display()));
    let left_out = problems.len().saturating_sub(PROBLEMS_SHOWN);
    let more = (left_out > 0).then(|| format!("{}: {left_out} more problems", path.display()));
    shown.chain(more).collect::<Vec<_>>().join("\n")
}

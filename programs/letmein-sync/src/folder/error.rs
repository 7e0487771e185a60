//! Why the folder of the users cannot be used.

use std::io;
use std::path::PathBuf;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    /// Two programs would write over each other.
    #[error("{}: another letmein-sync keeps the users there: stop it, or name another folder", .0.display())]
    Locked(PathBuf),
    /// Somebody else could put users there.
    #[error(
        "{folder}: others can write in it, and could add users: chmod go-w {folder}, and chown it to the user of \
         letmein-sync", folder = .0.display()
    )]
    Open(PathBuf),
}

//! Why users are not followed.

use std::io;

use engine::EngineError;

/// Why the users are not as the database has them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// The database.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// The folder.
    #[error("the folder of the users: {0}")]
    Folder(#[from] io::Error),
    /// This database is behind the one that was asked before, which may be the first of several hosts again.
    #[error("the standby is {0} revisions behind the users of this node")]
    Behind(i64),
    /// Another database has answered than the one that was asked where it is, or it was purged meanwhile.
    #[error("the database has another history than a moment ago")]
    OtherDatabase,
}

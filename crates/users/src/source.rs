//! Where users come from, as a server sees it.

use std::io;
use std::num::NonZeroU32;
use std::path::Path;

use crate::error::{UsersError, Warning};
use crate::folder::Folder;
use proto::users::Users;
use rustix::fs::Stat;

/// A place that a server loads its users from, again whenever they have changed, even from within a sandbox.
pub trait UserSource: Send + Sync {
    /// Its name in messages.
    fn path(&self) -> &Path;

    /// Reads all users, and checks them together.
    ///
    /// # Errors
    /// What keeps them from being used, with file, line, column and remedy.
    fn load(&self) -> Result<Loaded, UsersError>;

    /// The present state of what the users are loaded from. It differs from [`Loaded::stamp`] once that has changed.
    /// `None` if there is nothing to load.
    fn stamp(&self) -> Option<Stamp>;

    /// The folders that must stay readable. Whatever changes the users is an event in one of them.
    ///
    /// # Errors
    /// The system's.
    fn needs(&self) -> io::Result<Vec<Folder>>;

    /// Prepares for loading with the present rights of the process, which are those that it will keep, and beside
    /// logins, which must not notice.
    ///
    /// # Errors
    /// What keeps the users from being loaded again.
    fn settle(&mut self) -> Result<(), UsersError>;

    /// When whoever keeps the users up to date has last found that they are, in seconds since 1970-01-01 UTC: 0 if that
    /// is not known, `None` where nobody does.
    fn confirmed_unix_s(&self) -> Option<u64> {
        None
    }

    /// How many nodes have the same users, if that is told.
    ///
    /// # Errors
    /// What keeps it from being known.
    fn nodes(&self) -> Result<Option<NonZeroU32>, UsersError> {
        Ok(None)
    }

    /// Whether an empty source is meant to be empty. A file is more likely incomplete.
    fn may_be_emptied(&self) -> bool {
        false
    }
}

/// The users of a source, all of them valid.
#[derive(Debug)]
pub struct Loaded {
    /// The users.
    pub users: Users,
    /// What the operator should know about them.
    pub warnings: Vec<Warning>,
    /// The state that they were loaded from.
    pub stamp: Stamp,
}

/// Identifies a state of a users file and of the files of keys beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Of the users file.
    pub users: FileStamp,
    /// Of the log of what has changed since, if there is one.
    pub log: Option<FileStamp>,
    /// Of the key file, if there is one.
    pub key: Option<FileStamp>,
    /// Of the cluster's keys, if there are any.
    pub cluster: Option<FileStamp>,
}

/// Identifies a state of a file: whatever changes the file changes this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    len: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl FileStamp {
    /// The stamp of a file with this status that changes only by growing, whatever becomes of its times.
    #[must_use]
    pub fn of_growing(stat: &Stat) -> Self {
        Self { modified: (0, 0), changed: (0, 0), ..Self::of(stat) }
    }

    /// The stamp of a file with this status.
    #[must_use]
    pub fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            len: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

//! The files that a command works on.

use std::fs;
use std::path::PathBuf;

use users::{KeyFile, LoadedText, RECORD_START, UsersError, load_text};

/// Where the users are, and the key of their records.
pub(crate) struct Files {
    pub(crate) users: PathBuf,
    /// The key file that was named, if any was.
    key: Option<PathBuf>,
}

impl Files {
    pub(crate) fn new(users: PathBuf, key: Option<PathBuf>) -> Self {
        Self { users, key }
    }

    /// The users file, checked whole.
    pub(crate) fn load_text(&self) -> Result<LoadedText, UsersError> {
        load_text(&self.users, self.key.as_deref())
    }

    pub(crate) fn key_file(&self) -> Result<KeyFile, UsersError> {
        KeyFile::of(&self.users, self.key.as_deref())
    }

    /// Whether there may be records in the users file, valid or not.
    pub(crate) fn may_have_records(&self) -> bool {
        fs::read(&self.users).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(RECORD_START))
    }
}

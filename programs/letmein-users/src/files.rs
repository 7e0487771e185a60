//! The files that a command works on.

use std::fs;
use std::path::{Path, PathBuf};

use users::{ClusterFile, KeyFile, LoadedText, RECORD_START, UsersError, cluster_beside, load_text};

/// Where the users are, the key of their records, and the keys of the cluster.
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

    /// The keys of the cluster: in the file of this name, or else beside the users file.
    pub(crate) fn cluster_file(&self, named: Option<&Path>) -> Result<ClusterFile, UsersError> {
        ClusterFile::new(&named.map_or_else(|| cluster_beside(&self.users), Path::to_owned))
    }

    /// Whether there may be records in the users file, valid or not.
    pub(crate) fn may_have_records(&self) -> bool {
        fs::read(&self.users).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(RECORD_START))
    }
}

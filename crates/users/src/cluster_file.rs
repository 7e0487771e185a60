//! The file of the keys that the servers of a cluster share.

use std::path::Path;

use crate::cluster_text::parse_cluster_keys;
use crate::error::{Distrust, UsersError, Warning};
use crate::file::{Owner, TrustedFile, is_open_to_others, text};
use crate::folder::Folder;
use crate::source::FileStamp;
use proto::server::keyring::ClusterKey;
use rustix::fs::Uid;

/// A file of cluster keys that is read with a users file.
pub(crate) struct ClusterFile(TrustedFile);

/// Keys from a file.
pub(crate) struct LoadedClusterKeys {
    pub(crate) keys: Vec<ClusterKey>,
    /// What the operator should know about the file.
    pub(crate) warnings: Vec<Warning>,
    pub(crate) stamp: FileStamp,
}

impl ClusterFile {
    /// Opens the folder; the file need not be there yet.
    ///
    /// # Errors
    /// If there is no such folder, or others decide what is in it.
    pub(crate) fn new(path: &Path) -> Result<Self, UsersError> {
        TrustedFile::new(path).map(Self).map_err(of_cluster)
    }

    /// Prepares it for a server that runs as this user.
    ///
    /// # Errors
    /// If its path leads through a folder or a link that another user may have made.
    pub(crate) fn read_by(self, reader: Uid) -> Result<Self, UsersError> {
        self.0.read_by(reader).map(Self).map_err(of_cluster)
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// What keeps them from being used.
    pub(crate) fn load(&self) -> Result<LoadedClusterKeys, UsersError> {
        let path = || self.0.path.clone();
        let (bytes, stat) = self.0.read().map_err(of_cluster)?;
        let wrong = |problems| UsersError::Wrong { path: path(), problems };
        let keys = parse_cluster_keys(text(&bytes, &self.0.path)?).map_err(wrong)?;
        let is_foreign = self.0.owner(&stat).map_err(of_cluster)? == Owner::Foreign;
        let foreign = is_foreign.then(|| Warning::ForeignClusterOwner(path()));
        let open = is_open_to_others(&stat).then(|| Warning::ClusterOpenToOthers(path()));
        let warnings = foreign.into_iter().chain(open).collect();
        Ok(LoadedClusterKeys { keys, warnings, stamp: FileStamp::of(&stat) })
    }

    pub(crate) fn both_folders(&self) -> impl Iterator<Item = &Folder> {
        self.0.both_folders()
    }

    pub(crate) fn stamp(&self) -> Option<FileStamp> {
        self.0.stamp()
    }

    /// Prepares for reading it again.
    pub(crate) fn settle(&mut self) -> Result<(), UsersError> {
        self.0.settle().map_err(of_cluster)
    }
}

/// The same error, in the words for files of cluster keys.
fn of_cluster(error: UsersError) -> UsersError {
    match error {
        UsersError::Unreadable { path, error } => UsersError::UnreadableCluster { path, error },
        UsersError::Unsafe { path, reason: Distrust::OpenToAll } => {
            UsersError::Unsafe { path, reason: Distrust::ClusterOpenToAll }
        }
        error @ (UsersError::Unsafe { .. }
        | UsersError::UnreadableKey { .. }
        | UsersError::UnreadableCluster { .. }
        | UsersError::WrongKey { .. }
        | UsersError::Wrong { .. }) => error,
    }
}

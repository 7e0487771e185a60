//! The file of the keys that the servers of a cluster share.

use std::path::{Path, PathBuf};

use crate::cluster_text::parse_cluster_keys;
use crate::error::{Content, UsersError, Warning};
use crate::file::{Owner, TrustedFile, is_open_to_others, text};
use crate::folder::Folder;
use crate::source::FileStamp;
use proto::server::keyring::ClusterKey;
use rustix::fs::Uid;

/// The name of a file of cluster keys beside its users file.
const CLUSTER_FILE_NAME: &str = "cluster.key";

/// A file of cluster keys that is read with a users file.
pub struct ClusterFile(TrustedFile);

/// Keys from a file.
pub struct LoadedClusterKeys {
    /// At least one, in the order of the file.
    pub keys: Vec<ClusterKey>,
    /// What the operator should know about the file.
    pub warnings: Vec<Warning>,
    pub(crate) stamp: FileStamp,
}

/// Where the cluster keys beside a users file are if nobody has named their file.
#[must_use]
pub fn cluster_beside(users: &Path) -> PathBuf {
    users.with_file_name(CLUSTER_FILE_NAME)
}

impl ClusterFile {
    /// Opens the folder; the file need not be there yet.
    ///
    /// # Errors
    /// If there is no such folder, or others decide what is in it.
    pub fn new(path: &Path) -> Result<Self, UsersError> {
        TrustedFile::new(path, Content::ClusterKeys).map(Self)
    }

    /// Prepares it for a server that runs as this user.
    ///
    /// # Errors
    /// If its path leads through a folder or a link that another user may have made.
    pub(crate) fn read_by(self, reader: Uid) -> Result<Self, UsersError> {
        self.0.read_by(reader).map(Self)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// What keeps them from being used.
    pub fn load(&self) -> Result<LoadedClusterKeys, UsersError> {
        let path = || self.0.path.clone();
        let (bytes, stat) = self.0.read()?;
        let wrong = |problems| UsersError::Wrong { path: path(), problems };
        let keys = parse_cluster_keys(text(&bytes, &self.0.path)?).map_err(wrong)?;
        let is_foreign = self.0.owner(&stat)? == Owner::Foreign;
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
        self.0.settle()
    }
}

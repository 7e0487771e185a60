//! The keys beside users: that of their records, and those that the servers of a cluster share.

use std::path::Path;

use crate::cluster_file::{ClusterFile, LoadedClusterKeys};
use crate::error::{UsersError, Warning};
use crate::folder::Folder;
use crate::key_file::{KeyFile, LoadedKey};
use crate::source::{FileStamp, Loaded, Stamp};
use proto::users::Users;
use rustix::fs::Uid;

/// The files of keys that belong to a file of users.
pub(crate) struct Keys {
    /// The key of the records.
    pub(crate) records: KeyFile,
    cluster: Option<ClusterFile>,
}

/// What was read of them.
pub(crate) struct LoadedKeys {
    pub(crate) records: Option<LoadedKey>,
    cluster: Option<LoadedClusterKeys>,
}

impl Keys {
    /// Those beside a file of users: `letmein.key`, unless another name is given, and none of a cluster.
    pub(crate) fn of(users: &Path, named: Option<&Path>) -> Result<Self, UsersError> {
        Ok(Self { records: KeyFile::of(users, named)?, cluster: None })
    }

    pub(crate) fn with_cluster(self, path: Option<&Path>) -> Result<Self, UsersError> {
        Ok(Self { cluster: path.map(ClusterFile::new).transpose()?, ..self })
    }

    pub(crate) fn read_by(self, reader: Uid) -> Result<Self, UsersError> {
        let cluster = self.cluster.map(|cluster| cluster.read_by(reader)).transpose()?;
        Ok(Self { records: self.records.read_by(reader)?, cluster })
    }

    /// Reads those of the cluster, beside a key of the records that was read.
    pub(crate) fn load_with(&self, records: Option<LoadedKey>) -> Result<LoadedKeys, UsersError> {
        Ok(LoadedKeys { records, cluster: self.cluster.as_ref().map(ClusterFile::load).transpose()? })
    }

    pub(crate) fn both_folders(&self) -> impl Iterator<Item = &Folder> {
        let of_cluster = self.cluster.iter().flat_map(ClusterFile::both_folders);
        self.records.both_folders().chain(of_cluster)
    }

    /// The state of users and their log, with that of the keys.
    pub(crate) fn stamp(&self, users: FileStamp, log: Option<FileStamp>) -> Stamp {
        let cluster = self.cluster.as_ref().and_then(ClusterFile::stamp);
        Stamp { users, log, key: self.records.stamp(), cluster }
    }

    pub(crate) fn settle(&mut self) -> Result<(), UsersError> {
        self.records.settle()?;
        self.cluster.as_mut().map_or(Ok(()), ClusterFile::settle)
    }
}

impl LoadedKeys {
    /// Users with these keys. `stamp` is that of [`Keys`], taken before; those of keys that were read replace its own.
    pub(crate) fn complete(self, users: Users, mut warnings: Vec<Warning>, stamp: Stamp) -> Loaded {
        let Self { records, cluster } = self;
        let mut stamp = stamp;
        if let Some(key) = records {
            warnings.extend(key.warnings);
            stamp.key = Some(key.stamp);
        }
        let keys = cluster.map(|cluster| {
            warnings.extend(cluster.warnings);
            stamp.cluster = Some(cluster.stamp);
            cluster.keys
        });
        Loaded { users: users.with_cluster_keys(keys), warnings, stamp }
    }
}

//! The file of the key that records were made with: `letmein.key` beside the users file, or another one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Content, UsersError, Warning};
use crate::file::{Owner, TrustedFile, is_open_to_others, text};
use crate::folder::Folder;
use crate::key_text::{KeyTextError, parse_key};
use crate::record_text::RECORD_START;
use crate::source::FileStamp;
use proto::opaque::key::ServerKey;
use rustix::fs::Uid;

/// The name of a key file beside its users file.
const KEY_FILE_NAME: &str = "letmein.key";

/// A key file that is read with its users file.
pub struct KeyFile {
    file: TrustedFile,
    naming: Naming,
    /// Whether the key was needed when the users were last loaded.
    is_needed: AtomicBool,
}

/// Whether somebody has named a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    /// It must be there.
    Named,
    /// It must be there if there are records.
    Beside,
}

/// A key from a file.
pub struct LoadedKey {
    /// The key.
    pub key: ServerKey,
    /// What the operator should know about the file.
    pub warnings: Vec<Warning>,
    pub(crate) stamp: FileStamp,
}

/// Where the key file of a users file is if nobody has named one.
#[must_use]
pub fn key_beside(users: &Path) -> PathBuf {
    users.with_file_name(KEY_FILE_NAME)
}

impl KeyFile {
    /// The key file of this name, or else that beside the users file. Opens its folder; the file need not be there yet.
    ///
    /// # Errors
    /// If there is no such folder, or others decide what is in it.
    pub fn of(users: &Path, named: Option<&Path>) -> Result<Self, UsersError> {
        let naming = if named.is_some() { Naming::Named } else { Naming::Beside };
        let path = named.map_or_else(|| key_beside(users), Path::to_owned);
        let file = TrustedFile::new(&path, Content::Key)?;
        Ok(Self { file, naming, is_needed: AtomicBool::new(naming == Naming::Named) })
    }

    /// Prepares it for a server that runs as this user.
    ///
    /// # Errors
    /// If its path leads through a folder or a link that another user may have made.
    pub(crate) fn read_by(self, reader: Uid) -> Result<Self, UsersError> {
        Ok(Self { file: self.file.read_by(reader)?, ..self })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Reads the key.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub fn load(&self) -> Result<LoadedKey, UsersError> {
        let (bytes, stat) = self.file.read()?;
        let wrong = |error| UsersError::WrongKey { path: self.path().into(), error };
        let text = text(&bytes, self.path()).map_err(|_| wrong(KeyTextError::Start))?;
        let key = parse_key(text).map_err(wrong)?;
        let is_foreign = self.file.owner(&stat)? == Owner::Foreign;
        let foreign = is_foreign.then(|| Warning::ForeignKeyOwner(self.path().into()));
        let open = is_open_to_others(&stat).then(|| Warning::KeyOpenToOthers(self.path().into()));
        let warnings = foreign.into_iter().chain(open).collect();
        Ok(LoadedKey { key, warnings, stamp: FileStamp::of(&stat) })
    }

    /// Reads the key if a text may have records in it, or if somebody has named the file. Where the file is missing and
    /// nobody has, there is no key.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub fn load_for(&self, users: &str) -> Result<Option<LoadedKey>, UsersError> {
        let is_needed = self.naming == Naming::Named || users.contains(RECORD_START);
        self.is_needed.store(is_needed, Ordering::Relaxed);
        if !is_needed {
            return Ok(None);
        }
        match self.load() {
            // The parser says which key the records need.
            Err(UsersError::Unreadable { error, .. })
                if self.naming == Naming::Beside && error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            loaded => loaded.map(Some),
        }
    }

    /// Reads the key if the file is there; it must be if somebody has named it.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub(crate) fn load_if_there(&self) -> Result<Option<LoadedKey>, UsersError> {
        let key = self.load_for(RECORD_START)?;
        self.is_needed.store(key.is_some(), Ordering::Relaxed);
        Ok(key)
    }

    pub(crate) fn both_folders(&self) -> impl Iterator<Item = &Folder> {
        self.file.both_folders()
    }

    pub(crate) fn stamp(&self) -> Option<FileStamp> {
        self.file.stamp()
    }

    /// Prepares for reading it again, which needs to succeed only if the key is needed.
    pub(crate) fn settle(&mut self) -> Result<(), UsersError> {
        let settled = self.file.settle();
        if *self.is_needed.get_mut() { settled } else { Ok(()) }
    }
}

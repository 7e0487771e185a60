//! Users that another program keeps in a folder, as a server loads them.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Stat, Uid};

use super::frames::DamagedError;
use super::log::{Changed, read_base, read_changed};
use super::row::{Credential, Row};
use super::{BASE_NAME, LOG_NAME, NODES_NAME, Position};
use crate::error::{Content, UsersError, Warning};
use crate::file::{TrustedFile, is_open_to_others};
use crate::folder::{Folder, once_each};
use crate::key_file::LoadedKey;
use crate::keys::Keys;
use crate::record_text::parse_record;
use crate::source::{FileStamp, Loaded, Stamp, UserSource};
use proto::credentials::{Password, Username};
use proto::users::{BuildError, Builder, IndexError, Users};

/// A folder in which letmein-sync keeps users.
pub struct SyncedUsers {
    base: TrustedFile,
    log: TrustedFile,
    nodes: TrustedFile,
    keys: Keys,
    /// The base that was loaded last. As long as it stays, only the log is read again.
    last: Mutex<Option<LoadedBase>>,
    /// Whether the log that was loaded last had nothing after its last whole batch.
    is_log_whole: AtomicBool,
}

struct LoadedBase {
    stamp: FileStamp,
    key: Option<FileStamp>,
    position: Position,
    users: Users,
}

impl SyncedUsers {
    /// Opens the folder; the files need not be there yet.
    ///
    /// # Errors
    /// If there is no such folder, or others decide what is in it.
    pub fn new(folder: &Path) -> Result<Self, UsersError> {
        let base = folder.join(BASE_NAME);
        Ok(Self {
            keys: Keys::of(&base, None)?,
            base: TrustedFile::new(&base, Content::SyncedUsers)?,
            log: TrustedFile::new(&folder.join(LOG_NAME), Content::SyncedUsers)?,
            nodes: TrustedFile::new(&folder.join(NODES_NAME), Content::SyncedUsers)?,
            last: Mutex::default(),
            is_log_whole: true.into(),
        })
    }

    /// With a key file of another name than `letmein.key` in the folder. Comes before the other keys, and before
    /// [`read_by`](Self::read_by).
    ///
    /// # Errors
    /// The same as those of [`new`](Self::new).
    pub fn with_key(self, path: Option<&Path>) -> Result<Self, UsersError> {
        Ok(Self { keys: Keys::of(&self.base.path, path)?, ..self })
    }

    /// With the keys that the servers of a cluster share. Comes before [`read_by`](Self::read_by).
    ///
    /// # Errors
    /// The same as those of [`new`](Self::new).
    pub fn with_cluster_keys(self, path: Option<&Path>) -> Result<Self, UsersError> {
        Ok(Self { keys: self.keys.with_cluster(path)?, ..self })
    }

    /// Prepares it for a server that runs as this user.
    ///
    /// # Errors
    /// If its path leads through a folder or a link that another user may have made.
    pub fn read_by(self, reader: Uid) -> Result<Self, UsersError> {
        let (base, log) = (self.base.read_by(reader)?, self.log.read_by(reader)?);
        let (nodes, keys) = (self.nodes.read_by(reader)?, self.keys.read_by(reader)?);
        Ok(Self { base, log, nodes, keys, ..self })
    }

    /// The base that is there, which is read again unless it is the one that was loaded last.
    fn base(
        &self,
        last: Option<LoadedBase>,
        key: Option<&LoadedKey>,
        warnings: &mut Vec<Warning>,
    ) -> Result<LoadedBase, UsersError> {
        let (file, stat) = self.base.open_checked()?;
        let (stamp, key_stamp) = (FileStamp::of(&stat), key.map(|key| key.stamp));
        if let Some(last) = last.filter(|last| last.stamp == stamp && last.key == key_stamp) {
            return Ok(last);
        }
        warnings.extend(self.warning(&self.base, &stat)?);
        let unreadable = |error| self.base.unreadable(error);
        let mut equal = BTreeSet::new();
        loop {
            let (mut file, mut left_out) = (&file, LeftOut::default());
            file.rewind().map_err(unreadable)?;
            let mut builder = builder(stat.st_size.try_into().unwrap_or(0), key).map_err(unreadable)?;
            let base = read_base(file, |row| {
                let pushed =
                    if equal.contains(row.name) { Err(EQUAL.into()) } else { push(&mut builder, &row) };
                left_out.note(pushed);
            });
            let position = base.map_err(|error| damaged(&self.base, error))?.position;
            match builder.finish() {
                Ok(users) => {
                    warnings.extend(left_out.warning(&self.base.path));
                    return Ok(LoadedBase { stamp, key: key_stamp, position, users });
                }
                Err(error) => equal.extend(equal_names(&self.base, error)?),
            }
        }
    }

    /// The users of the base, with what has changed since.
    fn users(
        &self,
        base: &LoadedBase,
        log: Option<(File, Stat)>,
        key: Option<&LoadedKey>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Users, UsersError> {
        let unreadable = |error| self.log.unreadable(error);
        let mut changed = Changed::default();
        if let Some((file, stat)) = log {
            let (batches, read) = read_changed(file).map_err(|error| damaged(&self.log, error))?;
            let len = u64::try_from(stat.st_size).unwrap_or(0);
            self.is_log_whole.store(batches.len >= len, Ordering::Relaxed);
            // All that is in the log of the base before is in this base, too.
            if batches.base == base.position {
                warnings.extend(self.warning(&self.log, &stat)?);
                changed = read;
            }
        }
        let mut equal = BTreeSet::new();
        loop {
            let mut left_out = LeftOut::default();
            let mut builder = builder(changed.text_len(), key).map_err(unreadable)?;
            for row in changed.rows() {
                let pushed =
                    if equal.contains(row.name) { Err(EQUAL.into()) } else { push(&mut builder, &row) };
                if left_out.note(pushed)
                    && let Ok(name) = row.name.parse()
                {
                    // Without it, the user of the base would stay.
                    builder.push_removed(&name).map_err(|_| unreadable(io::Error::other(NO_ROOM)))?;
                }
            }
            match builder.finish_over(&base.users) {
                Ok(users) => {
                    warnings.extend(left_out.warning(&self.log.path));
                    return Ok(users);
                }
                Err(error) => equal.extend(equal_names(&self.log, error)?),
            }
        }
    }

    fn warning(&self, file: &TrustedFile, stat: &Stat) -> Result<Option<Warning>, UsersError> {
        file.owner(stat)?;
        Ok(is_open_to_others(stat).then(|| Warning::OpenToOthers(file.path.clone())))
    }
}

impl UserSource for SyncedUsers {
    fn path(&self) -> &Path {
        &self.base.path
    }

    fn load(&self) -> Result<Loaded, UsersError> {
        // The log comes first. If the base is replaced meanwhile, all that is in this log is in that base; the other
        // way round, an old base would be served without its log.
        let log = self.log.open_if_there()?;
        let keys = self.keys.load_with(self.keys.records.load_if_there()?)?;
        let mut warnings = Vec::new();
        let log_stamp = log.as_ref().map(|(_, stat)| FileStamp::of_growing(stat));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let base = self.base(last.take(), keys.records.as_ref(), &mut warnings)?;
        let users = self.users(&base, log, keys.records.as_ref(), &mut warnings)?;
        for warning in &warnings {
            if let Warning::LeftOut { first, .. } = warning
                && users.is_empty()
            {
                let (path, first) = (self.base.path.clone(), first.clone());
                return Err(UsersError::NobodyLeft { path, first });
            }
        }
        let base = last.insert(base);
        if users.is_empty() {
            warnings.push(Warning::NoUsers(self.base.path.clone()));
        }
        Ok(keys.complete(users, warnings, self.keys.stamp(base.stamp, log_stamp)))
    }

    fn stamp(&self) -> Option<Stamp> {
        let log = self.log.status().map(|stat| FileStamp::of_growing(&stat));
        Some(self.keys.stamp(self.base.stamp()?, log))
    }

    fn needs(&self) -> io::Result<Vec<Folder>> {
        let own = self.base.both_folders().chain(self.log.both_folders());
        once_each(own.chain(self.keys.both_folders()))
    }

    fn settle(&mut self) -> Result<(), UsersError> {
        self.base.settle()?;
        self.log.settle_if_there()?;
        self.keys.settle()?;
        self.nodes.settle_if_there()
    }

    fn confirmed_unix_s(&self) -> Option<u64> {
        // Without a log, or with one that is damaged, nobody knows.
        let log = self.log.status().filter(|_| self.is_log_whole.load(Ordering::Relaxed));
        Some(log.map_or(0, |log| log.st_mtime.try_into().unwrap_or(0)))
    }

    fn nodes(&self) -> Result<Option<NonZeroU32>, UsersError> {
        let Some((file, stat)) = self.nodes.open_if_there()? else { return Ok(None) };
        self.nodes.owner(&stat)?;
        let mut bytes = Vec::new();
        // One byte more than any number has, so that a longer text is none.
        file.take(NODES_LEN_MAX + 1).read_to_end(&mut bytes).map_err(|error| self.nodes.unreadable(error))?;
        let digits = str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n'));
        let nodes =
            digits.filter(|digits| digits.len() < NODES_LEN_MAX as usize).and_then(|it| it.parse().ok());
        let damaged = || UsersError::Damaged { path: self.nodes.path.clone(), reason: NO_NUMBER.into() };
        nodes.ok_or_else(damaged).map(Some)
    }

    fn may_be_emptied(&self) -> bool {
        // That the files have no users is no accident: they have checksums.
        true
    }
}

/// The digits of the largest number of nodes, and the end of the line.
const NODES_LEN_MAX: u64 = 11;
const NO_NUMBER: &str = "not a number of nodes";

/// Why a row is no user. It does not show the row.
type Reason = String;

const EQUAL: &str = "two users could log in as each other";
const NO_ROOM: &str = "there is no room for more users: their names and passwords make 4 GiB";

/// Adds the user of a row.
fn push(builder: &mut Builder, row: &Row<'_>) -> Result<(), Reason> {
    let text = |error: &dyn fmt::Display| error.to_string();
    row.check().map_err(|error| text(&error))?;
    let name: Username = row.name.parse().map_err(|error| format!("a name {error}"))?;
    match row.credential {
        Credential::Removed => builder.push_removed(&name).map_err(|_| NO_ROOM.to_owned()),
        Credential::Password(password) => {
            let password = Password::new(password).map_err(|error| format!("a password {error}"))?;
            builder.push(&name, &password, row.conditions()).map_err(|_| NO_ROOM.to_owned())
        }
        Credential::Record(record) => {
            let record = parse_record(record).map_err(|error| format!("a record {error}"))?;
            builder.push_record(&name, &record, row.conditions()).map_err(|error| text(&error))
        }
    }
}

/// Rows that are no users: how many, and why the first is none.
#[derive(Default)]
struct LeftOut {
    rows: usize,
    first: Option<Reason>,
}

impl LeftOut {
    /// Whether the row is left out.
    fn note(&mut self, pushed: Result<(), Reason>) -> bool {
        let Err(reason) = pushed else { return false };
        self.rows += 1;
        self.first.get_or_insert(reason);
        true
    }

    fn warning(self, path: &Path) -> Option<Warning> {
        let Self { rows, first } = self;
        first.map(|first| Warning::LeftOut { path: path.into(), rows, first })
    }
}

/// A builder with room for the rows of a file.
fn builder(file_len: u64, key: Option<&LoadedKey>) -> io::Result<Builder> {
    let mut builder = Builder::for_text(usize::try_from(file_len).unwrap_or(usize::MAX))?;
    if let Some(LoadedKey { key, .. }) = key {
        builder.set_key(key.clone());
    }
    Ok(builder)
}

/// The names of users who could log in as each other, if that is what keeps the users from being served.
fn equal_names(file: &TrustedFile, error: BuildError) -> Result<Vec<String>, UsersError> {
    match error {
        BuildError::Equal(equal) => {
            Ok(equal.into_iter().flat_map(|equal| [equal.name, equal.other]).collect())
        }
        BuildError::Index(IndexError::NoMemory(error)) => Err(file.unreadable(error)),
        BuildError::Index(IndexError::Twice) => Err(damaged(file, DamagedError::Wrong)),
        // The base was loaded with the key that was read just now.
        BuildError::OtherKey => Err(file.unreadable(io::Error::other("not of the key of its base"))),
    }
}

fn damaged(file: &TrustedFile, error: DamagedError) -> UsersError {
    match error {
        DamagedError::Io(error) => file.unreadable(error),
        DamagedError::Magic | DamagedError::Torn | DamagedError::Wrong => {
            UsersError::Damaged { path: file.path.clone(), reason: error.to_string() }
        }
    }
}

//! Builds a snapshot of users one by one, and checks all of them together.

mod equal_secrets;

use std::fmt;
use std::hash::RandomState;
use std::io;
use std::sync::Arc;

use super::Users;
use super::conditions::Conditions;
use super::layer::{Entries, Layer, Opaque};
use super::store::{Credential, IndexError};
use crate::credentials::{Password, Username};
use crate::opaque::key::{KeyId, ServerKey};
use crate::opaque::record::Record as OpaqueRecord;
use equal_secrets::{equal_secrets, equal_secrets_over};

/// Collects users for a snapshot.
pub struct Builder {
    entries: Entries,
    /// The key of the records of OPAQUE, and its id.
    key: Option<(KeyId, ServerKey)>,
}

/// The password that a user had before, while not everything that logs in as them has the new one.
pub struct OldPassword {
    /// It must differ from the present one.
    pub password: Password,
    /// The first second since 1970-01-01 UTC in which it is refused.
    pub ends_unix_s: u64,
}

/// A user does not fit: all names and passwords together are limited to 4 GiB, and to the room that was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Why a record of OPAQUE is not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// There is no room.
    NoRoom,
    /// There is no key.
    NoKey,
    /// It belongs to another key.
    OtherKey,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoom => "there is no room for the record",
            Self::NoKey => "there is no key for the record",
            Self::OtherKey => "the record belongs to another key",
        })
    }
}

impl std::error::Error for RecordError {}

/// Why users cannot be served together.
#[derive(Debug)]
pub enum BuildError {
    /// Pairs of users who could each log in as the other.
    Equal(Vec<EqualSecrets>),
    /// A name occurs twice, or the system has no memory for the index of names.
    Index(IndexError),
    /// The users of an overlay have another key than those of its base.
    OtherKey,
}

/// Two users with the same name ‖ password, and so with the same digest for every challenge: `("al", "icexyz")` and
/// `("alice", "xyz")`, for example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EqualSecrets {
    /// The number of users pushed before the later of the two.
    pub number: usize,
    /// The name of the later one.
    pub name: String,
    /// The name of the earlier one, who may be a user of the base.
    pub other: String,
}

impl Builder {
    /// Reserves room for the users of a text of this many bytes. Room that is not used takes no memory.
    ///
    /// # Errors
    /// The system's, for lack of memory.
    pub fn for_text(text_len: usize) -> io::Result<Self> {
        Ok(Self { entries: Entries::for_text(text_len)?, key: None })
    }

    /// Serves records of OPAQUE that were made with this key. It comes before them.
    pub fn set_key(&mut self, key: ServerKey) {
        self.key = Some((key.id(), key));
    }

    /// Adds a user with a record of OPAQUE in place of a password.
    ///
    /// # Errors
    /// [`RecordError`]; the user is then not added.
    pub fn push_record(
        &mut self,
        name: &Username,
        record: &OpaqueRecord,
        conditions: Conditions,
    ) -> Result<(), RecordError> {
        let (key, _) = self.key.as_ref().ok_or(RecordError::NoKey)?;
        if *key != record.key {
            return Err(RecordError::OtherKey);
        }
        let credential = Credential::Opaque(record);
        self.entries.add(name, credential, None, conditions).ok_or(RecordError::NoRoom)
    }

    /// Adds a user with one password.
    ///
    /// # Errors
    /// [`NoRoom`]; the user is then not added.
    pub fn push(
        &mut self,
        name: &Username,
        password: &Password,
        conditions: Conditions,
    ) -> Result<(), NoRoom> {
        self.push_with_old(name, password, None, conditions)
    }

    /// Adds a user who may have an old password, too.
    ///
    /// # Errors
    /// [`NoRoom`]; the user is then not added.
    pub fn push_with_old(
        &mut self,
        name: &Username,
        password: &Password,
        old: Option<&OldPassword>,
        conditions: Conditions,
    ) -> Result<(), NoRoom> {
        let credential = Credential::Password(password, old.map(|old| &old.password));
        let old_end_unix_s = old.map(|old| old.ends_unix_s);
        self.entries.add(name, credential, old_end_unix_s, conditions).ok_or(NoRoom)
    }

    /// Notes that the base of an overlay has this user no more, if it ever had. Without a base the user is as unknown.
    ///
    /// # Errors
    /// [`NoRoom`]; the user is then not noted.
    pub fn push_removed(&mut self, name: &Username) -> Result<(), NoRoom> {
        self.entries.add(name, Credential::Removed, None, Conditions::none()).ok_or(NoRoom)
    }

    /// Checks all users together, and builds the snapshot.
    ///
    /// # Errors
    /// [`BuildError`] names the users that cannot be served together.
    pub fn finish(self) -> Result<Users, BuildError> {
        let Self { entries, key } = self;
        check(equal_secrets(&entries.records, entries.census.with_old_password > 0))?;
        let opaque = if key.is_some() { Opaque::Served } else { Opaque::Absent };
        let base = Layer::new(entries, RandomState::new(), opaque, 0).map_err(BuildError::Index)?;
        Ok(Users::new(Arc::new(base), None, key.map(|(_, key)| key)))
    }

    /// Checks these users and those of `base` together, and builds a snapshot of `base` in which these are changed,
    /// added and [removed](Self::push_removed). They are all that have changed since `base` was made without an
    /// overlay; if it has one, they take its place. That takes time and memory for these users alone. Keys of a cluster
    /// are not taken over.
    ///
    /// # Errors
    /// [`BuildError`] names the users that cannot be served together.
    pub fn finish_over(self, base: &Users) -> Result<Users, BuildError> {
        let Self { entries, key } = self;
        if key.is_some_and(|(id, _)| base.key_id() != Some(id)) {
            return Err(BuildError::OtherKey);
        }
        let mut equal = equal_secrets(&entries.records, entries.census.with_old_password > 0);
        let key = base.opaque().map(|opaque| opaque.key.clone());
        let opaque = if key.is_some() { Opaque::Served } else { Opaque::Absent };
        let base = base.base.clone();
        let layer = Layer::new(entries, base.store.hasher().clone(), opaque, base.store.count())
            .map_err(BuildError::Index)?;
        equal.extend(equal_secrets_over(&base, &layer));
        check(equal)?;
        let overlay = (layer.store.count() > 0).then_some(layer);
        Ok(Users::new(base, overlay, key))
    }
}

fn check(equal: Vec<EqualSecrets>) -> Result<(), BuildError> {
    if equal.is_empty() { Ok(()) } else { Err(BuildError::Equal(equal)) }
}

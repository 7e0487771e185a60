//! Builds a snapshot of users one by one, and checks all of them together.

mod equal_secrets;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;

use super::conditions::Conditions;
use super::opaque::OpaqueUsers;
use super::store::{Credential, IndexError, Records, Store};
use super::{Samples, Users};
use crate::credentials::{Password, Username};
use crate::mechanism::Mechanisms;
use crate::opaque::key::{KeyId, ServerKey};
use crate::opaque::record::Record as OpaqueRecord;
use crate::opaque::stretching::Stretching;
use equal_secrets::equal_secrets;

/// Names and passwords of the shipped `users.toml`. They are public.
pub const SAMPLES: [(&str, &str); 3] =
    [("userone", "passwordone"), ("usertwo", "passwordtwo"), ("userthree", "passwordthree")];

/// Collects users for a snapshot.
pub struct Builder {
    records: Records,
    conditions: HashMap<u32, Conditions>,
    old_ends_unix_s: HashMap<u32, u64>,
    with_sample_password: Option<Username>,
    /// The number of users who are not samples.
    others: usize,
    /// The key of the records of OPAQUE, and its id.
    key: Option<(KeyId, ServerKey)>,
    /// The stretchings of these records, and how many have each.
    stretchings: BTreeMap<Stretching, u64>,
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
}

/// Two users with the same name ‖ password, and so with the same digest for every challenge: `("al", "icexyz")` and
/// `("alice", "xyz")`, for example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EqualSecrets {
    /// The number of users pushed before the later of the two.
    pub number: usize,
    /// The name of the later one.
    pub name: String,
    /// The name of the earlier one.
    pub other: String,
}

impl Builder {
    /// Reserves room for the users of a text of this many bytes. Room that is not used takes no memory.
    ///
    /// # Errors
    /// The system's, for lack of memory.
    pub fn for_text(text_len: usize) -> io::Result<Self> {
        Ok(Self {
            records: Records::for_text(text_len)?,
            conditions: HashMap::new(),
            old_ends_unix_s: HashMap::new(),
            with_sample_password: None,
            others: 0,
            key: None,
            stretchings: BTreeMap::new(),
        })
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
        let start = self.records.add(name, Credential::Opaque(record)).ok_or(RecordError::NoRoom)?;
        *self.stretchings.entry(record.stretching).or_default() += 1;
        self.others += 1;
        self.condition(start, conditions);
        Ok(())
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
        let start = self.records.add(name, credential).ok_or(NoRoom)?;
        self.count_sample(name, password, old);
        if let Some(OldPassword { ends_unix_s, .. }) = old {
            self.old_ends_unix_s.insert(start, *ends_unix_s);
        }
        self.condition(start, conditions);
        Ok(())
    }

    fn condition(&mut self, start: u32, conditions: Conditions) {
        if conditions != Conditions::none() {
            self.conditions.insert(start, conditions);
        }
    }

    /// Checks all users together, and builds the snapshot.
    ///
    /// # Errors
    /// [`BuildError`] names the users that cannot be served together.
    pub fn finish(self) -> Result<Users, BuildError> {
        let equal = equal_secrets(&self.records, !self.old_ends_unix_s.is_empty());
        if !equal.is_empty() {
            return Err(BuildError::Equal(equal));
        }
        let samples = match (self.with_sample_password, self.others) {
            (None, _) => Samples::Absent,
            (Some(name), 0) => Samples::Alone(name),
            (Some(name), _) => Samples::Mixed(name),
        };
        let records = self.stretchings.values().sum::<u64>();
        // A server without users refuses by MD5, as it always did.
        let has =
            Mechanisms { md5: records == 0 || self.records.count() as u64 > records, opaque: records > 0 };
        let opaque = self.key.map(|(_, key)| OpaqueUsers::new(key, &self.stretchings));
        let store = Store::new(self.records).map_err(BuildError::Index)?;
        Ok(Users::new(store, self.conditions, self.old_ends_unix_s, samples, opaque, has))
    }

    fn count_sample(&mut self, name: &Username, password: &Password, old: Option<&OldPassword>) {
        let is_sample = SAMPLES.contains(&(name.as_str(), str::from_utf8(password.expose()).unwrap_or("")));
        if !is_sample || old.is_some() {
            self.others += 1;
        }
        let mut passwords = [password].into_iter().chain(old.map(|old| &old.password));
        if passwords.any(|password| SAMPLES.iter().any(|(_, it)| it.as_bytes() == password.expose())) {
            self.with_sample_password.get_or_insert_with(|| name.clone());
        }
    }
}

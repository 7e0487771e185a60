//! Builds a snapshot of users one by one, and checks all of them together.

use std::collections::HashMap;
use std::io;

use super::conditions::Conditions;
use super::store::{IndexError, Records, Store};
use super::{Samples, Users};
use crate::credentials::{Password, Username};

/// Names and passwords of the shipped `users.toml`. They are public.
pub const SAMPLES: [(&str, &str); 3] =
    [("userone", "passwordone"), ("usertwo", "passwordtwo"), ("userthree", "passwordthree")];

/// Collects users for a snapshot.
pub struct Builder {
    records: Records,
    conditions: HashMap<u32, Conditions>,
    with_sample_password: Option<Username>,
    /// The number of users who are not samples.
    others: usize,
}

/// A user does not fit: all names and passwords together are limited to 4 GiB, and to the room that was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

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
            with_sample_password: None,
            others: 0,
        })
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`NoRoom`]; the user is then not added.
    pub fn push(
        &mut self,
        name: &Username,
        password: &Password,
        conditions: Conditions,
    ) -> Result<(), NoRoom> {
        let start = self.records.add(name, password).ok_or(NoRoom)?;
        self.count_sample(name, password);
        if conditions != Conditions::none() {
            self.conditions.insert(start, conditions);
        }
        Ok(())
    }

    /// Checks all users together, and builds the snapshot.
    ///
    /// # Errors
    /// [`BuildError`] names the users that cannot be served together.
    pub fn finish(self) -> Result<Users, BuildError> {
        let equal = self.equal_secrets();
        if !equal.is_empty() {
            return Err(BuildError::Equal(equal));
        }
        let samples = match (self.with_sample_password, self.others) {
            (None, _) => Samples::Absent,
            (Some(name), 0) => Samples::Alone(name),
            (Some(name), _) => Samples::Mixed(name),
        };
        let store = Store::new(self.records).map_err(BuildError::Index)?;
        Ok(Users::new(store, self.conditions, samples))
    }

    fn count_sample(&mut self, name: &Username, password: &Password) {
        let is_sample = SAMPLES.contains(&(name.as_str(), str::from_utf8(password.expose()).unwrap_or("")));
        if !is_sample {
            self.others += 1;
        }
        if SAMPLES.iter().any(|(_, sample)| sample.as_bytes() == password.expose()) {
            self.with_sample_password.get_or_insert_with(|| name.clone());
        }
    }

    fn equal_secrets(&self) -> Vec<EqualSecrets> {
        let mut first = HashMap::with_capacity(self.records.count());
        let mut equal = Vec::new();
        for (number, record) in self.records.iter().enumerate() {
            if let Some(other) = first.insert(record.secret, record.name) {
                equal.push(EqualSecrets { number, name: record.name.into(), other: String::from(other) });
            }
        }
        equal
    }
}

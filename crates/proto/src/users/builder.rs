//! Users, put together one by one, and what is checked of all of them together.

use std::collections::HashMap;
use std::io;

use super::conditions::Conditions;
use super::store::{IndexError, Records, Store};
use super::{Samples, Users};
use crate::credentials::{Password, Username};

/// The users of the shipped `users.toml`. Everybody knows their passwords.
pub const SAMPLES: [(&str, &str); 3] =
    [("userone", "passwordone"), ("usertwo", "passwordtwo"), ("userthree", "passwordthree")];

/// Takes users one by one.
pub struct Builder {
    records: Records,
    conditions: HashMap<u32, Conditions>,
    with_sample_password: Option<Username>,
    /// How many users are no samples.
    others: usize,
}

/// There is no room for a user: all names and passwords together are limited to 4 GiB, and to what was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Why some users cannot be served together.
#[derive(Debug)]
pub enum BuildError {
    /// Some could log in as another.
    Equal(Vec<EqualSecrets>),
    /// There is no index of their names: one occurs twice, or the system has no memory.
    Index(IndexError),
}

/// Two users whose name and password, written together, are the same: both have the same digest for every challenge.
/// Such are `("al", "icexyz")` and `("alice", "xyz")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EqualSecrets {
    /// How many users were pushed before the later of the two.
    pub number: usize,
    /// The name of the later one.
    pub name: String,
    /// The name of the earlier one.
    pub other: String,
}

impl Builder {
    /// Reserves room for the users of a text of this many bytes. What is not used of it takes no memory.
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
    /// [`Full`], and then the user is not added.
    pub fn push(&mut self, name: &Username, password: &Password, conditions: Conditions) -> Result<(), Full> {
        let start = self.records.add(name, password).ok_or(Full)?;
        self.count_sample(name, password);
        if conditions != Conditions::none() {
            self.conditions.insert(start, conditions);
        }
        Ok(())
    }

    /// Checks all users together, and makes the snapshot.
    ///
    /// # Errors
    /// [`BuildError`] says which users do not go together.
    pub fn finish(self) -> Result<Users, BuildError> {
        let equal = self.equal_secrets();
        if !equal.is_empty() {
            return Err(BuildError::Equal(equal));
        }
        let samples = match (self.with_sample_password, self.others) {
            (None, _) => Samples::None,
            (Some(name), 0) => Samples::Only(name),
            (Some(name), _) => Samples::Some(name),
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

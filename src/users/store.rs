//! Names and passwords, of millions of users if need be: all in one piece of memory, and an index by name.
//!
//! ```text
//! | length of name: 1 | length of password: 1 | name | password |          a record
//! ```
//!
//! So a user takes their name, their password and some ten bytes, finding one touches two or three cache lines, and
//! one wipe is enough for all passwords.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use zeroize::Zeroizing;

use super::{Password, Username};
use crate::auth::proof::SecretRef;

/// Everybody's name and password.
pub(super) struct Store {
    records: Zeroizing<Vec<u8>>,
    /// Where each record begins.
    index: HashTable<u32>,
    hasher: RandomState,
}

/// A user's record.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    /// Where it begins.
    pub(super) start: u32,
    pub(super) name: &'a str,
    pub(super) secret: SecretRef<'a>,
}

const HEADER_LEN: usize = 2;

impl Store {
    /// Room for the users of a text, a line each. Such a line is longer than its record, so the records never move,
    /// and leave no copy behind. Made before the text is parsed, it does not lie on top of the parser's memory and
    /// keep that from being given back.
    pub(super) fn for_text(text: &str) -> Self {
        Self {
            records: Zeroizing::new(Vec::with_capacity(text.len())),
            index: HashTable::with_capacity(text.lines().count()),
            hasher: RandomState::new(),
        }
    }

    /// Adds a user, whose name is not there yet, and says where; `None` if 4 GiB are full.
    pub(super) fn add(&mut self, name: &Username, password: &Password) -> Option<u32> {
        let start = u32::try_from(self.records.len()).ok()?;
        let (name, password) = (name.as_str(), password.expose());
        self.records.extend_from_slice(&[name.len() as u8, password.len() as u8]);
        self.records.extend_from_slice(name.as_bytes());
        self.records.extend_from_slice(password);
        let (records, hasher) = (&self.records, &self.hasher);
        let rehash = |start: &u32| hasher.hash_one(record(records, *start).map_or("", |record| record.name));
        self.index.insert_unique(hasher.hash_one(name), start, rehash);
        Some(start)
    }

    pub(super) fn find(&self, name: &str) -> Option<Record<'_>> {
        let is_it = |start: &u32| record(&self.records, *start).is_some_and(|record| record.name == name);
        let start = self.index.find(self.hasher.hash_one(name), is_it)?;
        record(&self.records, *start)
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// All users, in the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let record = record(&self.records, next)?;
            next += (HEADER_LEN + record.secret.as_bytes().len()) as u32;
            Some(record)
        })
    }
}

fn record(records: &[u8], start: u32) -> Option<Record<'_>> {
    let (header, rest) = records.get(start as usize..)?.split_first_chunk::<HEADER_LEN>()?;
    let [name_len, password_len] = header.map(usize::from);
    let name = str::from_utf8(rest.get(..name_len)?).ok()?;
    let secret = SecretRef::new(rest.get(..name_len + password_len)?);
    Some(Record { start, name, secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_who_was_added_is_found_and_nobody_else() {
        let names: Vec<Username> = (0..1000).map(|number| format!("user{number}").parse().unwrap()).collect();
        let mut store = Store::for_text("");
        for name in &names {
            store.add(name, &Password::new(&format!("of {name}")).unwrap()).unwrap();
        }
        for name in &names {
            let record = store.find(name.as_str()).unwrap();
            assert_eq!(record.name, name.as_str());
            assert_eq!(record.secret.as_bytes(), format!("{name}of {name}").as_bytes());
        }
        assert!(store.find("user1000").is_none() && store.find("").is_none());
        assert!(store.iter().map(|record| record.name).eq(names.iter().map(Username::as_str)));
        assert_eq!(store.len(), names.len());
    }
}

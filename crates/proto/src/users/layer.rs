//! Users with all that belongs to them: those of a whole snapshot, or those that were changed or removed since.

use std::collections::HashMap;
use std::hash::RandomState;
use std::io;

use super::PasswordAge;
use super::census::{Census, has_sample_password};
use super::conditions::Conditions;
use super::exemptions::Exemptions;
use super::guesses::Guesses;
use super::store::{Credential, IndexError, Lookup, Record, Records, Store};
use crate::credentials::Username;
use crate::proof::{BlockCount, SecretRef};

/// Users before they are indexed by name.
pub(super) struct Entries {
    pub(super) records: Records,
    conditions: HashMap<u32, Conditions>,
    old_ends_unix_s: HashMap<u32, u64>,
    with_sample_password: Vec<u32>,
    pub(super) census: Census,
}

/// Users with their conditions, and the recent logins and failures of each.
pub(super) struct Layer {
    pub(super) store: Store,
    /// The conditions of users who have any, by the offset of their record.
    pub(super) conditions: HashMap<u32, Conditions>,
    /// The first second since 1970-01-01 UTC in which an old password is refused, by the offset of its record. If no
    /// user has one, answers are judged by one password, and else by two, whether the user has two or is unknown.
    pub(super) old_ends_unix_s: HashMap<u32, u64>,
    // These change while the server runs; the rest does not.
    pub(super) exemptions: Exemptions,
    pub(super) guesses: Guesses,
    /// Guesses by OPAQUE in a day. No user of a server without a key has any.
    pub(super) guesses_a_day: Guesses,
    /// The MD5 blocks of the longest name and password.
    pub(super) blocks: BlockCount,
    /// The offsets of records with a published password.
    with_sample_password: Vec<u32>,
    pub(super) census: Census,
}

impl Entries {
    /// Reserves room for the users of a text of this many bytes.
    pub(super) fn for_text(text_len: usize) -> io::Result<Self> {
        Ok(Self {
            records: Records::for_text(text_len)?,
            conditions: HashMap::new(),
            old_ends_unix_s: HashMap::new(),
            with_sample_password: Vec::new(),
            census: Census::default(),
        })
    }

    /// Adds a user, whose old password, if there is one, ends at this time. `None` if there is no room.
    pub(super) fn add(
        &mut self,
        name: &Username,
        credential: Credential<'_>,
        old_end_unix_s: Option<u64>,
        conditions: Conditions,
    ) -> Option<()> {
        let start = self.records.add(name, credential)?;
        let record = self.records.at(start)?;
        self.census.add(&record);
        if has_sample_password(&record) {
            self.with_sample_password.push(start);
        }
        if let Some(end) = old_end_unix_s {
            self.old_ends_unix_s.insert(start, end);
        }
        if conditions != Conditions::none() {
            self.conditions.insert(start, conditions);
        }
        Some(())
    }
}

/// Whether users of a server may have records of OPAQUE.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Opaque {
    /// There is a key for them.
    Served,
    /// There is none.
    Absent,
}

impl Layer {
    /// Indexes users by name, over a layer with `below` users.
    ///
    /// # Errors
    /// As [`Store::new`] has them.
    pub(super) fn new(
        entries: Entries,
        hasher: RandomState,
        opaque: Opaque,
        below: usize,
    ) -> Result<Self, IndexError> {
        let Entries { records, conditions, old_ends_unix_s, with_sample_password, census } = entries;
        let store = Store::new(records, hasher)?;
        let there = store.iter().filter(|record| !record.is_removed);
        let blocks = there.flat_map(|record| blocks(&record)).fold(BlockCount::ONE, BlockCount::max);
        let count = store.count();
        Ok(Self {
            conditions,
            old_ends_unix_s,
            exemptions: Exemptions::new(count, count + below),
            guesses: Guesses::new(count),
            guesses_a_day: Guesses::new(if opaque == Opaque::Served { count } else { 0 }),
            blocks,
            with_sample_password,
            census,
            store,
        })
    }

    /// The users with a published password, in the order in which they were added.
    pub(super) fn with_sample_password(&self) -> impl Iterator<Item = Record<'_>> {
        self.with_sample_password.iter().filter_map(|start| self.store.at(*start))
    }

    /// Whether there is a record of this name, if only of a user who is removed.
    pub(super) fn has(&self, name: &str) -> bool {
        self.store.find(self.store.hash(name), name).has_name().into()
    }

    /// Whether the user of this number has logged in or was guessed at since the start.
    pub(super) fn is_marked(&self, number: u32) -> bool {
        self.exemptions.has_any(number) || self.guesses.has_any(number) || self.guesses_a_day.has_any(number)
    }

    /// Takes over what another layer knows of a user: the guesses, and the exemptions that were earned by a password
    /// that the user still has.
    pub(super) fn adopt(&self, user: &Lookup<'_>, others: &Self, other: &Lookup<'_>) {
        self.guesses.adopt(user.number, &others.guesses, other.number);
        self.guesses_a_day.adopt(user.number, &others.guesses_a_day, other.number);
        let ages = [PasswordAge::Present, PasswordAge::Old];
        let becomes = |password| {
            let before = credential(other, password);
            ages.into_iter().find(|age| credential(user, *age) == before)
        };
        self.exemptions.adopt(user.number, &others.exemptions, other.number, becomes);
    }

    /// Forgets all guesses at users.
    pub(super) fn forget_guesses(&self) {
        self.guesses.clear();
        self.guesses_a_day.clear();
    }
}

/// The MD5 blocks of both secrets of a user.
fn blocks(record: &Record<'_>) -> [BlockCount; 2] {
    let old = SecretRef::new(record.name.as_bytes(), record.old_password);
    [SecretRef::new(record.secret, &[]).blocks(), old.blocks()]
}

/// What a user logs in by: a password, or a record of OPAQUE.
fn credential<'a>(user: &Lookup<'a>, password: PasswordAge) -> [&'a [u8]; 2] {
    match password {
        PasswordAge::Present => [user.password, user.opaque],
        PasswordAge::Old => [user.old_password, &[]],
    }
}

//! Who may log in: a snapshot of `users.toml`, shared by all workers, and what is known of each user since the start.

mod builder;
mod conditions;
mod exemptions;
mod guesses;
mod store;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use subtle::Choice;

pub use builder::{BuildError, Builder, EqualSecrets, Full, SAMPLES};
use conditions::NO_CONDITIONS;
pub use conditions::{Conditions, Denial, Standing};

use crate::credentials::Username;
use crate::peer::Address;
use crate::proof::{Blocks, SecretRef};
use exemptions::Exemptions;
use guesses::Guesses;
pub(crate) use guesses::Price;
pub use store::{IndexError, wipe};
use store::{Record, Store};

/// So many users stay in the nearest caches.
const NEAR: usize = 4096;

/// Everybody who may log in, and under which conditions.
pub struct Users {
    store: Store,
    /// Of those who have any, by where their record begins.
    conditions: HashMap<u32, Conditions>,
    // These two change, while all else stays as it is.
    exemptions: Exemptions,
    guesses: Guesses,
    /// The work of the longest entry, which every answer costs.
    blocks: Blocks,
    samples: Samples,
}

/// How much of a users file is the shipped samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// No user has a sample's password.
    None,
    /// This user has, and perhaps others; not all do.
    Some(Username),
    /// There is nothing but samples in the file.
    Only(Username),
}

impl Users {
    fn new(store: Store, conditions: HashMap<u32, Conditions>, samples: Samples) -> Self {
        let blocks = store
            .iter()
            .map(|record| SecretRef::new(record.secret, &[]).blocks())
            .fold(Blocks::ONE, Blocks::max);
        let (exemptions, guesses) = (Exemptions::new(store.count()), Guesses::new(store.count()));
        Self { store, conditions, exemptions, guesses, blocks, samples }
    }

    /// Takes over what is known of users that are in both: how often they were guessed at, and from where they logged
    /// in with the password that they still have.
    pub fn adopt(&self, old: &Self) {
        let is_marked = |number| old.exemptions.has_any(number) || old.guesses.has_any(number);
        for record in old.store.iter().filter(|record| is_marked(record.number)) {
            let found = self.store.find(record.name);
            if !bool::from(found.is_theirs) {
                continue;
            }
            self.guesses.adopt(found.number, &old.guesses, record.number);
            if found.password == record.password() {
                self.exemptions.adopt(found.number, &old.exemptions, record.number);
            }
        }
    }

    /// Forgets how often users were guessed at.
    pub fn forget_guesses(&self) {
        self.guesses.clear();
    }

    /// The names of all users, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.store.iter().map(|record| record.name)
    }

    /// Whether a user has the same password and conditions in both; nothing, if there is no such user in one of them.
    #[must_use]
    pub fn is_unchanged(&self, other: &Self, name: &str) -> Option<bool> {
        let [found, others] = [self, other].map(|users| users.store.find(name));
        let is_in_both = bool::from(found.is_theirs & others.is_theirs);
        let has_conditions = || self.conditions.get(&found.start) == other.conditions.get(&others.start);
        is_in_both.then(|| found.password == others.password && has_conditions())
    }

    /// Looks for the user of this name; no step tells by its time whether there is one.
    pub(crate) fn find<'a>(&'a self, name: &'a str) -> Found<'a> {
        let store::Found { is_theirs, start, number, password } = self.store.find(name);
        let is_judged = Choice::from(1);
        Found { name, is_known: is_theirs, is_judged, record: start, number, password, users: self }
    }

    /// Brings the records of these names near, where there are more users than a processor keeps near by itself.
    pub fn fetch<'n>(&self, names: impl Iterator<Item = &'n str>) {
        if self.len() > NEAR {
            self.store.fetch(names);
        }
    }

    /// The names of those who can log in from anywhere at any time, and their secrets.
    pub fn unconditional(&self) -> impl Iterator<Item = (&str, SecretRef<'_>)> {
        let is_free = |record: &Record<'_>| !self.conditions.contains_key(&record.start);
        self.store.iter().filter(is_free).map(|record| (record.name, SecretRef::new(record.secret, &[])))
    }

    pub(crate) fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// Whether there is a user of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.store.find(name).is_theirs.into()
    }

    /// How much of the file is the shipped samples.
    #[must_use]
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.count()
    }

    /// Whether nobody can log in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store.count() == 0
    }
}

/// What there is for a name: a secret to check an answer with in any case.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    name: &'a str,
    /// Whether a user has the name.
    pub(crate) is_known: Choice,
    /// Whether the digest of an answer is looked at.
    is_judged: Choice,
    /// Where the record begins, and the password in it: of somebody else, if nobody has the name.
    record: u32,
    number: u32,
    password: &'a [u8],
    users: &'a Users,
}

impl<'a> Found<'a> {
    /// The name that was looked for.
    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    /// Whether the right digest lets anybody in.
    pub(crate) fn may_enter(&self) -> Choice {
        self.is_known & self.is_judged
    }

    /// Whether any user was guessed at beyond the budget.
    pub(crate) fn are_any_guesses_spent(&self, uptime: Duration) -> bool {
        self.users.guesses.any_spent(uptime)
    }

    /// Whether this user was. For an unknown name it tells of somebody else, which makes no difference to a refusal.
    pub(crate) fn are_guesses_spent(&self, address: Address, price: Price, uptime: Duration) -> bool {
        self.users.guesses.is_spent(self.number, address, price, uptime)
    }

    /// The same, but refused whatever the answer, after the usual steps, if the user's guesses are `spent`.
    pub(crate) fn refused_if(self, spent: bool) -> Self {
        Self { is_judged: !Choice::from(u8::from(spent)), ..self }
    }

    /// Whether the name is a user's whose guesses are spent.
    pub(crate) fn is_refused_unseen(&self) -> bool {
        (self.is_known & !self.is_judged).into()
    }

    /// Counts a guess at the user, if its digest was looked at.
    pub(crate) fn guessed(&self, address: Address, price: Price, uptime: Duration) {
        self.users.guesses.add(self.number, address, price, uptime, self.may_enter());
    }

    /// Notes that the user has logged in from a source, given as a keyed hash.
    pub(crate) fn exempt(&self, source: u64, uptime: Duration) {
        if self.is_known.into() {
            self.users.exemptions.note(self.number, source, uptime);
        }
    }

    /// Whether the user has logged in from that source lately. For an unknown name somebody else's slots are looked at,
    /// so that the time does not tell.
    pub(crate) fn is_exempt(&self, source: u64, uptime: Duration) -> bool {
        let is_noted = self.users.exemptions.contains(self.number, source, uptime);
        bool::from(self.is_known & Choice::from(u8::from(is_noted)))
    }

    /// With somebody else's password, if nobody has the name: a digest that fits then proves nothing. No longer than
    /// that of a user may be, since one more block of MD5 would tell.
    pub(crate) fn secret(self) -> SecretRef<'a> {
        let (name, room) = cut(self.name.as_bytes(), self.users.blocks.room());
        let (password, _) = cut(self.password, room);
        SecretRef::new(name, password)
    }

    /// What the user must meet besides knowing their password.
    pub(crate) fn conditions(self) -> &'a Conditions {
        self.users.conditions.get(&self.record).unwrap_or(&NO_CONDITIONS)
    }
}

/// The part of some bytes for which there is room, and the room that is left.
fn cut(bytes: &[u8], room: usize) -> (&[u8], usize) {
    let len = bytes.len().min(room);
    (bytes.get(..len).unwrap_or_default(), room - len)
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Users with these names and passwords, and no conditions.
#[cfg(test)]
pub(crate) fn with_passwords(users: &[(&str, &str)]) -> Users {
    let mut builder = Builder::for_text(1000).unwrap();
    for (name, password) in users {
        let (name, password) = (name.parse().unwrap(), crate::credentials::Password::new(password).unwrap());
        builder.push(&name, &password, Conditions::none()).unwrap();
    }
    builder.finish().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_keeps_exemptions_and_guesses_wherever_the_user_stands_and_no_exemption_of_another_password() {
        let [uptime, price] = [Duration::from_secs(100); 2];
        let price = Price::new(1, price).unwrap();
        let old = with_passwords(&[("alice", "one"), ("bob", "two"), ("carol", "three")]);
        for name in ["alice", "bob", "carol"] {
            old.find(name).exempt(1 << 40, uptime);
        }
        (0..3).for_each(|_| old.find("bob").guessed(Address::Proven, price, uptime));
        let new = with_passwords(&[("dave", "four"), ("carol", "new"), ("bob", "two")]);
        new.adopt(&old);
        let known = ["carol", "bob", "dave"].map(|name| {
            let found = new.find(name);
            (found.is_exempt(1 << 40, uptime), found.are_guesses_spent(Address::Proven, price, uptime))
        });
        assert_eq!(known, [(false, false), (true, true), (false, false)]);
        assert!(new.find("bob").are_any_guesses_spent(uptime));
    }
}

//! The users: a snapshot of `users.toml`, shared by all workers, and the recent logins and failures of each user.

mod builder;
mod census;
mod conditions;
mod exemptions;
mod found;
mod guesses;
mod layer;
mod opaque;
mod store;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use subtle::{Choice, ConstantTimeEq};

pub use builder::{BuildError, Builder, EqualSecrets, NoRoom, OldPassword, RecordError};
use census::Census;
pub use census::SAMPLES;
pub use conditions::{Conditions, Denial, Standing};
pub use found::PasswordAge;
pub(crate) use found::{Candidate, Found};

use crate::credentials::Username;
use crate::mechanism::{Mechanism, Mechanisms};
use crate::opaque::key::{KeyId, ServerKey};
use crate::proof::{BlockCount, SecretRef};
use crate::server::keyring::{ClusterKey, Keyring};
pub(crate) use guesses::Price;
use layer::Layer;
pub(crate) use opaque::OpaqueUsers;
pub use store::{IndexError, wipe};
use store::{Lookup, Record};

/// Up to this many users fit in the processor's caches, and need no prefetch.
const CACHED_MAX: usize = 4096;

/// All users, with the conditions of their logins.
pub struct Users {
    base: Arc<Layer>,
    census: Census,
    /// The MD5 blocks of the longest name and password. Every answer costs this many.
    blocks: BlockCount,
    samples: Samples,
    /// Absent without a key.
    opaque: Option<OpaqueUsers>,
    /// The mechanisms by which any user logs in.
    has: Mechanisms,
    /// The keys of challenges that all servers with these users share, if they do.
    keyring: Option<Keyring>,
}

/// Whether users have the published passwords of the shipped `users.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// No user has a sample's password.
    Absent,
    /// This user has one, and perhaps others do; not all users are samples.
    Mixed(Username),
    /// All users are samples; this is one of them.
    Alone(Username),
}

impl Users {
    fn new(base: Arc<Layer>, key: Option<ServerKey>) -> Self {
        let (census, blocks) = (base.census.clone(), base.blocks);
        let with_sample = base.with_sample_password().find_map(|record| record.name.parse().ok());
        let samples = match (with_sample, census.others) {
            (None, _) => Samples::Absent,
            (Some(name), 0) => Samples::Alone(name),
            (Some(name), _) => Samples::Mixed(name),
        };
        let opaque = key.map(|key| OpaqueUsers::new(key, &census.stretchings));
        let has = census.mechanisms();
        Self { base, census, blocks, samples, opaque, has, keyring: None }
    }

    /// The same users, at servers that share the keys of their challenges.
    #[must_use]
    pub fn with_cluster_keys(self, keys: Option<Vec<ClusterKey>>) -> Self {
        let key_of_records = self.opaque.as_ref().map(|opaque| &opaque.key);
        Self { keyring: keys.map(|keys| Keyring::new(keys, key_of_records)), ..self }
    }

    /// The keys of challenges that all servers with these users share; `None` if each draws its own.
    #[must_use]
    pub fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_ref()
    }

    /// Takes over the guesses at users who are in both snapshots, and the exemptions that were earned by a password
    /// that they still have. Those of an old password may outlive its last day, by a day at most.
    pub fn adopt(&self, old: &Self) {
        for record in old.base.store.iter().filter(|record| old.base.is_marked(record.number)) {
            let [(own, found), (others, was)] = [self, old].map(|users| users.search(record.name));
            if (found.is_match & was.is_match).into() {
                own.adopt(&found, others, &was);
            }
        }
    }

    /// Forgets all guesses at users.
    pub fn forget_guesses(&self) {
        self.base.forget_guesses();
    }

    fn are_any_guesses_spent(&self, uptime: Duration) -> bool {
        self.base.guesses.any_spent(uptime)
    }

    /// Whether any user has an old password.
    fn has_old_passwords(&self) -> bool {
        self.census.with_old_password > 0
    }

    /// The names of all users, in the order in which they were added, which need not be that of a file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.base.store.iter().map(|record| record.name)
    }

    /// Whether a user has the same passwords and conditions in both snapshots; `None` if one of them has no such user.
    #[must_use]
    pub fn is_unchanged(&self, other: &Self, name: &str) -> Option<bool> {
        let [(layer, found), (other, others)] = [self, other].map(|users| users.search(name));
        let is_in_both = bool::from(found.is_match & others.is_match);
        let has_passwords = || {
            let [own, others] =
                [found, others].map(|found| (found.password, found.old_password, found.opaque));
            own == others
        };
        let ends_then =
            || layer.old_ends_unix_s.get(&found.start) == other.old_ends_unix_s.get(&others.start);
        let has_conditions = || layer.conditions.get(&found.start) == other.conditions.get(&others.start);
        is_in_both.then(|| has_passwords() && ends_then() && has_conditions())
    }

    /// Looks for the user of this name who logs in by this mechanism. The time does not tell whether there is one.
    pub(crate) fn find<'a>(&'a self, name: &'a str, mechanism: Mechanism) -> Found<'a> {
        let (layer, Lookup { is_match, start, number, password, old_password, opaque }) = self.search(name);
        let credential = match mechanism {
            Mechanism::Md5 => password,
            Mechanism::Opaque => opaque,
        };
        Found {
            name,
            is_known: is_match & !credential.len().ct_eq(&0),
            is_judged: Choice::from(1),
            record: start,
            number,
            password,
            old_password,
            opaque,
            users: self,
            layer,
        }
    }

    /// The record that a search for this name ends with.
    fn search(&self, name: &str) -> (&Layer, Lookup<'_>) {
        (&self.base, self.base.store.find(name))
    }

    /// The key of the records, and what stands in for names without one; absent without a key.
    pub(crate) fn opaque(&self) -> Option<&OpaqueUsers> {
        self.opaque.as_ref()
    }

    /// The mechanisms by which any user logs in.
    #[must_use]
    pub fn mechanisms(&self) -> Mechanisms {
        self.has
    }

    /// Whether there is a key, without which no server speaks OPAQUE.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.opaque.is_some()
    }

    /// The id of the key of the records, if there is one.
    #[must_use]
    pub fn key_id(&self) -> Option<KeyId> {
        self.opaque.as_ref().map(|opaque| opaque.key.id())
    }

    /// Brings the records of up to 64 names into the cache, where there are more users than stay there by themselves.
    pub fn prefetch<'n>(&self, names: impl Iterator<Item = &'n str>) {
        if self.len() > CACHED_MAX {
            self.base.store.prefetch(names);
        }
    }

    /// The names and present secrets of the users with a password and without conditions.
    pub fn unconditional(&self) -> impl Iterator<Item = (&str, SecretRef<'_>)> {
        let is_free = |record: &Record<'_>| {
            record.opaque.is_empty() && !self.base.conditions.contains_key(&record.start)
        };
        self.base.store.iter().filter(is_free).map(|record| (record.name, SecretRef::new(record.secret, &[])))
    }

    /// The users who may not log in from anywhere at this time, and why: they are disabled or expired.
    pub fn denied(&self, unix_s: u64) -> impl Iterator<Item = (&str, Denial)> {
        self.base.store.iter().filter_map(move |record| {
            let denial = self.base.conditions.get(&record.start)?.admit(unix_s, None).err()?;
            (denial != Denial::NotFromHere).then_some((record.name, denial))
        })
    }

    /// The users whose old password is refused at this time, though it is still in their records.
    pub fn ended_old_passwords(&self, unix_s: u64) -> impl Iterator<Item = &str> {
        let is_over = move |record: &Record<'_>| {
            self.base.old_ends_unix_s.get(&record.start).is_some_and(|end| unix_s >= *end)
        };
        self.base.store.iter().filter(is_over).map(|record| record.name)
    }

    pub(crate) fn blocks(&self) -> BlockCount {
        self.blocks
    }

    /// Whether a user has this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.search(name).1.is_match.into()
    }

    /// Whether any or all users are the shipped samples.
    #[must_use]
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// The number of users.
    #[must_use]
    pub fn len(&self) -> usize {
        self.census.users
    }

    /// Whether there are no users.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.census.users == 0
    }
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
    use crate::origin::Origin;

    fn with_old(present: &str, old: Option<&str>) -> Users {
        let password = |text| crate::credentials::Password::new(text).unwrap();
        let mut builder = Builder::for_text(1000).unwrap();
        let old = old.map(|old| OldPassword { password: password(old), ends_unix_s: 1 });
        let alice = "alice".parse().unwrap();
        builder.push_with_old(&alice, &password(present), old.as_ref(), Conditions::none()).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn a_reload_keeps_the_exemptions_that_were_earned_by_a_password_that_is_still_one() {
        use PasswordAge::{Old, Present};
        let uptime = Duration::from_secs(100);
        for (before, after, of_present, of_old) in [
            (("a", None), ("b", Some("a")), true, false),
            (("b", Some("a")), ("b", Some("a")), true, true),
            (("b", Some("a")), ("a", Some("b")), true, true),
            (("b", Some("a")), ("b", None), true, false),
            (("b", Some("a")), ("c", Some("b")), true, false),
            (("b", Some("a")), ("a", None), false, true),
            (("a", None), ("b", Some("c")), false, false),
        ] {
            let earned = [Present, Old].map(|password| {
                let [old, new] = [before, after].map(|(password, old)| with_old(password, old));
                old.find("alice", Mechanism::Md5).exempt(1 << 40, password, uptime);
                new.adopt(&old);
                new.find("alice", Mechanism::Md5).is_exempt(1 << 40, uptime)
            });
            // Without an old password nobody earns anything by it, and none is empty.
            assert_eq!(earned[0], of_present, "{before:?} {after:?}");
            assert!(before.1.is_none() || earned[1] == of_old, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_change_of_an_old_password_or_of_its_end_is_a_change() {
        let users = with_old("b", Some("a"));
        for (other, is_unchanged) in [
            (with_old("b", Some("a")), true),
            (with_old("b", Some("c")), false),
            (with_old("b", None), false),
        ] {
            assert_eq!(users.is_unchanged(&other, "alice"), Some(is_unchanged));
        }
    }

    #[test]
    fn two_users_are_refused_who_could_log_in_as_each_other_with_an_old_password() {
        let password = |text| crate::credentials::Password::new(text).unwrap();
        for (first, second) in [(("x", Some("icey")), ("y", None)), (("x", Some("icey")), ("z", Some("y")))] {
            let mut builder = Builder::for_text(1000).unwrap();
            for (name, (present, old)) in [("al", first), ("alice", second)] {
                let old = old.map(|old| OldPassword { password: password(old), ends_unix_s: 1 });
                builder
                    .push_with_old(
                        &name.parse().unwrap(),
                        &password(present),
                        old.as_ref(),
                        Conditions::none(),
                    )
                    .unwrap();
            }
            let Err(BuildError::Equal(equal)) = builder.finish() else { panic!("{first:?} {second:?}") };
            let names: std::collections::BTreeSet<_> =
                equal.iter().flat_map(|equal| [&*equal.name, &*equal.other]).collect();
            assert!(equal.len() == 1 && names.into_iter().eq(["al", "alice"]), "{equal:?}");
        }
    }

    #[test]
    fn a_reload_keeps_guesses_and_keeps_exemptions_unless_the_password_has_changed() {
        let uptime = Duration::from_secs(100);
        let price = Price::new(1, Duration::from_secs(100)).unwrap();
        let old = with_passwords(&[("alice", "one"), ("bob", "two"), ("carol", "three")]);
        for name in ["alice", "bob", "carol"] {
            old.find(name, Mechanism::Md5).exempt(1 << 40, PasswordAge::Present, uptime);
        }
        (0..3).for_each(|_| old.find("bob", Mechanism::Md5).guessed(Origin::Proven, price, uptime));
        let new = with_passwords(&[("dave", "four"), ("carol", "new"), ("bob", "two")]);
        new.adopt(&old);
        let known = ["carol", "bob", "dave"].map(|name| {
            let found = new.find(name, Mechanism::Md5);
            (found.is_exempt(1 << 40, uptime), found.are_guesses_spent(Origin::Proven, price, uptime))
        });
        assert_eq!(known, [(false, false), (true, true), (false, false)]);
        assert!(new.find("bob", Mechanism::Md5).are_any_guesses_spent(uptime));
    }
}

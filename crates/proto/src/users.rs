//! The users: a snapshot of `users.toml`, shared by all workers, and the recent logins and failures of each user.
//!
//! Where there are millions of them, a change of a few does not build all again: a snapshot is a base, which others
//! share, and an overlay of all users that were changed or removed since it was made.

mod builder;
mod census;
mod conditions;
mod exemptions;
mod found;
mod guesses;
mod layer;
mod opaque;
mod search;
mod store;
mod succession;
mod suspension;

use std::fmt;
use std::iter;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

pub use builder::{BuildError, Builder, EqualSecrets, NoRoom, OldPassword, RecordError};
use census::Census;
pub use census::SAMPLES;
pub use conditions::{Conditions, Denial, Standing};
pub use found::PasswordAge;
pub(crate) use found::{Candidate, Found};

use crate::credentials::Username;
use crate::mechanism::Mechanisms;
use crate::opaque::key::{KeyId, ServerKey};
use crate::proof::{BlockCount, SecretRef};
use crate::server::keyring::{ClusterKey, Keyring};
pub(crate) use guesses::Price;
use layer::Layer;
pub(crate) use opaque::OpaqueUsers;
use store::Record;
pub use store::{IndexError, wipe};
pub use suspension::Suspension;

/// Users from which on an overlay should become part of a new base. More are served all the same. A login is meant to
/// take at most 3 % longer with so many than with the base alone, as the bench `overlay` checks. That is not reached
/// yet: it takes some 13 % longer, and 8 % with 1,024, so a smaller overlay would hardly be worth its many bases.
pub const OVERLAY_MAX: usize = 65_536;

/// All users, with the conditions of their logins.
pub struct Users {
    /// Shared by all snapshots that differ from each other by an overlay alone.
    base: Arc<Layer>,
    /// The users that were changed or removed since the base was made; absent if there are none.
    overlay: Option<Layer>,
    /// Of both.
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
    /// Whether none of them may log in now.
    suspension: Suspension,
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
    fn new(base: Arc<Layer>, overlay: Option<Layer>, key: Option<ServerKey>) -> Self {
        let mut census = base.census.clone();
        for changed in overlay.iter().flat_map(|layer| layer.store.iter()) {
            if let Some(replaced) = base.store.record(changed.name) {
                census.take_out(&replaced);
            }
            census.add(&changed);
        }
        let blocks = overlay.iter().fold(base.blocks, |blocks, layer| blocks.max(layer.blocks));
        let (opaque, has) = (key.map(|key| OpaqueUsers::new(key, &census.stretchings)), census.mechanisms());
        let (samples, keyring, suspension) = (Samples::Absent, None, Suspension::default());
        let mut users = Self { base, overlay, census, blocks, samples, opaque, has, keyring, suspension };
        users.samples = users.look_for_samples();
        users
    }

    fn look_for_samples(&self) -> Samples {
        let with_password = self
            .layers()
            .flat_map(|layer| layer.with_sample_password().map(move |record| (layer, record.name)));
        let mut names = with_password.filter(|(layer, name)| self.is_last(layer, name)).map(|(_, name)| name);
        match (names.find_map(|name| name.parse().ok()), self.census.others) {
            (None, _) => Samples::Absent,
            (Some(name), 0) => Samples::Alone(name),
            (Some(name), _) => Samples::Mixed(name),
        }
    }

    /// The base, and the overlay if there is one.
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        iter::once(&*self.base).chain(&self.overlay)
    }

    /// Whether no later layer than this one has a record of that name.
    fn is_last(&self, layer: &Layer, name: &str) -> bool {
        self.overlay.as_ref().is_none_or(|own| ptr::eq(layer, own) || !own.has(name))
    }

    /// The users for whom this holds, each once, with their layers. Those of the base come first.
    fn users_who<'a>(
        &'a self,
        holds: impl Fn(&Layer, &Record<'_>) -> bool,
    ) -> impl Iterator<Item = (&'a Layer, Record<'a>)> {
        let records = self.layers().flat_map(|layer| layer.store.iter().map(move |record| (layer, record)));
        records.filter(move |(layer, record)| {
            holds(layer, record) && !record.is_removed && self.is_last(layer, record.name)
        })
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

    /// The same users, of whom none may log in while this is on.
    #[must_use]
    pub fn with_suspension(self, suspension: Suspension) -> Self {
        Self { suspension, ..self }
    }

    /// Forgets all guesses at users.
    pub fn forget_guesses(&self) {
        self.layers().for_each(Layer::forget_guesses);
    }

    fn are_any_guesses_spent(&self, uptime: Duration) -> bool {
        self.layers().any(|layer| layer.guesses.any_spent(uptime))
    }

    /// Whether any user has an old password.
    fn has_old_passwords(&self) -> bool {
        self.census.with_old_password > 0
    }

    /// The names of all users, in the order in which they were added, which need not be that of a file. Those of an
    /// overlay come last.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.users_who(|_, _| true).map(|(_, record)| record.name)
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

    /// The names and present secrets of the users with a password and without conditions.
    pub fn unconditional(&self) -> impl Iterator<Item = (&str, SecretRef<'_>)> {
        let is_free = |layer: &Layer, record: &Record<'_>| {
            record.opaque.is_empty() && !layer.conditions.contains_key(&record.start)
        };
        self.users_who(is_free).map(|(_, record)| (record.name, SecretRef::new(record.secret, &[])))
    }

    /// The users who may not log in from anywhere at this time, and why: they are disabled or expired.
    pub fn denied(&self, unix_s: u64) -> impl Iterator<Item = (&str, Denial)> {
        let is_conditional =
            |layer: &Layer, record: &Record<'_>| layer.conditions.contains_key(&record.start);
        self.users_who(is_conditional).filter_map(move |(layer, record)| {
            let denial = layer.conditions.get(&record.start)?.admit(unix_s, None).err()?;
            (denial != Denial::NotFromHere).then_some((record.name, denial))
        })
    }

    /// The users whose old password is refused at this time, though it is still in their records.
    pub fn ended_old_passwords(&self, unix_s: u64) -> impl Iterator<Item = &str> {
        let is_over = move |layer: &Layer, record: &Record<'_>| {
            layer.old_ends_unix_s.get(&record.start).is_some_and(|end| unix_s >= *end)
        };
        self.users_who(is_over).map(|(_, record)| record.name)
    }

    pub(crate) fn blocks(&self) -> BlockCount {
        self.blocks
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
    use crate::mechanism::Mechanism;
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

    /// Those of [`with_passwords`] over a base, and users who are removed.
    fn over(base: &Users, changed: &[(&str, &str)], removed: &[&str]) -> Users {
        let mut builder = Builder::for_text(1000).unwrap();
        for (name, password) in changed {
            let password = crate::credentials::Password::new(password).unwrap();
            builder.push(&name.parse().unwrap(), &password, Conditions::none()).unwrap();
        }
        removed.iter().for_each(|name| builder.push_removed(&name.parse().unwrap()).unwrap());
        builder.finish_over(base).unwrap()
    }

    const UPTIME: Duration = Duration::from_secs(100);
    const SOURCE: u64 = 1 << 40;

    fn price() -> Price {
        Price::new(1, Duration::from_secs(100)).unwrap()
    }

    fn mark(users: &Users, name: &str) {
        users.find(name, Mechanism::Md5).exempt(SOURCE, PasswordAge::Present, UPTIME);
        (0..3).for_each(|_| users.find(name, Mechanism::Md5).guessed(Origin::Proven, price(), UPTIME));
    }

    /// Whether the source is exempt for the user, and whether the guesses at them are spent.
    fn known(users: &Users, name: &str) -> (bool, bool) {
        let found = users.find(name, Mechanism::Md5);
        let is_spent = found.are_any_guesses_spent(UPTIME)
            && bool::from(found.is_known)
            && found.are_guesses_spent(Origin::Proven, price(), UPTIME);
        (found.is_exempt(SOURCE, UPTIME), is_spent)
    }

    #[test]
    fn what_is_known_of_users_goes_with_them_from_a_base_into_overlays_and_into_the_next_base() {
        let base = with_passwords(&[("alice", "1"), ("bob", "2"), ("carol", "3"), ("dave", "4")]);
        ["alice", "bob", "carol", "dave"].into_iter().for_each(|name| mark(&base, name));
        let first = over(&base, &[("alice", "1"), ("bob", "new")], &["carol"]);
        first.adopt(&base);
        let names = ["alice", "bob", "carol", "dave"];
        let all = |users: &Users| names.map(|name| known(users, name));
        assert_eq!(all(&first), [(true, true), (false, true), (false, false), (true, true)]);
        // Twice is as once.
        first.adopt(&base);
        mark(&first, "bob");
        // Carol was removed, so nothing is known of her; that alice has another password again is a new change.
        let second = over(&first, &[("alice", "other"), ("bob", "new"), ("carol", "3")], &[]);
        second.adopt(&first);
        assert_eq!(all(&second), [(false, true), (true, true), (false, false), (true, true)]);
        let next = with_passwords(&[("dave", "4"), ("carol", "3"), ("bob", "new"), ("alice", "other")]);
        next.adopt(&second);
        assert_eq!(all(&next), all(&second));
        next.forget_guesses();
        assert_eq!(all(&next), [(false, false), (true, false), (false, false), (true, false)]);
    }

    #[test]
    fn a_user_who_is_in_the_overlay_no_more_takes_what_is_known_back_to_the_base() {
        let base = with_passwords(&[("alice", "1"), ("bob", "2")]);
        let changed = over(&base, &[("alice", "1")], &["bob"]);
        mark(&changed, "alice");
        let back = over(&changed, &[], &[]);
        back.adopt(&changed);
        assert_eq!([known(&back, "alice"), known(&back, "bob")], [(true, true), (false, false)]);
        assert!(back.names().eq(["alice", "bob"]) && base.len() == back.len());
    }

    #[test]
    fn guesses_at_a_user_of_either_layer_are_forgotten() {
        let base = with_passwords(&[("alice", "1"), ("bob", "2")]);
        let users = over(&base, &[("alice", "1")], &[]);
        ["alice", "bob"].into_iter().for_each(|name| mark(&users, name));
        users.forget_guesses();
        assert_eq!([known(&users, "alice"), known(&users, "bob")], [(true, false); 2]);
    }

    #[test]
    fn names_of_a_base_that_is_shared_differ_only_where_an_overlay_has_them() {
        let base = with_passwords(&[("alice", "1"), ("bob", "2"), ("carol", "3")]);
        let old = over(&base, &[("alice", "x")], &["carol"]);
        let new = over(&old, &[("alice", "y"), ("dave", "4")], &["bob"]);
        assert!(new.names_that_may_differ(&old).eq(["alice", "dave", "bob", "carol"]));
        assert!(new.names_that_may_differ(&base).eq(["alice", "dave", "bob"]));
        assert!(base.names_that_may_differ(&new).eq(["alice", "dave", "bob"]));
        assert!(new.names().eq(["carol", "alice", "dave"]));
    }
}

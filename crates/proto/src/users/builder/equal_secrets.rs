//! Finds users who could log in as each other.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::hint::black_box;

use siphasher::sip::SipHasher13;
use zeroize::Zeroizing;

use super::EqualSecrets;
use crate::credentials::{NAME_MAX, PASSWORD_MAX};
use crate::users::layer::Layer;
use crate::users::store::{Record, Records};

/// Pairs of users with the same secret, in the order of the later ones: first by present passwords, then by old ones,
/// if `has_old`. The earlier one of a pair is the last that has this secret before it.
///
/// Of ten million secrets a map takes half a gigabyte; sorted hashes take 80 MB and a fraction of the time. Only
/// secrets whose hashes are equal, of which there are hardly any, are compared.
pub(super) fn equal_secrets(records: &Records, has_old: bool) -> Vec<EqualSecrets> {
    let keyed = keyed();
    let repeated = repeated(secrets(records, has_old).map(|secret| secret.hash(keyed)).collect());
    if repeated.is_empty() {
        return Vec::new();
    }
    let mut before: HashMap<u64, Vec<Secret<'_>>> = HashMap::new();
    let mut equal = Vec::new();
    for secret in secrets(records, has_old) {
        let hash = secret.hash(keyed);
        if repeated.contains(&hash) {
            let alike = before.entry(hash).or_default();
            if let Some(other) = alike.iter().rev().find(|other| other.is_equal(&secret)) {
                equal.push(EqualSecrets {
                    number: secret.number,
                    name: secret.name.into(),
                    other: other.name.into(),
                });
            }
            alike.push(secret);
        }
    }
    equal
}

/// Pairs of a user of an overlay and one of its base who is still there, with the same secret. The base is not walked:
/// a secret can only be that of a user whose name it begins with, so there are at most 64 names to look for.
pub(super) fn equal_secrets_over(base: &Layer, overlay: &Layer) -> Vec<EqualSecrets> {
    let mut secret = Zeroizing::new(String::with_capacity(NAME_MAX + PASSWORD_MAX));
    let mut equal = Vec::new();
    for record in overlay.store.iter().filter(|record| !record.is_removed) {
        for password in [record.password(), record.old_password].into_iter().filter(|it| !it.is_empty()) {
            secret.clear();
            secret.push_str(record.name);
            secret.push_str(str::from_utf8(password).unwrap_or_default());
            let others = same_in_base(base, &secret).filter(|other| !overlay.has(other));
            let (number, name) = (record.number as usize, record.name);
            equal.extend(others.map(|other| EqualSecrets { number, name: name.into(), other: other.into() }));
        }
    }
    equal
}

/// The names of the users of a base who have this secret.
fn same_in_base<'a>(base: &'a Layer, secret: &str) -> impl Iterator<Item = &'a str> {
    let ends = secret.char_indices().map(|(end, _)| end).skip(1).take_while(|end| *end <= NAME_MAX);
    let splits = ends.filter_map(|end| secret.split_at_checked(end));
    // All begin to come into the cache before the first is needed.
    let slots = splits.clone().map(|(name, _)| base.store.touch_slots(base.store.hash(name)));
    black_box(slots.fold(0, u8::wrapping_add));
    splits.filter_map(|(name, password)| {
        let user = base.store.record(name).filter(|user| !user.is_removed)?;
        let is_same = [user.password(), user.old_password].contains(&password.as_bytes());
        is_same.then_some(user.name)
    })
}

/// Name ‖ password of a user.
struct Secret<'a> {
    /// How many users were added before this one.
    number: usize,
    name: &'a str,
    /// What it is put together from.
    parts: [&'a [u8]; 2],
}

impl<'a> Secret<'a> {
    fn present(record: &Record<'a>) -> Self {
        Self { number: record.number as usize, name: record.name, parts: [record.secret, &[]] }
    }

    fn old(record: &Record<'a>) -> Self {
        let parts = [record.name.as_bytes(), record.old_password];
        Self { number: record.number as usize, name: record.name, parts }
    }

    fn hash(&self, mut keyed: SipHasher13) -> u64 {
        self.parts.iter().for_each(|part| keyed.write(part));
        keyed.finish()
    }

    fn is_equal(&self, other: &Self) -> bool {
        self.parts.iter().copied().flatten().eq(other.parts.iter().copied().flatten())
    }
}

/// The secrets of all passwords: the present ones, and then the old ones.
fn secrets(records: &Records, has_old: bool) -> impl Iterator<Item = Secret<'_>> {
    let with_password = records.iter().filter(|record| record.opaque.is_empty() && !record.is_removed);
    let present = with_password.map(|record| Secret::present(&record));
    let with_old = has_old.then(|| records.iter().filter(|record| !record.old_password.is_empty()));
    present.chain(with_old.into_iter().flatten().map(|record| Secret::old(&record)))
}

/// A hash with a random key, so that nobody can choose passwords whose hashes are equal.
fn keyed() -> SipHasher13 {
    let random = RandomState::new();
    SipHasher13::new_with_keys(random.hash_one(0_u8), random.hash_one(1_u8))
}

/// The hashes that occur more than once.
fn repeated(mut hashes: Vec<u64>) -> HashSet<u64> {
    hashes.sort_unstable();
    let groups = hashes.chunk_by(|one, next| one == next).filter(|group| group.len() > 1);
    groups.filter_map(|group| group.first().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Password;
    use crate::users::store::Credential;

    /// Adds users with a password each, and an old one if it is not empty.
    fn records(users: &[(&str, &str, &str)]) -> Records {
        let mut records = Records::for_text(10_000).unwrap();
        for (name, present, old) in users {
            let [present, old] = [present, old].map(|text| Password::new(text).unwrap());
            let old = Some(&old).filter(|old| !old.expose().is_empty());
            records.add(&name.parse().unwrap(), Credential::Password(&present, old)).unwrap();
        }
        records
    }

    #[test]
    fn each_user_is_named_with_the_last_one_before_who_has_the_same_secret() {
        let users = [
            ("al", "icexyz", ""),
            ("bob", "b", ""),
            ("alice", "xyz", "other"),
            ("alic", "exyz", ""),
            ("bo", "new", "bb"),
            ("b", "new", "obb"),
        ];
        let equal = equal_secrets(&records(&users), true);
        let equal: Vec<_> = equal.iter().map(|it| (it.number, &*it.name, &*it.other)).collect();
        let of_present = [(2, "alice", "al"), (3, "alic", "alice")];
        let of_old = [(4, "bo", "bob"), (5, "b", "bo")];
        assert_eq!(equal, [of_present, of_old].concat());
    }

    #[test]
    fn users_with_other_secrets_are_not_named() {
        let users = [("al", "ice", ""), ("alice", "x", "ice"), ("a", "licex-", "licex+")];
        assert!(equal_secrets(&records(&users), true).is_empty());
    }

    #[test]
    fn only_hashes_that_occur_more_than_once_are_repeated() {
        assert_eq!(repeated(vec![3, 1, 2, 1, 3, 3, 4]), HashSet::from([1, 3]));
        assert!(repeated(Vec::new()).is_empty());
    }
}

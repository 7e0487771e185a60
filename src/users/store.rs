//! Names and passwords, of millions of users if need be: all in one piece of memory, and an index by name.
//!
//! ```text
//! | length of name: 1 | length of password: 1 | name | password |          a record
//! | half of the hash of a name: 4 | where its record begins, and 1: 4 |    a slot of the index; 0 if free
//! ```
//!
//! So a user takes their name, their password and 18 to 34 bytes, finding one touches two cache lines, however many
//! there are, and one wipe is enough for all passwords.

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::io;
use std::iter;
use std::ops::Range;

use memmap2::{Advice, MmapMut};
use zeroize::Zeroize;

use super::{NAME_MAX, PASSWORD_MAX, Password, Username};
use crate::auth::proof::SecretRef;

/// Everybody's name and password.
pub(super) struct Store {
    records: Records,
    decoys: Decoys,
    slots: Pages,
    /// One less than the number of slots, which is a power of two.
    mask: usize,
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

const SLOT_LEN: usize = 8;
/// Names that are fetched at a time: those of a batch.
const FETCH_MAX: usize = 64;

impl Store {
    /// Makes the index of records, in which no name is twice.
    ///
    /// # Errors
    /// The system's, for lack of memory.
    pub(super) fn new(records: Records) -> io::Result<Self> {
        // So many are free that a search soon comes to one.
        let slots = (2 * records.count).next_power_of_two();
        let slots_len = slots.saturating_mul(SLOT_LEN);
        let (decoys, hasher) = (Decoys::like(&records)?, RandomState::new());
        let mut store = Self { records, decoys, slots: Pages::new(slots_len)?, mask: slots - 1, hasher };
        store.index();
        Ok(store)
    }

    fn index(&mut self) {
        let (slots, _) = self.slots.bytes_mut().as_chunks_mut::<SLOT_LEN>();
        for record in self.records.iter() {
            let hash = self.hasher.hash_one(record.name);
            for number in probe(hash, self.mask) {
                if let Some(slot) = slots.get_mut(number).filter(|slot| **slot == [0; SLOT_LEN]) {
                    *slot = (tag(hash) | (u64::from(record.start) + 1)).to_ne_bytes();
                    break;
                }
            }
        }
    }

    /// The user of this name; else nobody's record, which has been looked at in the same way.
    pub(super) fn find(&self, name: &str) -> Result<Record<'_>, Record<'_>> {
        let (slots, _) = self.slots.bytes().as_chunks::<SLOT_LEN>();
        let hash = self.hasher.hash_one(name);
        let found = probe(hash, self.mask)
            .map_while(|number| {
                slots.get(number).map(|slot| u64::from_ne_bytes(*slot)).filter(|slot| *slot != 0)
            })
            .filter(|slot| tag(*slot) == tag(hash))
            .filter_map(|slot| self.records.at((slot as u32).wrapping_sub(1)))
            .find(|record| record.name == name);
        found.ok_or_else(|| {
            let decoy = self.decoys.of(name.len());
            black_box(decoy.name == name);
            decoy
        })
    }

    /// Brings what it takes to find these names near. Found one after the other, each would be waited for; here no
    /// step of one waits for another's, so a processor has many under way.
    pub(super) fn fetch<'n>(&self, names: impl Iterator<Item = &'n str>) {
        let mut hashes = [0; FETCH_MAX];
        let mut count = 0;
        for (hash, name) in hashes.iter_mut().zip(names) {
            *hash = self.hasher.hash_one(name);
            count += 1;
        }
        let hashes = hashes.get(..count).unwrap_or_default();
        let (slots, _) = self.slots.bytes().as_chunks::<SLOT_LEN>();
        let first =
            |hash: &u64| slots.get(*hash as usize & self.mask).map_or(0, |slot| u64::from_ne_bytes(*slot));
        black_box(hashes.iter().map(first).fold(0, u64::wrapping_add));
        let header =
            |hash: &u64| self.records.pages.bytes().get(first(hash) as u32 as usize).copied().unwrap_or(0);
        black_box(hashes.iter().map(header).fold(0, u8::wrapping_add));
    }

    pub(super) fn count(&self) -> usize {
        self.records.count
    }

    /// All users, in the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.records.iter()
    }
}

/// Records of nobody, one for each length of a name, so that a search for nobody takes as long as one for somebody.
struct Decoys {
    records: Records,
    starts: Vec<u32>,
}

impl Decoys {
    /// With passwords as long as they are on average, but none that makes for more work than the longest of users.
    fn like(users: &Records) -> io::Result<Self> {
        let lens = users.iter().map(|record| (record.secret.as_bytes().len(), record.name.len()));
        let (longest, passwords_len) = lens.fold((0, 0), |(longest, sum), (secret_len, name_len)| {
            (secret_len.max(longest), sum + secret_len - name_len)
        });
        let mean_len = passwords_len / users.count.max(1);
        let mut decoys =
            Self { records: Records::for_text(NAME_MAX * (NAME_MAX + PASSWORD_MAX))?, starts: Vec::new() };
        for name_len in 0..=NAME_MAX {
            let password_len = mean_len.min(longest.saturating_sub(name_len));
            let start = decoys.records.push(
                [b'x'; NAME_MAX].get(..name_len).unwrap_or_default(),
                [0; PASSWORD_MAX].get(..password_len).unwrap_or_default(),
            );
            decoys.starts.extend(start);
        }
        Ok(decoys)
    }

    fn of(&self, name_len: usize) -> Record<'_> {
        let start = self.starts.get(name_len).copied().unwrap_or_default();
        self.records.at(start).unwrap_or(Record { start, name: "", secret: SecretRef::new(&[]) })
    }
}

/// The slots in which a name may be, in the order to look there.
fn probe(hash: u64, mask: usize) -> impl Iterator<Item = usize> {
    let first = hash as usize & mask;
    (first..=mask).chain(0..first)
}

/// The half of a hash, or of a slot, that tells most names apart without a look at their records.
fn tag(hash: u64) -> u64 {
    hash & !u64::from(u32::MAX)
}

/// Names and passwords, one after the other.
pub(super) struct Records {
    pages: Pages,
    len: usize,
    count: usize,
}

const HEADER_LEN: usize = 2;

impl Records {
    /// Room for the users of a text of this length: a line with a user is longer than their record.
    ///
    /// # Errors
    /// The system's, for lack of memory.
    pub(super) fn for_text(text_len: usize) -> io::Result<Self> {
        Ok(Self { pages: Pages::new(text_len)?, len: 0, count: 0 })
    }

    /// Adds a user, and says where; `None` if there is no more room, which 4 GiB are the end of in any case.
    pub(super) fn add(&mut self, name: &Username, password: &Password) -> Option<u32> {
        self.push(name.as_str().as_bytes(), password.expose())
    }

    fn push(&mut self, name: &[u8], password: &[u8]) -> Option<u32> {
        let start = u32::try_from(self.len).ok()?;
        let header = [u8::try_from(name.len()).ok()?, u8::try_from(password.len()).ok()?];
        let end = self.len + HEADER_LEN + name.len() + password.len();
        u32::try_from(end).ok()?;
        let mut room = self.pages.bytes_mut().get_mut(self.len..end)?;
        for part in [&header[..], name, password] {
            let (place, rest) = room.split_at_mut_checked(part.len())?;
            place.copy_from_slice(part);
            room = rest;
        }
        self.len = end;
        self.count += 1;
        Some(start)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut next = 0;
        iter::from_fn(move || {
            let record = self.at(next)?;
            next += (HEADER_LEN + record.secret.as_bytes().len()) as u32;
            Some(record)
        })
    }

    fn at(&self, start: u32) -> Option<Record<'_>> {
        let records: Range<usize> = start as usize..self.len;
        let (header, rest) = self.pages.bytes().get(records)?.split_first_chunk::<HEADER_LEN>()?;
        let [name_len, password_len] = header.map(usize::from);
        let name = str::from_utf8(rest.get(..name_len)?).ok()?;
        let secret = SecretRef::new(rest.get(..name_len + password_len)?);
        Some(Record { start, name, secret })
    }
}

/// Memory of zeros, in the largest pages that the system has: a look-up among millions of users goes anywhere, and
/// with small pages most of its time would be spent on finding these. It is in no core file, and wiped in the end.
struct Pages(MmapMut);

impl Pages {
    fn new(len: usize) -> io::Result<Self> {
        let pages = MmapMut::map_anon(len.max(1))?;
        for advice in [Advice::HugePage, Advice::DontDump] {
            // A system that does not take advice serves all the same.
            let _ = pages.advise(advice);
        }
        Ok(Self(pages))
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_who_was_added_is_found_and_nobody_else() {
        let names: Vec<Username> = (0..1000).map(|number| format!("user{number}").parse().unwrap()).collect();
        let mut records = Records::for_text(100_000).unwrap();
        for name in &names {
            records.add(name, &Password::new(&format!("of {name}")).unwrap()).unwrap();
        }
        let store = Store::new(records).unwrap();
        for name in &names {
            let Ok(record) = store.find(name.as_str()) else { panic!("{name} is not found") };
            assert_eq!(record.name, name.as_str());
            assert_eq!(record.secret.as_bytes(), format!("{name}of {name}").as_bytes());
        }
        assert!(store.find("user1000").is_err() && store.find("").is_err());
        assert!(store.iter().map(|record| record.name).eq(names.iter().map(Username::as_str)));
        assert_eq!(store.count(), names.len());
    }

    #[test]
    fn a_search_for_nobody_ends_with_a_record_like_that_of_somebody() {
        let mut records = Records::for_text(1000).unwrap();
        for (name, password) in [("alice", "12345678"), ("bob", "1234567890")] {
            records.add(&name.parse().unwrap(), &Password::new(password).unwrap()).unwrap();
        }
        let store = Store::new(records).unwrap();
        for (name, secret_len) in [("x", 10), ("carol", 13), ("a much longer name", 18)] {
            let Err(decoy) = store.find(name) else { panic!("{name} is nobody") };
            assert_eq!((decoy.name.len(), decoy.secret.as_bytes().len()), (name.len(), secret_len), "{name}");
        }
    }

    #[test]
    fn among_no_users_nobody_is_found() {
        let store = Store::new(Records::for_text(0).unwrap()).unwrap();
        assert!(store.find("userone").is_err() && store.iter().next().is_none());
    }

    #[test]
    fn a_user_for_whom_there_is_no_room_is_not_added() {
        let mut records = Records::for_text(10).unwrap();
        let mut add = |name: &str| records.add(&name.parse().unwrap(), &Password::new("123").unwrap());
        assert_eq!([add("abc"), add("d"), add("de")], [Some(0), None, None]);
        assert_eq!(records.iter().count(), 1);
    }
}

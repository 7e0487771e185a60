//! Names and passwords, of millions of users if need be: all in one piece of memory, and an index by name.
//!
//! ```text
//! | number: 4 | length of name: 1 | length of password: 1 | name | password |    a record
//! | half of the hash of a name: 4 | where its record begins: 4 |                  a slot of the index; 0 if free
//! ```
//!
//! So a user takes their name, their password and 38 bytes, finding one touches two cache lines, however many
//! there are, and one wipe is enough for all passwords.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::io;
use std::iter;
use std::ops::Range;
use std::thread;

use memmap2::MmapMut;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

use crate::credentials::{Password, Username};

/// Everybody's name and password.
pub(super) struct Store {
    records: Records,
    slots: Pages,
    hasher: RandomState,
}

/// A user's record.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    /// Where it begins.
    pub(super) start: u32,
    /// How many were added before it.
    pub(super) number: u32,
    pub(super) name: &'a str,
    /// Name and password.
    pub(super) secret: &'a [u8],
}

/// What a search came to.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    /// Whether it is the record of whom was looked for. If not, it is of somebody else.
    pub(super) is_theirs: Choice,
    /// Where it begins.
    pub(super) start: u32,
    /// How many users were added before that one.
    pub(super) number: u32,
    pub(super) password: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) fn password(&self) -> &'a [u8] {
        self.secret.get(self.name.len()..).unwrap_or_default()
    }
}

const SLOT_LEN: usize = 8;
/// Slots that are searched together: those of a cache line.
const LINE_SLOTS: usize = 8;
type Line = [[u8; SLOT_LEN]; LINE_SLOTS];
/// Names that are fetched at a time: those of a batch.
const FETCH_MAX: usize = 64;
/// Bytes of a record that are fetched: most are no longer.
const RECORD_FETCH_LEN: usize = 64;

/// Why there is no index of some names.
#[derive(Debug)]
pub enum IndexError {
    /// The system's word for it.
    NoMemory(io::Error),
    /// A name occurs twice.
    Twice,
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory(it) => write!(f, "no memory for the users: {it}"),
            Self::Twice => f.write_str("a name is in it twice"),
        }
    }
}

impl std::error::Error for IndexError {}

impl From<io::Error> for IndexError {
    fn from(error: io::Error) -> Self {
        Self::NoMemory(error)
    }
}

impl Store {
    /// Makes the index of records.
    ///
    /// # Errors
    /// If a name is in them twice, or the system has no memory.
    pub(super) fn new(records: Records) -> Result<Self, IndexError> {
        // So one line in a thousand is full.
        let lines = records.count / 2 + 1;
        Self::with_lines(records, lines)
    }

    fn with_lines(records: Records, lines: usize) -> Result<Self, IndexError> {
        let slots = Pages::new(lines.saturating_mul(LINE_SLOTS * SLOT_LEN))?;
        let mut store = Self { records, slots, hasher: RandomState::new() };
        store.index()?;
        Ok(store)
    }

    fn index(&mut self) -> Result<(), IndexError> {
        let lines = self.lines().len();
        let (slots, _) = self.slots.bytes_mut().as_chunks_mut::<SLOT_LEN>();
        for record in self.records.iter() {
            let hash = self.hasher.hash_one(record.name);
            for place in probe(hash, lines).flat_map(|line| line * LINE_SLOTS..(line + 1) * LINE_SLOTS) {
                let Some(slot) = slots.get_mut(place) else { continue };
                let taken = u64::from_ne_bytes(*slot);
                if taken == 0 {
                    *slot = (u64::from(tag(hash)) << 32 | u64::from(record.start)).to_ne_bytes();
                    break;
                }
                let is_alike = (taken >> 32) as u32 == tag(hash);
                if is_alike && self.records.at(taken as u32).is_some_and(|other| other.name == record.name) {
                    return Err(IndexError::Twice);
                }
            }
        }
        // Whoever is looked for in an empty line finds somebody else there, as in others.
        let (lines, _) = slots.as_chunks_mut::<LINE_SLOTS>();
        for (line, record) in lines.iter_mut().zip(self.records.iter()) {
            if line[0] == [0; SLOT_LEN] {
                line[0] = u64::from(record.start).to_ne_bytes();
            }
        }
        Ok(())
    }

    /// Looks for a user. A search for nobody takes the same steps, and ends with somebody else's record: as far from
    /// the processor, and with a password as long, as that of a user whom nobody can tell from others.
    pub(super) fn find(&self, name: &str) -> Found<'_> {
        let hash = self.hasher.hash_one(name);
        for line in probe(hash, self.lines().len()).filter_map(|number| self.lines().get(number)) {
            let mut alike = Alike::new(line, tag(hash));
            loop {
                let found = self.records.compare(alike.first(line), name);
                // Names seldom have the same tag, and lines are seldom full.
                let has_more = alike.drop_first();
                let is_end = !(has_more | alike.is_line_full);
                if (found.is_theirs | Choice::from(u8::from(is_end))).into() {
                    return found;
                }
                if !has_more {
                    break;
                }
            }
        }
        self.records.compare(0, name)
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
        let line = |hash: &u64| self.lines().get(home(*hash, self.lines().len()));
        black_box(hashes.iter().filter_map(line).map(|line| line[0][0]).fold(0, u8::wrapping_add));
        let both_ends = |hash: &u64| {
            let line = line(hash)?;
            let start = Alike::new(line, tag(*hash)).first(line) as usize;
            let record = self.records.pages.bytes().get(start..start + RECORD_FETCH_LEN)?;
            Some(record.first()? ^ record.last()?)
        };
        black_box(hashes.iter().filter_map(both_ends).fold(0, u8::wrapping_add));
    }

    fn lines(&self) -> &[Line] {
        let (slots, _) = self.slots.bytes().as_chunks();
        slots.as_chunks().0
    }

    pub(super) fn count(&self) -> usize {
        self.records.count
    }

    /// All users, in the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.records.iter()
    }
}

/// The slots of a line whose tag is that of a name, else any one of those that are taken. All of the line is looked
/// at, so that this takes the same time whether there is one, and where.
struct Alike {
    /// A bit for each.
    slots: u8,
    /// Whether the search goes on in the next line, if it has not ended in this one.
    is_line_full: bool,
}

impl Alike {
    fn new(line: &Line, tag: u32) -> Self {
        let (mut slots, mut taken) = (0, 0);
        for (number, slot) in line.iter().enumerate() {
            let slot = u64::from_ne_bytes(*slot);
            taken += u64::from(slot != 0);
            slots |= u8::from((slot != 0) & ((slot >> 32) as u32 == tag)) << number;
        }
        slots |= u8::from(slots == 0) << scaled(tag, taken);
        Self { slots, is_line_full: taken == LINE_SLOTS as u64 }
    }

    /// Where the record of the first begins.
    fn first(&self, line: &Line) -> u32 {
        line.get(self.slots.trailing_zeros() as usize).map_or(0, |slot| u64::from_ne_bytes(*slot) as u32)
    }

    /// Goes on to the next, if there is one.
    fn drop_first(&mut self) -> bool {
        self.slots &= self.slots.wrapping_sub(1);
        self.slots != 0
    }
}

/// A number below `end`, by half of a hash.
fn scaled(hash: u32, end: u64) -> u64 {
    (u64::from(hash) * end) >> 32
}

/// The line in which a name is, unless that is full, by the half of its hash that is no tag.
fn home(hash: u64, lines: usize) -> usize {
    scaled(hash as u32, lines as u64) as usize
}

/// The lines in which a name may be, in the order to look there.
fn probe(hash: u64, lines: usize) -> impl Iterator<Item = usize> {
    let home = home(hash, lines);
    (home..lines).chain(0..home)
}

/// The half of a name's hash that is in its slot, and tells most names apart without a look at their records.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Names and passwords, one after the other. In front is the record of nobody, which is all zeros.
pub(super) struct Records {
    pages: Pages,
    len: usize,
    count: usize,
}

const NUMBER_LEN: usize = 4;
const HEADER_LEN: usize = NUMBER_LEN + 2;
/// More bytes than a record has beyond the line of its user, which has four beside name and password, or three at the
/// end of a text.
const EXTRA_LEN: usize = HEADER_LEN - 3;
/// The shortest line: `a="b"`.
const LINE_MIN: usize = 5;
/// Records that are gone through at a time: some twenty microseconds' work, if each is far from the processor.
const TURN_RECORDS: u32 = 256;
const NOBODY_LEN: usize = HEADER_LEN;

impl Records {
    /// Room for the users of a text of this length. What is not used of it takes no memory.
    ///
    /// # Errors
    /// The system's, for lack of memory.
    pub(super) fn for_text(text_len: usize) -> io::Result<Self> {
        let extra = (text_len / LINE_MIN).saturating_mul(EXTRA_LEN);
        let len = NOBODY_LEN.saturating_add(text_len).saturating_add(extra);
        Ok(Self { pages: Pages::new(len)?, len: NOBODY_LEN, count: 0 })
    }

    /// Adds a user, and says where; `None` if there is no more room, which 4 GiB are the end of in any case.
    pub(super) fn add(&mut self, name: &Username, password: &Password) -> Option<u32> {
        let start = u32::try_from(self.len).ok()?;
        let (name, password) = (name.as_str().as_bytes(), password.expose());
        let number = u32::try_from(self.count).ok()?.to_ne_bytes();
        let lens = [u8::try_from(name.len()).ok()?, u8::try_from(password.len()).ok()?];
        let end = self.len + HEADER_LEN + name.len() + password.len();
        u32::try_from(end).ok()?;
        let mut room = self.pages.bytes_mut().get_mut(self.len..end)?;
        for part in [&number[..], &lens, name, password] {
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

    /// All of them; who goes through a million leaves the processor to others now and then.
    pub(super) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut next = NOBODY_LEN as u32;
        let records = iter::from_fn(move || {
            let record = self.at(next)?;
            next += (HEADER_LEN + record.secret.len()) as u32;
            Some(record)
        });
        records.zip(1_u32..).map(|(record, number)| {
            if number.is_multiple_of(TURN_RECORDS) {
                thread::yield_now();
            }
            record
        })
    }

    fn at(&self, start: u32) -> Option<Record<'_>> {
        let records: Range<usize> = start as usize..self.len;
        let (header, rest) = self.pages.bytes().get(records)?.split_first_chunk::<HEADER_LEN>()?;
        let (number, name_len, password_len) = read(*header);
        let name = str::from_utf8(rest.get(..name_len)?).ok()?;
        Some(Record { start, number, name, secret: rest.get(..name_len + password_len)? })
    }

    /// Whether the record that begins there is of this name. It takes a time that tells only the length: the
    /// system's comparison of memory would end in a branch.
    fn compare(&self, start: u32, name: &str) -> Found<'_> {
        let record = self.pages.bytes().get(start as usize..).unwrap_or_default();
        let (header, rest) = record.split_first_chunk::<HEADER_LEN>().unwrap_or((&[0; HEADER_LEN], &[]));
        let (number, name_len, password_len) = read(*header);
        let difference = iter::zip(rest, name.as_bytes()).fold(0, |all, (one, other)| all | (one ^ other));
        let is_theirs = !start.ct_eq(&0) & name_len.ct_eq(&name.len()) & difference.ct_eq(&0);
        let password = rest.get(name_len..name_len + password_len).unwrap_or_default();
        Found { is_theirs, start, number, password }
    }
}

/// The number, and the lengths of name and password.
fn read([a, b, c, d, name_len, password_len]: [u8; HEADER_LEN]) -> (u32, usize, usize) {
    (u32::from_ne_bytes([a, b, c, d]), name_len.into(), password_len.into())
}

/// Memory of zeros, in the largest pages that the system has: a look-up among millions of users goes anywhere, and
/// with small pages most of its time would be spent on finding these. It is in no core file, and wiped in the end.
struct Pages(MmapMut);

impl Pages {
    fn new(len: usize) -> io::Result<Self> {
        let pages = MmapMut::map_anon(len.max(1))?;
        advise(&pages);
        Ok(Self(pages))
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(target_os = "linux")]
fn advise(pages: &MmapMut) {
    for advice in [memmap2::Advice::HugePage, memmap2::Advice::DontDump] {
        // A kernel that does not take advice serves all the same.
        let _ = pages.advise(advice);
    }
}

/// Other systems have neither piece of advice.
#[cfg(not(target_os = "linux"))]
fn advise(_: &MmapMut) {}

impl Drop for Pages {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Wipes passwords, a piece at a time, in between leaving the processor to others.
pub fn wipe(bytes: &mut [u8]) {
    for piece in bytes.chunks_mut(WIPED_LEN) {
        piece.zeroize();
        thread::yield_now();
    }
}

/// Bytes that are wiped at a time.
const WIPED_LEN: usize = 64 << 10;

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
            let found = store.find(name.as_str());
            assert!(bool::from(found.is_theirs), "{name}");
            assert_eq!(found.password, format!("of {name}").as_bytes());
        }
        assert!(["user1000", ""].iter().all(|name| !bool::from(store.find(name).is_theirs)));
        assert!(store.iter().map(|record| record.name).eq(names.iter().map(Username::as_str)));
        assert_eq!(store.count(), names.len());
    }

    /// Nine users in ten are not in the line where the search for them begins, and some are beyond the last.
    #[test]
    fn everybody_is_found_among_lines_that_are_full() {
        for count in [8, 15, 16, 80] {
            let mut records = Records::for_text(100_000).unwrap();
            let names: Vec<Username> =
                (0..count).map(|number| format!("user{number}").parse().unwrap()).collect();
            for name in &names {
                records.add(name, &Password::new(&format!("of {name}")).unwrap()).unwrap();
            }
            let store = Store::with_lines(records, count / LINE_SLOTS + 1).unwrap();
            for name in &names {
                let found = store.find(name.as_str());
                assert!(bool::from(found.is_theirs), "{name} of {count}");
                assert_eq!(found.password, format!("of {name}").as_bytes());
            }
            assert!((0..1000).all(|number| !bool::from(store.find(&format!("nobody{number}")).is_theirs)));
        }
    }

    #[test]
    fn a_search_for_nobody_ends_with_somebody_elses_record() {
        let mut records = Records::for_text(100_000).unwrap();
        for number in 0..1000 {
            let name: Username = format!("user{number}").parse().unwrap();
            records.add(&name, &Password::new("password").unwrap()).unwrap();
        }
        let store = Store::new(records).unwrap();
        for number in 0..10_000 {
            let found = store.find(&format!("nobody{number}"));
            assert_eq!((found.is_theirs.unwrap_u8(), found.password), (0, &b"password"[..]), "{number}");
        }
    }

    #[test]
    fn among_no_users_nobody_is_found() {
        let store = Store::new(Records::for_text(0).unwrap()).unwrap();
        assert!(
            ["userone", ""].iter().all(|name| !bool::from(store.find(name).is_theirs))
                && store.iter().next().is_none()
        );
    }

    #[test]
    fn a_user_for_whom_there_is_no_room_is_not_added() {
        let mut records = Records::for_text(10).unwrap();
        let mut add = |name: &str| records.add(&name.parse().unwrap(), &Password::new("123").unwrap());
        assert_eq!([add("abc"), add("d"), add("de")], [Some(NOBODY_LEN as u32), None, None]);
        assert_eq!(records.iter().count(), 1);
    }
}

//! Names and passwords of up to millions of users: records in one piece of memory, and a hash index by name.
//!
//! ```text
//! | number: 4 | lengths of the rest: 4 | name | password | password before it | stretching and record of OPAQUE |
//! | half of the hash of a name: 4 | offset of its record: 4 |                        a slot of the index; 0 if free
//! ```
//!
//! A user takes their name, their password or 200 bytes for a record, and 40 bytes. A search touches two cache lines,
//! however many users there are, and one wipe is enough for all passwords.

mod pages;
mod records;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;

use pages::Pages;
pub use pages::wipe;
pub(super) use records::{Credential, Lookup, Record, Records};

/// The names and passwords of all users.
pub(super) struct Store {
    records: Records,
    index: Pages,
    hasher: RandomState,
}

const SLOT_LEN: usize = 8;
/// Slots of a bucket, which is one cache line.
const BUCKET_SLOTS: usize = 8;
type Bucket = [[u8; SLOT_LEN]; BUCKET_SLOTS];
/// Bytes of a record that are prefetched: most records are no longer.
const RECORD_PREFETCH_LEN: usize = 64;

/// Why an index of names cannot be made.
#[derive(Debug)]
pub enum IndexError {
    /// The system has no memory for it.
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
    /// Indexes records by name.
    ///
    /// # Errors
    /// [`IndexError::Twice`] for a name that occurs twice, [`IndexError::NoMemory`] if the system has none left.
    pub(super) fn new(records: Records, hasher: RandomState) -> Result<Self, IndexError> {
        // At two names a bucket, one bucket in a thousand is full.
        let buckets = records.count() / 2 + 1;
        Self::with_buckets(records, buckets, hasher)
    }

    fn with_buckets(records: Records, buckets: usize, hasher: RandomState) -> Result<Self, IndexError> {
        let index = Pages::new(buckets.saturating_mul(BUCKET_SLOTS * SLOT_LEN))?;
        let mut store = Self { records, index, hasher };
        store.fill_index()?;
        Ok(store)
    }

    fn fill_index(&mut self) -> Result<(), IndexError> {
        let buckets = self.buckets().len();
        let (slots, _) = self.index.bytes_mut().as_chunks_mut::<SLOT_LEN>();
        for record in self.records.iter() {
            let hash = self.hasher.hash_one(record.name);
            for number in
                probe(hash, buckets).flat_map(|bucket| bucket * BUCKET_SLOTS..(bucket + 1) * BUCKET_SLOTS)
            {
                let Some(slot) = slots.get_mut(number) else { continue };
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
        // An empty bucket gets the record of any user, so that a search in it takes the same steps as in others.
        let (buckets, _) = slots.as_chunks_mut::<BUCKET_SLOTS>();
        for (bucket, record) in buckets.iter_mut().zip(self.records.iter()) {
            if bucket[0] == [0; SLOT_LEN] {
                bucket[0] = u64::from(record.start).to_ne_bytes();
            }
        }
        Ok(())
    }

    /// How names are hashed. Another store with a copy of it takes the same hashes.
    pub(super) fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    pub(super) fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    /// Looks for a user by the hash of the name. A search for an unknown name takes the same steps, and ends with the
    /// record of another user, just as far away in memory and of a similar length, so that timing cannot tell the two
    /// apart.
    pub(super) fn find(&self, hash: u64, name: &str) -> Lookup<'_> {
        for bucket in probe(hash, self.buckets().len()).filter_map(|number| self.buckets().get(number)) {
            let mut candidates = Candidates::new(bucket, tag(hash));
            loop {
                let found = self.records.compare(candidates.first(bucket), name);
                // Two names seldom have the same tag, and buckets are seldom full.
                let has_more = candidates.drop_first();
                let is_end = !(has_more | candidates.is_bucket_full);
                if bool::from(found.has_name) | is_end {
                    return found;
                }
                if !has_more {
                    break;
                }
            }
        }
        self.records.compare(0, name)
    }

    /// A byte of the slots where the search for a name begins, which brings them into the cache.
    pub(super) fn touch_slots(&self, hash: u64) -> u8 {
        self.bucket(hash).map_or(0, |bucket| bucket[0][0])
    }

    /// The offset of the record with which the search for a name begins.
    pub(super) fn first(&self, hash: u64) -> u32 {
        self.bucket(hash).map_or(0, |bucket| Candidates::new(bucket, tag(hash)).first(bucket))
    }

    /// A byte of both ends of the record at this offset, which brings it into the cache.
    pub(super) fn touch_record(&self, start: u32) -> u8 {
        let start = start as usize;
        let record = self.records.bytes().get(start..start + RECORD_PREFETCH_LEN).unwrap_or_default();
        record.first().zip(record.last()).map_or(0, |(first, last)| first ^ last)
    }

    /// The bucket where the search for a name begins.
    fn bucket(&self, hash: u64) -> Option<&Bucket> {
        self.buckets().get(first_bucket(hash, self.buckets().len()))
    }

    fn buckets(&self) -> &[Bucket] {
        let (slots, _) = self.index.bytes().as_chunks();
        slots.as_chunks().0
    }

    /// The record of this name, if there is one, be it of a user who is removed. The time tells that.
    pub(super) fn record(&self, name: &str) -> Option<Record<'_>> {
        let found = self.find(self.hash(name), name);
        if found.has_name.into() { self.at(found.start) } else { None }
    }

    /// The record at this offset.
    pub(super) fn at(&self, start: u32) -> Option<Record<'_>> {
        self.records.at(start)
    }

    pub(super) fn count(&self) -> usize {
        self.records.count()
    }

    /// All users, in the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.records.iter()
    }
}

/// The slots of a bucket that have the tag of a name; if there are none, any slot that is taken. All slots are looked
/// at, so the time does not tell whether one has the tag, and which.
struct Candidates {
    /// A bit for each slot.
    slots: u8,
    /// Whether the search goes on in the next bucket, if it has not ended in this one.
    is_bucket_full: bool,
}

impl Candidates {
    fn new(bucket: &Bucket, tag: u32) -> Self {
        let (mut slots, mut taken) = (0, 0);
        for (number, slot) in bucket.iter().enumerate() {
            let slot = u64::from_ne_bytes(*slot);
            taken += u64::from(slot != 0);
            slots |= u8::from((slot != 0) & ((slot >> 32) as u32 == tag)) << number;
        }
        slots |= u8::from(slots == 0) << scaled(tag, taken);
        Self { slots, is_bucket_full: taken == BUCKET_SLOTS as u64 }
    }

    /// The offset of the record of the first candidate.
    fn first(&self, bucket: &Bucket) -> u32 {
        bucket.get(self.slots.trailing_zeros() as usize).map_or(0, |slot| u64::from_ne_bytes(*slot) as u32)
    }

    /// Goes on to the next candidate, and says whether there is one.
    fn drop_first(&mut self) -> bool {
        self.slots &= self.slots.wrapping_sub(1);
        self.slots != 0
    }
}

/// Maps half of a hash to a number below `end`.
fn scaled(hash: u32, end: u64) -> u64 {
    (u64::from(hash) * end) >> 32
}

/// The bucket of a name, unless that is full. It is chosen by the half of the hash that is not the tag.
fn first_bucket(hash: u64, buckets: usize) -> usize {
    scaled(hash as u32, buckets as u64) as usize
}

/// The buckets in which a name may be, in the order to search.
fn probe(hash: u64, buckets: usize) -> impl Iterator<Item = usize> {
    let first = first_bucket(hash, buckets);
    (first..buckets).chain(0..first)
}

/// The half of a name's hash that its slot holds: it tells most names apart without a look at their records.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

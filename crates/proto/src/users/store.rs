//! Names and passwords of up to millions of users: records in one piece of memory, and a hash index by name.
//!
//! ```text
//! | number: 4 | lengths of the rest: 4 | name | password | password before it | stretching and record of OPAQUE |
//! | halves of the hashes of eight names: 32 | offsets of their records: 32; 0 if free |   a bucket of the index
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
use std::{io, iter};

use pages::Pages;
pub use pages::wipe;
pub(super) use records::{Credential, Lookup, Record, Records};

/// The names and passwords of all users.
pub(super) struct Store {
    records: Records,
    index: Pages,
    hasher: RandomState,
}

/// Slots of a bucket, which is one cache line.
const BUCKET_SLOTS: usize = 8;
/// The tags of all slots, and then the offsets, so that eight are compared at once.
type Bucket = [[[u8; 4]; BUCKET_SLOTS]; 2];
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
        let index = Pages::new(buckets.saturating_mul(size_of::<Bucket>()))?;
        let mut store = Self { records, index, hasher };
        store.fill_index()?;
        Ok(store)
    }

    fn fill_index(&mut self) -> Result<(), IndexError> {
        let Self { records, index, hasher } = self;
        let (halves, _) = index.bytes_mut().as_chunks_mut::<4>();
        let buckets: &mut [Bucket] = halves.as_chunks_mut().0.as_chunks_mut().0;
        for record in records.iter() {
            let hash = hasher.hash_one(record.name);
            'probe: for number in probe(hash, buckets.len()) {
                let Some([tags, starts]) = buckets.get_mut(number) else { continue };
                for (slot_tag, start) in iter::zip(tags, starts) {
                    let taken = u32::from_ne_bytes(*start);
                    if taken == 0 {
                        (*slot_tag, *start) = (tag(hash).to_ne_bytes(), record.start.to_ne_bytes());
                        break 'probe;
                    }
                    let is_alike = *slot_tag == tag(hash).to_ne_bytes();
                    if is_alike && records.at(taken).is_some_and(|other| other.name == record.name) {
                        return Err(IndexError::Twice);
                    }
                }
            }
        }
        // An empty bucket gets the record of any user, so that a search in it takes the same steps as in others.
        for ([_, starts], record) in buckets.iter_mut().zip(records.iter()) {
            if starts[0] == [0; 4] {
                starts[0] = record.start.to_ne_bytes();
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
                if bool::from(found.has_name()) | is_end {
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
        self.bucket(hash).map_or(0, |[tags, _]| tags[0][0])
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
        let (halves, _) = self.index.bytes().as_chunks::<4>();
        halves.as_chunks().0.as_chunks().0
    }

    /// The record of this name, if there is one, be it of a user who is removed. The time tells that.
    pub(super) fn record(&self, name: &str) -> Option<Record<'_>> {
        let found = self.find(self.hash(name), name);
        if found.has_name().into() { self.at(found.start) } else { None }
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
    slots: u32,
    /// Whether the search goes on in the next bucket, if it has not ended in this one.
    is_bucket_full: bool,
}

impl Candidates {
    fn new([tags, starts]: &Bucket, tag: u32) -> Self {
        let (mut slots, mut taken) = (0, 0);
        for (number, (slot_tag, start)) in iter::zip(tags, starts).enumerate() {
            let is_taken = u32::from(u32::from_ne_bytes(*start) != 0);
            let is_alike = u32::from(u32::from_ne_bytes(*slot_tag) == tag);
            taken += is_taken;
            slots |= (is_taken & is_alike) << number;
        }
        slots |= u32::from(slots == 0) << scaled(tag, taken.into());
        Self { slots, is_bucket_full: taken == BUCKET_SLOTS as u32 }
    }

    /// The offset of the record of the first candidate.
    fn first(&self, [_, starts]: &Bucket) -> u32 {
        starts.get(self.slots.trailing_zeros() as usize).map_or(0, |start| u32::from_ne_bytes(*start))
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

//! Tells which names an overlay has, in so little memory that it stays in a processor's caches: two bytes of the hash
//! of each name, in lines that are half full.

use std::io;

use subtle::Choice;

use super::pages::{LARGE_PAGE, Pages};

/// The names of an overlay, by their hashes.
pub(in crate::users) struct Filter {
    pages: Pages,
    lines: usize,
}

/// One cache line. A place is 0 if it is free.
type Line = [[u8; 2]; PLACES];

const PLACES: usize = 32;
/// Filters from this size on get a page as large as the system has: in small ones, most look-ups miss the TLB.
const LARGE_FROM: usize = 32 << 10;

impl Filter {
    /// # Errors
    /// The system's, for lack of memory.
    pub(in crate::users) fn new(hashes: impl Iterator<Item = u64>, count: usize) -> io::Result<Self> {
        let lines = count.div_ceil(PLACES / 2);
        let len = lines * size_of::<Line>();
        let len = if len < LARGE_FROM { len } else { len.next_multiple_of(LARGE_PAGE) };
        let mut filter = Self { pages: Pages::new(len)?, lines };
        for hash in hashes {
            let number = filter.number(hash);
            let (places, _) = filter.pages.bytes_mut().as_chunks_mut();
            let (all, _) = places.as_chunks_mut::<PLACES>();
            let free = all.get_mut(number).and_then(|line| line.iter_mut().find(|it| **it == [0; 2]));
            // A line without room is taken to have all names.
            if let Some(place) = free {
                *place = print(hash).to_ne_bytes();
            }
        }
        Ok(filter)
    }

    /// Whether the overlay has the name of this hash. Of a thousand other names it says the same of one or none. The
    /// time does not tell.
    pub(in crate::users) fn may_have(&self, hash: u64) -> Choice {
        let Some(line @ [.., last]) = self.line(hash) else { return Choice::from(0) };
        let print = print(hash);
        let is_alike = |place: &[u8; 2]| u16::from(u16::from_ne_bytes(*place) == print);
        let any = line.iter().fold(0, |any, place| any | is_alike(place));
        // Places are taken in order.
        Choice::from(any as u8 | u8::from(*last != [0; 2]))
    }

    /// A byte of the line of this hash, which brings it into the cache.
    pub(in crate::users) fn touch(&self, hash: u64) -> u8 {
        self.line(hash).map_or(0, |line| line[0][0])
    }

    fn line(&self, hash: u64) -> Option<&Line> {
        let (places, _) = self.pages.bytes().as_chunks();
        places.as_chunks().0.get(self.number(hash))
    }

    fn number(&self, hash: u64) -> usize {
        ((u64::from(hash as u32) * self.lines as u64) >> 32) as usize
    }
}

/// The bits that do not choose the line.
fn print(hash: u64) -> u16 {
    (hash >> 48) as u16 | 1
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn all_names_of_an_overlay_pass_and_hardly_any_others() {
        let hasher = RandomState::new();
        for count in [0, 1, 16, 17, 1000, 65_536] {
            let hashes = || (0..count).map(|number| hasher.hash_one(number));
            let filter = Filter::new(hashes(), count).unwrap();
            assert!(hashes().all(|hash| filter.may_have(hash).into()), "{count}");
            let others = (count..count + 100_000).map(|number| hasher.hash_one(number));
            let passed = others.filter(|hash| filter.may_have(*hash).into()).count();
            assert!(passed < 300, "{passed} of 100,000 beside {count}");
        }
    }

    #[test]
    fn a_line_without_room_passes_all_names() {
        let filter = Filter::new((0..100).map(|number| number << 48), 1).unwrap();
        assert!(bool::from(filter.may_have(200 << 48)));
    }
}

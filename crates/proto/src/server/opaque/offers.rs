//! The most recent offers of a worker, so that the same BEGIN gets the same OFFER, and is computed once.

use crate::opaque::wire::OFFER_LEN;

/// Offers that are remembered: those of a fifth of a second, if a worker does nothing else.
const CAPACITY: usize = 1024;

/// A ring of the last offers, each under a keyed hash of its BEGIN and the sender.
pub(crate) struct Offers {
    /// 0 where none is yet.
    begins: Box<[u64]>,
    offers: Box<[[u8; OFFER_LEN]]>,
    next: usize,
}

impl Offers {
    /// The size in bytes.
    pub(crate) const BYTES: usize = CAPACITY * (size_of::<u64>() + OFFER_LEN);

    pub(crate) fn new() -> Self {
        Self {
            begins: bytemuck::zeroed_slice_box(CAPACITY),
            offers: vec![[0; OFFER_LEN]; CAPACITY].into(),
            next: 0,
        }
    }

    /// The offer that was made to this BEGIN.
    pub(crate) fn of(&self, begin: u64) -> Option<&[u8; OFFER_LEN]> {
        let index = self.begins.iter().position(|it| *it == begin)?;
        self.offers.get(index)
    }

    /// Remembers an offer in place of the oldest.
    pub(crate) fn note(&mut self, begin: u64, offer: &[u8]) {
        if let (Some(key), Some(slot), Some(offer)) =
            (self.begins.get_mut(self.next), self.offers.get_mut(self.next), offer.first_chunk())
        {
            (*key, *slot) = (begin, *offer);
            self.next = (self.next + 1) % CAPACITY;
        }
    }
}

//! The most recent offers of a worker, so that the same BEGIN gets the same OFFER, and is computed once.

use std::time::Duration;

use crate::opaque::wire::OFFER_LEN;

/// Offers that are remembered: those of a fifth of a second, if a worker does nothing else.
const CAPACITY: usize = 1024;
/// An offer is made again for this long, half of the time in which it can be finished.
const LIFE: Duration = Duration::from_secs(16);

/// A ring of the last offers, each under a keyed hash of its BEGIN and the sender.
pub(crate) struct Offers {
    /// 0 where none is yet; and the second of the server's clock in which it was made.
    begins: Box<[(u64, u64)]>,
    offers: Box<[[u8; OFFER_LEN]]>,
    next: usize,
}

impl Offers {
    /// The size in bytes.
    pub(crate) const BYTES: usize = CAPACITY * (size_of::<(u64, u64)>() + OFFER_LEN);

    pub(crate) fn new() -> Self {
        Self { begins: vec![(0, 0); CAPACITY].into(), offers: vec![[0; OFFER_LEN]; CAPACITY].into(), next: 0 }
    }

    /// The offer that was made to this BEGIN, if there is time left to finish it.
    pub(crate) fn of(&self, begin: u64, uptime: Duration) -> Option<&[u8; OFFER_LEN]> {
        let is_fresh = |made_s: u64| uptime.as_secs().saturating_sub(made_s) <= LIFE.as_secs();
        let index = self.begins.iter().position(|(it, made_s)| *it == begin && is_fresh(*made_s))?;
        self.offers.get(index)
    }

    /// Remembers an offer in place of the oldest.
    pub(crate) fn note(&mut self, begin: u64, offer: &[u8], uptime: Duration) {
        if let (Some(key), Some(slot), Some(offer)) =
            (self.begins.get_mut(self.next), self.offers.get_mut(self.next), offer.first_chunk())
        {
            (*key, *slot) = ((begin, uptime.as_secs()), *offer);
            self.next = (self.next + 1) % CAPACITY;
        }
    }
}

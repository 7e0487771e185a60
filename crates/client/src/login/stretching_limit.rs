//! How many passwords are stretched at once.

use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A limit on how many passwords are stretched at once by all logins that share it. Each takes a processor, and up to
/// 256 MiB. Clones are the same limit.
#[derive(Clone, Debug)]
pub struct StretchingLimit {
    slots: Arc<Slots>,
}

#[derive(Debug)]
struct Slots {
    free: Mutex<usize>,
    freed: Condvar,
}

/// The right to stretch a password, until it is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
}

impl StretchingLimit {
    /// As many at once as this.
    #[must_use]
    pub fn new(at_once: NonZero<usize>) -> Self {
        let (free, freed) = (Mutex::new(at_once.get()), Condvar::new());
        Self { slots: Arc::new(Slots { free, freed }) }
    }

    /// Waits for a slot. `None` if there is none in this time.
    pub(super) fn take_within(&self, time: Duration) -> Option<Slot> {
        let deadline = Instant::now().checked_add(time)?;
        let mut free = self.slots.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            let left = deadline.checked_duration_since(Instant::now())?;
            (free, _) = self.slots.freed.wait_timeout(free, left).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Some(Slot { slots: self.slots.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.slots.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.slots.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_slots_are_taken_at_once_than_there_are() {
        let limit = StretchingLimit::new(NonZero::new(2).unwrap());
        let take = || limit.clone().take_within(Duration::ZERO);
        let (first, second) = (take(), take());
        assert!(first.is_some() && second.is_some() && take().is_none());
        drop(first);
        assert!(take().is_some());
    }
}

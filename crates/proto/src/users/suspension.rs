//! Whether nobody may log in at all, since nobody knows any more whether the users are still users.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A switch for all users, which snapshots share. While it is on, no answer for a user is looked at, and each is
/// refused after the same steps as one for an unknown name.
#[derive(Clone, Debug, Default)]
pub struct Suspension {
    is_on: Arc<AtomicBool>,
}

impl Suspension {
    /// Suspends all users, or lets them log in again, from the next answer on.
    pub fn set(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Whether all users are suspended.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }
}

//! How old the users are, where another program keeps them up to date.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// When that program has last found that the users that are served are as they should be.
pub(crate) struct Confirmation {
    /// In seconds since 1970-01-01 UTC; the largest number where no program does that.
    unix_s: AtomicU64,
}

const NOBODY: u64 = u64::MAX;

impl Default for Confirmation {
    fn default() -> Self {
        Self { unix_s: NOBODY.into() }
    }
}

impl Confirmation {
    pub(crate) fn note(&self, unix_s: Option<u64>) {
        self.unix_s.store(unix_s.unwrap_or(NOBODY), Ordering::Relaxed);
    }

    /// How long ago that was; `None` where no program does that.
    pub(crate) fn age(&self, now_unix_s: u64) -> Option<Duration> {
        let unix_s = self.unix_s.load(Ordering::Relaxed);
        (unix_s != NOBODY).then(|| Duration::from_secs(now_unix_s.saturating_sub(unix_s)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_that_nobody_keeps_have_no_age_and_others_are_never_from_the_future() {
        let confirmation = Confirmation::default();
        assert_eq!(confirmation.age(1000), None);
        confirmation.note(Some(990));
        assert_eq!([1000, 980].map(|now| confirmation.age(now).unwrap().as_secs()), [10, 0]);
        // Never confirmed is as old as can be.
        confirmation.note(Some(0));
        assert_eq!(confirmation.age(1000).unwrap().as_secs(), 1000);
        confirmation.note(None);
        assert_eq!(confirmation.age(1000), None);
    }
}

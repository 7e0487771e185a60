//! A limit on lines a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The lines that are left in this second, and the count of those left out.
pub(super) struct Budget {
    per_second: u32,
    second: u64,
    spent: u32,
    pub(super) left_out: Arc<AtomicU64>,
}

impl Budget {
    pub(super) fn of(per_second: u32) -> Self {
        Self { per_second, second: 0, spent: 0, left_out: Arc::default() }
    }

    /// Starts a new second if it is time. Then it returns the lines that were left out, and counts from zero again.
    pub(super) fn settle(&mut self, uptime: Duration) -> u64 {
        if uptime.as_secs() == self.second {
            return 0;
        }
        (self.second, self.spent) = (uptime.as_secs(), 0);
        self.left_out.swap(0, Ordering::Relaxed)
    }

    pub(super) fn admits_one(&mut self) -> bool {
        let admits = self.spent < self.per_second;
        if admits {
            self.spent += 1;
        } else {
            self.leave_out(1);
        }
        admits
    }

    pub(super) fn leave_out(&self, lines: u64) {
        self.left_out.fetch_add(lines, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_flood_are_counted_until_their_second_is_over() {
        let mut budget = Budget::of(1000);
        assert_eq!(budget.settle(Duration::from_millis(7500)), 0);
        assert_eq!((0..1005).filter(|_| budget.admits_one()).count(), 1000);
        assert_eq!(budget.settle(Duration::from_millis(7999)), 0);
        assert!(!budget.admits_one());
        assert_eq!(budget.settle(Duration::from_secs(8)), 6);
        assert!(budget.admits_one());
    }
}

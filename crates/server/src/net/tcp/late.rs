//! Connections whose next reply takes long.

use std::collections::VecDeque;
use std::time::Duration;

use proto::server::penalty::Rank;

/// Connections that wait to be polled for a reply that takes long. One is polled in each round, and never does the
/// worker spend more than half of its time on them while others are ready.
#[derive(Default)]
pub(super) struct LateQueue {
    known: VecDeque<usize>,
    strangers: VecDeque<usize>,
    /// The time that other connections are still owed for the last one.
    owed: Duration,
}

impl LateQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.strangers.is_empty()
    }

    pub(super) fn push(&mut self, key: usize, rank: Rank) {
        match rank {
            Rank::Known => self.known.push_back(key),
            Rank::Stranger => self.strangers.push_back(key),
        }
    }

    /// Forgets a connection that was closed, since another may get its key.
    pub(super) fn remove(&mut self, key: usize) {
        for queue in [&mut self.known, &mut self.strangers] {
            queue.retain(|other| *other != key);
        }
    }

    /// The connection that is next, unless the others are still owed time. They had `passed` of it in this round.
    pub(super) fn next(&mut self, passed: Duration) -> Option<usize> {
        self.owed = self.owed.saturating_sub(passed);
        if !self.owed.is_zero() {
            return None;
        }
        self.known.pop_front().or_else(|| self.strangers.pop_front())
    }

    /// Owes the others the time that the last one took.
    pub(super) fn took(&mut self, time: Duration) {
        self.owed = time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn known_sources_come_first_and_closed_connections_never() {
        let mut queue = LateQueue::default();
        for (key, rank) in [(1, Rank::Stranger), (2, Rank::Known), (3, Rank::Stranger), (4, Rank::Known)] {
            queue.push(key, rank);
        }
        queue.remove(4);
        assert_eq!([(); 4].map(|()| queue.next(MS)), [Some(2), Some(1), Some(3), None]);
        assert!(queue.is_empty());
    }

    #[test]
    fn others_have_at_least_as_much_time() {
        let mut queue = LateQueue::default();
        (0..2).for_each(|key| queue.push(key, Rank::Stranger));
        assert_eq!(queue.next(Duration::ZERO), Some(0));
        queue.took(3 * MS);
        assert_eq!([(); 3].map(|()| queue.next(MS)), [None, None, Some(1)]);
    }
}

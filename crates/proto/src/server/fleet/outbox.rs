//! What waits to be told to other nodes, in places that are there from the start.
//!
//! Workers put it here. A failure that meets another thread here is left out, and then counts at this node alone; a
//! login waits for no longer than it takes to copy a few of them.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::short_name::ShortName;

/// The most failures that wait. More count at this node alone.
const FAILURES: usize = 1024;
/// Buckets of logins. All logins of a user wait in the same one, so that no user keeps those of many others away.
const BUCKETS: usize = 512;
/// The most logins in a bucket. Another one takes the place of the oldest.
const WAYS: usize = 8;

/// A source, as its hashes are made.
pub(crate) type SourceOctets = [u8; 17];

/// A failure that waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Failure {
    pub(crate) name: ShortName,
    /// The N, if it counts N-fold until all nodes know of it, or else 0.
    pub(crate) nodes: u16,
}

/// A source from which a user has logged in.
#[derive(Clone, Copy)]
pub(crate) struct Login {
    pub(crate) name: ShortName,
    pub(crate) source: SourceOctets,
}

pub(crate) struct Outbox(Mutex<Queues>);

struct Queues {
    failures: Vec<Failure>,
    logins: Box<[Bucket]>,
    waiting_logins: usize,
    /// The bucket from which logins are taken next.
    next: usize,
}

#[derive(Clone, Default)]
struct Bucket {
    logins: [Option<Login>; WAYS],
    /// The place of the oldest, or a free one.
    next: usize,
}

impl Outbox {
    /// The size in bytes, with the failures that are being told.
    pub(crate) const BYTES: usize = 2 * FAILURES * size_of::<Failure>() + BUCKETS * size_of::<Bucket>();

    pub(crate) fn new() -> Self {
        let (failures, logins) = (Self::room(), vec![Bucket::default(); BUCKETS].into());
        Self(Mutex::new(Queues { failures, logins, waiting_logins: 0, next: 0 }))
    }

    /// Room for as many failures as may wait.
    pub(crate) fn room() -> Vec<Failure> {
        Vec::with_capacity(FAILURES)
    }

    /// Notes a failure, if there is room and no other thread is here. Whether it was.
    pub(crate) fn failed(&self, failure: Failure) -> bool {
        self.0.try_lock().is_ok_and(|mut queues| {
            let has_room = queues.failures.len() < FAILURES;
            if has_room {
                queues.failures.push(failure);
            }
            has_room
        })
    }

    /// Notes a login. The hash is that of the name.
    pub(crate) fn logged_in(&self, hash: u64, login: Login) {
        let mut queues = self.queues();
        let Some(bucket) = queues.logins.get_mut(hash as usize % BUCKETS) else { return };
        let mut is_new = 0;
        if let Some(slot) = bucket.logins.get_mut(bucket.next % WAYS) {
            is_new = usize::from(slot.is_none());
            *slot = Some(login);
        }
        bucket.next += 1;
        queues.waiting_logins += is_new;
    }

    /// Takes all failures, and leaves empty room for others.
    pub(crate) fn take_failures(&self, room: Vec<Failure>) -> Vec<Failure> {
        mem::replace(&mut self.queues().failures, room)
    }

    /// Forgets all failures.
    pub(crate) fn forget_failures(&self) {
        self.queues().failures.clear();
    }

    /// Moves logins to the end of a list, bucket after bucket, as long as it has room for those of another.
    pub(crate) fn take_logins(&self, logins: &mut Vec<Login>, max: usize) {
        let mut queues = self.queues();
        for _ in 0..BUCKETS {
            if queues.waiting_logins == 0 || logins.len() + WAYS > max {
                return;
            }
            let index = queues.next % BUCKETS;
            queues.next = index + 1;
            let before = logins.len();
            if let Some(bucket) = queues.logins.get_mut(index) {
                logins.extend(bucket.logins.iter_mut().filter_map(Option::take));
            }
            queues.waiting_logins -= logins.len() - before;
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(name: &str, number: u8) -> Login {
        Login { name: ShortName::new(name), source: [number; 17] }
    }

    #[test]
    fn a_user_who_logs_in_from_everywhere_keeps_nobody_elses_login_from_being_told() {
        let outbox = Outbox::new();
        outbox.logged_in(1, login("alice", 1));
        for number in 0..100_000_u32 {
            outbox.logged_in(2, login("mallory", number as u8));
        }
        let mut taken = Vec::new();
        outbox.take_logins(&mut taken, 128);
        assert_eq!(taken.iter().filter(|login| login.name.as_str() == "alice").count(), 1);
        assert_eq!(taken.len(), 1 + WAYS);
        outbox.take_logins(&mut taken, 128);
        assert_eq!(taken.len(), 1 + WAYS);
    }

    #[test]
    fn logins_are_taken_in_pieces_until_none_wait() {
        let outbox = Outbox::new();
        (0..1000).for_each(|number| outbox.logged_in(number, login("alice", 1)));
        let mut all = 0;
        for _ in 0..9 {
            let mut taken = Vec::new();
            outbox.take_logins(&mut taken, 128);
            assert!(taken.len() <= 128);
            all += taken.len();
        }
        assert_eq!(all, 1000);
    }

    #[test]
    fn failures_for_which_there_is_no_room_are_left_out() {
        let outbox = Outbox::new();
        let failure = Failure { name: ShortName::new("alice"), nodes: 2 };
        assert_eq!((0..2 * FAILURES).filter(|_| outbox.failed(failure)).count(), FAILURES);
        assert_eq!(outbox.take_failures(Outbox::room()).len(), FAILURES);
        assert!(outbox.failed(failure));
        outbox.forget_failures();
        assert!(outbox.take_failures(Outbox::room()).is_empty());
    }
}

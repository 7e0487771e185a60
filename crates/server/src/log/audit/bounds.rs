//! The bounds on audit lines: a class of decisions uses up no lines of another.
//!
//! Within a class no source uses up the lines of all others, nor does an IPv6 home or site; among welcomes, no user
//! does. Workers share tables of fixed size, with a lock for each class: a line is counted for all its parties in one
//! step, or two workers could both take the last one. Refusals take the same steps for every reason, so that their time
//! does not tell the reason.

use std::iter;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use siphasher::sip::SipHasher24;

use super::QUEUE_LEN;
use super::line::{Decision, DecisionKind, LINE_MAX};
use proto::origin::Origin;
use proto::server::event::Reason;
use proto::server::recent::Sighting;

/// Lines a second for failures of proven addresses. 300 sources can use them up, even without penalties, by sending the
/// same answer again.
const FAILURES_PER_SECOND: u32 = 500;
/// Lines a second for each of the other classes that need no account.
const OTHERS_PER_SECOND: u32 = 100;
/// Lines a minute for a source in each of these classes, ten times its budget of failures.
pub(crate) const SOURCE_PER_MINUTE: u32 = 100;
/// Lines a minute for the first welcomes of a user, whose browser may log in with each request.
pub(crate) const USER_PER_MINUTE: u32 = 1000;

/// Lines a second for all classes that need no account.
pub(crate) const PER_SECOND: u32 = FAILURES_PER_SECOND + 4 * OTHERS_PER_SECOND;
/// Bytes a minute of these lines, with one line a second about missing lines.
pub(crate) const BYTES_PER_MINUTE: usize = 60 * (PER_SECOND as usize + 1) * LINE_MAX;

/// The bounds of all classes.
pub(super) struct Bounds {
    keyed: SipHasher24,
    /// First welcomes of logins.
    welcomes: ClassBound,
    /// Failures of proven addresses.
    failures: ClassBound,
    /// Failures of addresses that anybody may have forged.
    unproven: ClassBound,
    /// Right passwords of users who may not log in.
    denials: ClassBound,
    /// Repeated welcomes.
    repeats: ClassBound,
    penalized: ClassBound,
}

impl Bounds {
    pub(crate) const BYTES: usize = 6 * SLOTS * size_of::<Spent>();

    /// The key must be random, so that nobody can choose whose slot they share.
    pub(super) fn new(key: &[u8; 16]) -> Self {
        Self {
            keyed: SipHasher24::new_with_key(key),
            // An attacker with many accounts must leave room in the queue for failures.
            welcomes: ClassBound::new(None, USER_PER_MINUTE, QUEUE_LEN / 8 * 7),
            failures: ClassBound::new(Some(FAILURES_PER_SECOND), SOURCE_PER_MINUTE, QUEUE_LEN),
            unproven: ClassBound::new(Some(OTHERS_PER_SECOND), SOURCE_PER_MINUTE, QUEUE_LEN / 2),
            denials: ClassBound::new(Some(OTHERS_PER_SECOND), SOURCE_PER_MINUTE, QUEUE_LEN),
            repeats: ClassBound::new(Some(OTHERS_PER_SECOND), SOURCE_PER_MINUTE, QUEUE_LEN / 2),
            penalized: ClassBound::new(Some(OTHERS_PER_SECOND), SOURCE_PER_MINUTE, QUEUE_LEN / 2),
        }
    }

    /// The length of the queue up to which this decision may enter it, or `None` if its bound is reached.
    pub(super) fn admit(&self, uptime: Duration, decision: &Decision) -> Option<usize> {
        let bound = match decision.verdict {
            DecisionKind::Welcome(Sighting::First, _) => &self.welcomes,
            DecisionKind::Welcome(Sighting::Repeat, _) => &self.repeats,
            DecisionKind::Refused(Reason::Denied(_), _) => &self.denials,
            DecisionKind::Refused(
                Reason::UnknownUser
                | Reason::WrongPassword
                | Reason::TriedTooOften
                | Reason::Suspended
                | Reason::NotAdmitted(_),
                origin,
            ) => match origin {
                Origin::Proven => &self.failures,
                Origin::Unproven => &self.unproven,
            },
            DecisionKind::Penalized(_) => &self.penalized,
        };
        let second = uptime.as_secs();
        let admits = match decision.verdict {
            DecisionKind::Welcome(Sighting::First, _) => {
                bound.admits(second, || iter::once((self.keyed.hash(decision.name_bytes()), 1)))
            }
            DecisionKind::Welcome(Sighting::Repeat, _)
            | DecisionKind::Refused(..)
            | DecisionKind::Penalized(_) => {
                let networks = || decision.peer.source().networks();
                bound
                    .admits(second, || networks().map(|(it, shares)| (self.keyed.hash(&it.octets()), shares)))
            }
        };
        admits.then_some(bound.queue_max)
    }
}

/// Slots of a table: 128 KiB, at 8 bytes each.
const SLOTS: usize = 16_384;

/// The bound of a class.
struct ClassBound {
    /// `None` for welcomes, since each account has a bound of its own.
    per_second: Option<u32>,
    /// The lines of one user or source.
    per_minute: u32,
    queue_max: usize,
    spent: Mutex<Table>,
}

/// The lines that a class has used.
struct Table {
    total: Spent,
    slots: Box<[Spent]>,
}

impl ClassBound {
    fn new(per_second: Option<u32>, per_minute: u32, queue_max: usize) -> Self {
        let table = Table { total: Spent::default(), slots: vec![Spent::default(); SLOTS].into() };
        Self { per_second, per_minute, queue_max, spent: Mutex::new(table) }
    }

    /// Takes a line from each of the parties if all have one left. The parties are a user, or a source with the
    /// networks around it and their shares. Only lines that are written count, or a crowd that gets few lines would
    /// fill the table.
    fn admits<P: Iterator<Item = (u64, u32)>>(&self, second: u64, parties: impl Fn() -> P) -> bool {
        let minute = second / 60;
        // After a panic a count may be one too high.
        let Table { total, slots: table } = &mut *self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let has_line = |(party, shares): (u64, u32)| {
            let mut spent = slots(party).filter_map(|slot| table.get(slot));
            spent.any(|spent| spent.next(minute, shares * self.per_minute).is_some())
        };
        let admits = parties().all(has_line) && self.per_second.is_none_or(|max| total.take(second, max));
        if admits {
            for (party, shares) in parties() {
                for slot in slots(party) {
                    table.get_mut(slot).map(|spent| spent.take(minute, shares * self.per_minute));
                }
            }
        }
        admits
    }
}

/// The two slots of a party. Two busy parties hardly ever share both.
fn slots(party: u64) -> impl Iterator<Item = usize> {
    let halves = [party as u32, (party >> u32::BITS) as u32];
    halves.into_iter().map(|half| half as usize % SLOTS)
}

/// A second or a minute, and the lines used in it.
#[derive(Clone, Copy, Default)]
struct Spent {
    time: u32,
    lines: u32,
}

impl Spent {
    /// Takes a line if this second or minute has one left, and returns whether it had.
    fn take(&mut self, time: u64, max: u32) -> bool {
        let next = self.next(time, max);
        *self = next.unwrap_or(*self);
        next.is_some()
    }

    fn next(self, time: u64, max: u32) -> Option<Self> {
        let time = time as u32;
        if self.time < time {
            return Some(Self { time, lines: 1 });
        }
        (self.lines < max).then_some(Self { lines: self.lines + 1, ..self })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::net::address::SocketKind;
    use proto::Now;
    use proto::server::event::{Event, Refusal};
    use proto::server::penalty::Penalty;
    use proto::users::{Denial, PasswordAge};

    fn bounds() -> Bounds {
        Bounds::new(&[1; 16])
    }

    fn decision(source: u32, event: &Event<'_>) -> Decision {
        let peer = SocketAddr::from((IpAddr::from(source.to_be_bytes()), 5000)).into();
        Decision::of(Now::new(Duration::ZERO, 0), SocketKind::Udp, peer, None, event).unwrap()
    }

    fn welcome(user: &str, sighting: Sighting) -> Decision {
        decision(0, &welcomed(user, sighting))
    }

    fn welcomed(user: &str, sighting: Sighting) -> Event<'_> {
        Event::Welcomed { user, sighting, password: PasswordAge::Present }
    }

    fn refused(source: u32, reason: Reason, origin: Origin) -> Decision {
        decision(source, &Event::Refused(Refusal { name: "alice", reason, origin }))
    }

    /// The number of these decisions that get a line, all in a second that no others have used.
    fn admitted(bounds: &Bounds, second: u64, decisions: impl Iterator<Item = Decision>) -> u32 {
        let uptime = Duration::from_secs(second);
        decisions.filter(|decision| bounds.admit(uptime, decision).is_some()).count() as u32
    }

    /// A decision about a source.
    type Flood = fn(u32) -> Decision;

    /// One of each class that needs no account, and the lines of that class.
    fn floods() -> [(Flood, u32); 5] {
        [
            (|source| refused(source, Reason::WrongPassword, Origin::Proven), FAILURES_PER_SECOND),
            (|source| refused(source, Reason::UnknownUser, Origin::Unproven), OTHERS_PER_SECOND),
            (|source| refused(source, Reason::Denied(Denial::Disabled), Origin::Proven), OTHERS_PER_SECOND),
            (|source| decision(source, &welcomed("alice", Sighting::Repeat)), OTHERS_PER_SECOND),
            (
                |source| decision(source, &Event::Penalized { penalty: Penalty::Source, user: None }),
                OTHERS_PER_SECOND,
            ),
        ]
    }

    #[test]
    fn a_class_has_its_lines_each_second_whatever_floods_the_others() {
        let bounds = bounds();
        for second in 1..=120 {
            let lines = floods().map(|(flood, _)| admitted(&bounds, second, (0..1000).map(flood)));
            assert_eq!(lines, floods().map(|(_, lines)| lines), "{second}");
            assert_eq!(lines.iter().sum::<u32>(), PER_SECOND);
        }
    }

    #[test]
    fn without_a_password_nobody_takes_the_lines_of_right_ones() {
        let bounds = bounds();
        let lines = |reason| {
            let refusals = (0..1000).map(|source| refused(source, reason, Origin::Proven));
            admitted(&bounds, 60, refusals)
        };
        assert_eq!(lines(Reason::NotAdmitted(Denial::Disabled)), FAILURES_PER_SECOND);
        assert_eq!(lines(Reason::Denied(Denial::Disabled)), OTHERS_PER_SECOND);
    }

    #[test]
    fn a_source_takes_no_more_than_its_share_of_a_class() {
        let bounds = bounds();
        for (flood, lines) in floods() {
            let (second, culprit) = (60, 1_000_000);
            assert_eq!(admitted(&bounds, second, (0..10_000).map(|_| flood(culprit))), SOURCE_PER_MINUTE);
            assert_eq!(admitted(&bounds, second + 1, (0..10_000).map(|_| flood(culprit))), 0);
            assert_eq!(admitted(&bounds, second + 1, (0..1000).map(flood)), lines);
        }
    }

    #[test]
    fn users_have_their_welcomes_beside_ten_that_log_in_all_the_time() {
        let bounds = bounds();
        let welcomes = |users: &'static str, count: u32, each: u32| {
            let all = (0..count * each)
                .map(move |number| welcome(&format!("{users}{}", number % count), Sighting::First));
            admitted(&bounds, 60, all)
        };
        assert_eq!(welcomes("busy", 10, 20_000), 10 * USER_PER_MINUTE);
        assert_eq!(welcomes("honest", 10_000, 1), 10_000);
    }

    #[test]
    fn failures_find_room_in_a_queue_that_the_others_have_filled() {
        let bounds = bounds();
        let room = |decision| bounds.admit(Duration::ZERO, &decision).unwrap();
        let [failure, unproven, denial, repeat, penalized] = floods().map(|(flood, _)| room(flood(1)));
        assert_eq!((failure, denial), (QUEUE_LEN, QUEUE_LEN));
        assert!([unproven, repeat, penalized].iter().all(|room| *room <= QUEUE_LEN / 2));
        let first = room(welcome("alice", Sighting::First));
        assert!(first < QUEUE_LEN && first > QUEUE_LEN / 2);
    }

    #[test]
    fn workers_at_a_time_take_no_line_too_many() {
        let bounds = bounds();
        for minute in 0..50 {
            let start = Barrier::new(4);
            let take = || {
                start.wait();
                admitted(&bounds, 60 * minute, (0..500).map(|_| welcome("alice", Sighting::First)))
            };
            let lines: u32 = thread::scope(|scope| {
                let workers = [(); 4].map(|()| scope.spawn(take));
                workers.map(|worker| worker.join().unwrap()).iter().sum()
            });
            assert_eq!(lines, USER_PER_MINUTE);
        }
    }
}

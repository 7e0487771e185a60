//! The numbers of each worker, written by it and by the thread that makes its late replies; any thread may read them.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto::server::event::{Event, Reason, Refusal};
use proto::server::penalty::Penalty;
use proto::server::recent::Sighting;
use proto::users::Denial;

/// A number that grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often a quantity fell into each bucket.
pub(crate) struct Histogram<const BOUNDS: usize> {
    /// For each bound, the values up to it and above the bound before.
    pub(crate) counts: [Counter; BOUNDS],
    pub(crate) beyond: Counter,
    pub(crate) sum: Counter,
}

impl<const BOUNDS: usize> Default for Histogram<BOUNDS> {
    fn default() -> Self {
        Self {
            counts: array::from_fn(|_| Counter::default()),
            beyond: Counter::default(),
            sum: Counter::default(),
        }
    }
}

impl<const BOUNDS: usize> Histogram<BOUNDS> {
    fn note(&self, bounds: &[u64; BOUNDS], value: u64) {
        let bucket = bounds.partition_point(|bound| *bound < value);
        self.counts.get(bucket).unwrap_or(&self.beyond).add(1);
        self.sum.add(value);
    }
}

/// Datagrams of a batch.
pub(crate) const BATCH_BOUNDS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Microseconds from the start of a connection to its verdict, most of which the network and the client take.
pub(crate) const LOGIN_BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000, 10_000_000];

/// The outcome of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageOutcome {
    Challenged,
    Rechallenged,
    Welcomed,
    /// A copy of an answer that was welcomed before.
    WelcomedAgain,
    UnknownUser,
    WrongPassword,
    Disabled,
    Expired,
    NotFromHere,
    /// Of a user, while all of them were suspended.
    Suspended,
    SourcePenalized,
    UserPenalized,
    Malformed,
    /// OPAQUE: an offer was sent.
    Offered,
    /// OPAQUE: a login began, and waits for its offer.
    Waiting,
    /// OPAQUE: a login could not wait for its offer.
    Crowded,
}

impl MessageOutcome {
    pub(crate) const ALL: [Self; 16] = [
        Self::Challenged,
        Self::Rechallenged,
        Self::Welcomed,
        Self::WelcomedAgain,
        Self::UnknownUser,
        Self::WrongPassword,
        Self::Disabled,
        Self::Expired,
        Self::NotFromHere,
        Self::Suspended,
        Self::SourcePenalized,
        Self::UserPenalized,
        Self::Malformed,
        Self::Offered,
        Self::Waiting,
        Self::Crowded,
    ];

    /// The refusals, with the names of their reasons.
    pub(crate) const REFUSALS: [(&'static str, Self); 6] = [
        ("unknown_user", Self::UnknownUser),
        ("wrong_password", Self::WrongPassword),
        ("disabled", Self::Disabled),
        ("expired", Self::Expired),
        ("not_from_here", Self::NotFromHere),
        ("suspended", Self::Suspended),
    ];

    fn of(event: &Event<'_>) -> Self {
        match event {
            Event::Challenged => Self::Challenged,
            Event::Rechallenged => Self::Rechallenged,
            Event::Welcomed { sighting: Sighting::First, .. } => Self::Welcomed,
            Event::Welcomed { sighting: Sighting::Repeat, .. } => Self::WelcomedAgain,
            Event::Refused(Refusal { reason, .. }) => match reason {
                Reason::UnknownUser => Self::UnknownUser,
                Reason::WrongPassword | Reason::TriedTooOften => Self::WrongPassword,
                Reason::NotAdmitted(denial) | Reason::Denied(denial) => match denial {
                    Denial::Disabled => Self::Disabled,
                    Denial::Expired => Self::Expired,
                    Denial::NotFromHere => Self::NotFromHere,
                    Denial::OldPassword => Self::WrongPassword,
                },
                Reason::Suspended => Self::Suspended,
            },
            Event::Penalized { penalty, .. } => match penalty {
                Penalty::Source | Penalty::GuessesOfSource => Self::SourcePenalized,
                Penalty::User | Penalty::GuessesOfUser => Self::UserPenalized,
            },
            Event::Malformed(_) => Self::Malformed,
            Event::Offered => Self::Offered,
            Event::Waiting { .. } => Self::Waiting,
            Event::Crowded => Self::Crowded,
        }
    }
}

/// The counters of one worker, in cache lines that no other worker writes.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    outcomes: [Counter; MessageOutcome::ALL.len()],
    /// First welcomes by OPAQUE, which are among all of them.
    pub(crate) welcomed_by_opaque: Counter,
    /// Iterations of the worker's loop. A worker without one for long is stuck.
    pub(crate) iterations: Counter,
    /// UDP: datagrams that came at a time.
    pub(crate) batches: Histogram<{ BATCH_BOUNDS.len() }>,
    /// TCP: microseconds to a verdict.
    pub(crate) logins_us: Histogram<{ LOGIN_BOUNDS_US.len() }>,
    /// TCP: connections that were accepted.
    pub(crate) accepted: Counter,
    /// TCP: connections that were closed at once, at a cap or for a penalty.
    pub(crate) turned_away: Counter,
    /// TCP: connections that were accepted, and then failed, timed out or ended within a message.
    pub(crate) lost: Counter,
    /// UDP: replies that the system did not send.
    pub(crate) unsent: Counter,
}

impl Counters {
    pub(crate) fn event(&self, event: &Event<'_>) {
        if let Some(counter) = self.outcomes.get(MessageOutcome::of(event) as usize) {
            counter.add(1);
        }
    }

    pub(crate) fn outcome(&self, outcome: MessageOutcome) -> u64 {
        self.outcomes.get(outcome as usize).map_or(0, Counter::get)
    }

    pub(crate) fn batch(&self, datagrams: usize) {
        self.batches.note(&BATCH_BOUNDS, datagrams as u64);
    }

    pub(crate) fn login_took(&self, time: Duration) {
        self.logins_us.note(&LOGIN_BOUNDS_US, time.as_micros() as u64);
    }
}

/// The verdicts of all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts {
    pub(crate) welcomed: u64,
    pub(crate) refused: u64,
}

impl Verdicts {
    pub(crate) fn of(counters: &[Arc<Counters>]) -> Self {
        let refused = MessageOutcome::REFUSALS.iter().map(|(_, refusal)| total(counters, *refusal)).sum();
        Self { welcomed: total(counters, MessageOutcome::Welcomed), refused }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { welcomed: self.welcomed - before.welcomed, refused: self.refused - before.refused }
    }
}

/// The messages of all workers together that had an outcome.
pub(crate) fn total(counters: &[Arc<Counters>], outcome: MessageOutcome) -> u64 {
    counters.iter().map(|counters| counters.outcome(outcome)).sum()
}

/// Whether workers are stuck, as regular checks have found. An idle worker's loop makes ten iterations a second.
#[derive(Debug, Default)]
pub(crate) struct StallWatch {
    /// For each worker, its iterations at the last check, and the checks in a row that have found no new one.
    seen: Vec<(u64, u32)>,
}

impl StallWatch {
    pub(crate) fn check(&mut self, counters: &[Arc<Counters>]) {
        self.seen.resize(counters.len(), (0, 0));
        for ((before, stall), counters) in self.seen.iter_mut().zip(counters) {
            let iterations = counters.iterations.get();
            *stall = if iterations == *before { *stall + 1 } else { 0 };
            *before = iterations;
        }
    }

    /// Checks in a row that have found no iteration of the worker that has stalled longest.
    pub(crate) fn longest_stall(&self) -> u32 {
        self.seen.iter().map(|(_, stall)| *stall).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_counter_of_its_own() {
        for (index, outcome) in MessageOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
    }

    #[test]
    fn a_value_is_counted_in_the_bucket_of_the_lowest_bound_that_it_does_not_exceed() {
        let counters = Counters::default();
        for datagrams in [1, 2, 3, 4, 64, 65] {
            counters.batch(datagrams);
        }
        let Histogram { counts, beyond, sum } = &counters.batches;
        assert_eq!(counts.each_ref().map(Counter::get), [1, 1, 2, 0, 0, 0, 1]);
        assert_eq!((beyond.get(), sum.get()), (1, 139));
    }

    #[test]
    fn one_stuck_worker_is_noticed_until_it_goes_on() {
        let (counters, mut progress) =
            ([Arc::new(Counters::default()), Arc::default()], StallWatch::default());
        let [first, second] = &counters;
        let mut after = |moved: &[&Arc<Counters>]| {
            moved.iter().for_each(|counters| counters.iterations.add(1));
            progress.check(&counters);
            progress.longest_stall()
        };
        assert_eq!(after(&[]), 1, "nothing is known of them yet");
        assert_eq!(after(&[first, second]), 0);
        assert_eq!(after(&[first]), 1);
        assert_eq!(after(&[first]), 2);
        assert_eq!(after(&[second]), 1);
        assert_eq!(after(&[second, first]), 0);
    }
}

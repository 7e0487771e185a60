//! What a worker has done, in numbers: written by that worker alone, read by whoever asks.

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
    /// To be called by one thread alone, which so needs no locked instruction.
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often a quantity was at most so much.
pub(crate) struct Histogram<const BOUNDS: usize> {
    /// For each bound, how often it was the first that was not exceeded.
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
        let place = bounds.partition_point(|bound| *bound < value);
        self.counts.get(place).unwrap_or(&self.beyond).add(1);
        self.sum.add(value);
    }
}

/// Datagrams of a batch.
pub(crate) const BATCH_BOUNDS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Microseconds from the beginning of a connection to its verdict, most of which are the network's and the client's.
pub(crate) const LOGIN_BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000, 10_000_000];

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Challenged,
    Rechallenged,
    Welcomed,
    /// As said before.
    WelcomedAgain,
    UnknownUser,
    WrongPassword,
    Disabled,
    Expired,
    NotFromHere,
    SourceSilenced,
    UserSilenced,
    Malformed,
}

impl Outcome {
    pub(crate) const ALL: [Self; 12] = [
        Self::Challenged,
        Self::Rechallenged,
        Self::Welcomed,
        Self::WelcomedAgain,
        Self::UnknownUser,
        Self::WrongPassword,
        Self::Disabled,
        Self::Expired,
        Self::NotFromHere,
        Self::SourceSilenced,
        Self::UserSilenced,
        Self::Malformed,
    ];

    /// Those that are refusals, by their reason.
    pub(crate) const REFUSALS: [(&'static str, Self); 5] = [
        ("unknown_user", Self::UnknownUser),
        ("wrong_password", Self::WrongPassword),
        ("disabled", Self::Disabled),
        ("expired", Self::Expired),
        ("not_from_here", Self::NotFromHere),
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
                Reason::Denied(Denial::Disabled) => Self::Disabled,
                Reason::Denied(Denial::Expired) => Self::Expired,
                Reason::Denied(Denial::NotFromHere) => Self::NotFromHere,
            },
            Event::Penalized { penalty: Penalty::Source, .. } => Self::SourceSilenced,
            Event::Penalized { penalty: Penalty::User, .. } => Self::UserSilenced,
            Event::Malformed(_) => Self::Malformed,
        }
    }
}

/// The numbers of one worker, in cache lines that no other writes.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    outcomes: [Counter; Outcome::ALL.len()],
    /// Turns of the worker's loop: one that makes none for long is stuck.
    pub(crate) turns: Counter,
    /// UDP: datagrams that came at a time.
    pub(crate) batches: Histogram<{ BATCH_BOUNDS.len() }>,
    /// TCP: microseconds to a verdict.
    pub(crate) logins_us: Histogram<{ LOGIN_BOUNDS_US.len() }>,
    /// TCP: connections that were let in.
    pub(crate) accepted: Counter,
    /// TCP: connections that were not, for want of a place or for a penalty.
    pub(crate) turned_away: Counter,
    /// TCP: connections that were let in, and came to an untimely end.
    pub(crate) lost: Counter,
    /// UDP: replies that the system would not send.
    pub(crate) unsent: Counter,
}

impl Tally {
    pub(crate) fn event(&self, event: &Event<'_>) {
        if let Some(counter) = self.outcomes.get(Outcome::of(event) as usize) {
            counter.add(1);
        }
    }

    pub(crate) fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome as usize).map_or(0, Counter::get)
    }

    pub(crate) fn batch(&self, datagrams: usize) {
        self.batches.note(&BATCH_BOUNDS, datagrams as u64);
    }

    pub(crate) fn login_took(&self, time: Duration) {
        self.logins_us.note(&LOGIN_BOUNDS_US, time.as_micros() as u64);
    }
}

/// What came of logins, in all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts {
    pub(crate) welcomed: u64,
    pub(crate) refused: u64,
}

impl Verdicts {
    pub(crate) fn of(tallies: &[Arc<Tally>]) -> Self {
        let refused = Outcome::REFUSALS.iter().map(|(_, refusal)| total(tallies, *refusal)).sum();
        Self { welcomed: total(tallies, Outcome::Welcomed), refused }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { welcomed: self.welcomed - before.welcomed, refused: self.refused - before.refused }
    }
}

/// How often something came of a message, in all workers together.
pub(crate) fn total(tallies: &[Arc<Tally>], outcome: Outcome) -> u64 {
    tallies.iter().map(|tally| tally.outcome(outcome)).sum()
}

/// Whether workers go on, as seen by somebody who looks by and by. Idle ones make ten turns a second.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// The turns of each at the last look, and for how many looks it has made none.
    seen: Vec<(u64, u32)>,
}

impl Turns {
    pub(crate) fn look(&mut self, tallies: &[Arc<Tally>]) {
        self.seen.resize(tallies.len(), (0, 0));
        for ((before, rest), tally) in self.seen.iter_mut().zip(tallies) {
            let turns = tally.turns.get();
            *rest = if turns == *before { *rest + 1 } else { 0 };
            *before = turns;
        }
    }

    /// For how many looks the one that has rested longest has made no turn.
    pub(crate) fn longest_rest(&self) -> u32 {
        self.seen.iter().map(|(_, rest)| *rest).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_counter_of_its_own() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }

    #[test]
    fn a_quantity_is_counted_at_the_first_bound_that_it_does_not_exceed() {
        let tally = Tally::default();
        for datagrams in [1, 2, 3, 4, 64, 65] {
            tally.batch(datagrams);
        }
        let Histogram { counts, beyond, sum } = &tally.batches;
        assert_eq!(counts.each_ref().map(Counter::get), [1, 1, 2, 0, 0, 0, 1]);
        assert_eq!((beyond.get(), sum.get()), (1, 139));
    }

    #[test]
    fn one_worker_that_makes_no_turn_is_enough_to_be_noticed_until_it_makes_one() {
        let (tallies, mut turns) = ([Arc::new(Tally::default()), Arc::default()], Turns::default());
        let [first, second] = &tallies;
        let mut after = |moved: &[&Arc<Tally>]| {
            moved.iter().for_each(|tally| tally.turns.add(1));
            turns.look(&tallies);
            turns.longest_rest()
        };
        assert_eq!(after(&[]), 1, "nothing is known of them yet");
        assert_eq!(after(&[first, second]), 0);
        assert_eq!(after(&[first]), 1);
        assert_eq!(after(&[first]), 2);
        assert_eq!(after(&[second]), 1);
        assert_eq!(after(&[second, first]), 0);
    }
}

//! The tables behind penalties: of fixed size, shared by all workers without a lock.
//!
//! A failure is a debt of time, and all debts shrink at the pace of the clock. Where a bucket is full, a newcomer takes
//! the slot of the smallest debt and inherits that debt (Space-Saving: Metwally, Agrawal and El Abbadi, "Efficient
//! Computation of Frequent and Top-k Elements in Data Streams", 2005). So a table may charge too much, but not too
//! little: an evicted owner who comes back owes at least as much as without the eviction, or is blocked at the next
//! failure.

mod debt;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytemuck::zeroed_slice_box;

use super::{Budget, Fill, Part};
use debt::{Debt, MEMORY, Rate, TICKS_PER_S, ticks, time};

/// Slots of a bucket, which is one cache line. A hash may take any of them.
const WAYS: usize = 8;
const BUCKETS: usize = 4096;
pub(super) const SLOTS: usize = BUCKETS * WAYS;
/// The size of a table in bytes.
pub(super) const BYTES: usize = BUCKETS * (size_of::<[AtomicU64; WAYS]>() + size_of::<[Traces; WAYS]>());

/// Identifies a failure: half of the hash of its name, and half of a hash of everything that tells it from other
/// failures of that name. Zero marks a free place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) fn new(name: u64, rest: u64) -> Self {
        Self(name << u32::BITS | rest & u64::from(u32::MAX) | 1)
    }

    fn is_of(self, name: u64) -> bool {
        self.0 != 0 && self.0 >> u32::BITS == name & u64::from(u32::MAX)
    }
}

/// How a failure was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// It was counted. If it began a block, this is the uptime at which that ends.
    Now(Option<Duration>),
    /// It was not: it was counted before, or its owner is blocked already.
    Before,
}

impl Counted {
    pub(super) fn block(self) -> Option<Duration> {
        match self {
            Self::Now(end) => end,
            Self::Before => None,
        }
    }
}

/// Whether a guess may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reserved {
    /// It may, and was debited.
    Now,
    /// It may, and was debited before.
    Before,
    /// It would exceed the budget, and nothing was debited.
    Spent,
}

/// What came of a failure or guess in its slot.
enum Charged {
    /// It was added, and this is the debt with it.
    Now(Debt),
    /// It was added before.
    Before,
    /// The debt does not admit another.
    Refused,
}

/// The last two failures of a slot.
type Traces = [AtomicU64; 2];

/// Debts by keyed hash. While no debts are kept, which is the usual case, no hash is computed and no slot looked at.
pub(super) struct DebtTable {
    budget: Budget,
    debts: Box<[[AtomicU64; WAYS]]>,
    traces: Box<[[Traces; WAYS]]>,
    /// The uptime in seconds at which the last block ends.
    blocked_until_s: AtomicU32,
    /// The uptime in seconds at which the last debt is forgotten.
    kept_until_s: AtomicU32,
}

impl DebtTable {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            budget,
            debts: zeroed_slice_box(BUCKETS),
            traces: zeroed_slice_box(BUCKETS),
            blocked_until_s: 0.into(),
            kept_until_s: 0.into(),
        }
    }

    fn rate(&self, part: Part) -> Rate {
        Rate::new(part.of(self.budget.count.into()), self.budget.window)
    }

    /// Whether the owner of `hash`, with this part of the budget, is blocked.
    pub(super) fn is_blocked(&self, uptime: Duration, part: Part, hash: impl FnOnce() -> u64) -> bool {
        if !self.any_blocked(uptime) {
            return false;
        }
        let (rate, hash) = (self.rate(part), hash());
        self.bucket(hash).any(|(slot, _)| {
            let debt = Debt::unpack(slot.load(Ordering::Relaxed));
            debt.is_of(hash) && self.is_in_force(uptime, rate, debt)
        })
    }

    /// Whether a debt blocks its owner. Where failures cost less than they did, by the debt alone it would do so for
    /// longer than was noted.
    fn is_in_force(&self, uptime: Duration, rate: Rate, debt: Debt) -> bool {
        self.any_blocked(uptime) && debt.is_blocked(ticks(uptime), rate)
    }

    /// Whether any block is in force.
    pub(super) fn any_blocked(&self, uptime: Duration) -> bool {
        !is_over(&self.blocked_until_s, uptime)
    }

    /// Whether no debt is kept.
    pub(super) fn is_empty(&self, uptime: Duration) -> bool {
        is_over(&self.kept_until_s, uptime)
    }

    /// Whether nothing is owed any more.
    pub(super) fn owes_nothing(&self, uptime: Duration) -> bool {
        is_over(&self.kept_until_s, uptime + MEMORY)
    }

    /// Counts a failure, unless it repeats one of the last two of its slot.
    pub(super) fn fail(&self, uptime: Duration, part: Part, hash: u64, trace: Trace) -> Counted {
        let (now, rate) = (ticks(uptime), self.rate(part));
        let after =
            |debt: Debt| (!self.is_in_force(uptime, rate, debt)).then(|| debt.after_failure(now, rate));
        match self.charge(now, rate, hash, Some(trace), after) {
            Charged::Now(debt) => Counted::Now(self.block(now, rate, debt)),
            Charged::Before | Charged::Refused => Counted::Before,
        }
    }

    /// Counts failures that another node has looked at. If they began a block, gives the uptime at which it ends.
    pub(super) fn fail_elsewhere(
        &self,
        uptime: Duration,
        part: Part,
        hash: u64,
        failures: u8,
    ) -> Option<Duration> {
        let (now, rate) = (ticks(uptime), self.rate(part));
        let mut was_blocked = false;
        let charged = self.charge(now, rate, hash, None, |debt| {
            was_blocked = self.is_in_force(uptime, rate, debt);
            let mut is_blocked = was_blocked;
            let after = |debt: Debt, _| {
                // Those that were looked at before that node knew of the block make it longer by their cost alone.
                let after =
                    if is_blocked { debt.after_debit(now, rate) } else { debt.after_failure(now, rate) };
                is_blocked = after.is_blocked(now, rate);
                after
            };
            Some((0..failures).fold(debt, after))
        });
        match charged {
            Charged::Now(debt) => self.block(now, rate, debt).filter(|_| !was_blocked),
            Charged::Before | Charged::Refused => None,
        }
    }

    /// Notes the block of a debt, if it is one, and gives the uptime at which that ends.
    fn block(&self, now: u64, rate: Rate, debt: Debt) -> Option<Duration> {
        debt.is_blocked(now, rate).then(|| {
            let end = debt.block_ends_at(rate);
            self.blocked_until_s.fetch_max(seconds(end), Ordering::Relaxed);
            time(end)
        })
    }

    /// Adds a failure to a debt that blocks nobody.
    pub(super) fn debit(&self, uptime: Duration, part: Part, hash: u64) {
        let (now, rate) = (ticks(uptime), self.rate(part));
        self.charge(now, rate, hash, None, |debt| Some(debt.after_debit(now, rate)));
    }

    /// What the owner of a hash owes, in ticks.
    pub(super) fn owed(&self, uptime: Duration, hash: u64) -> u64 {
        let debts = self.bucket(hash).map(|(slot, _)| Debt::unpack(slot.load(Ordering::Relaxed)));
        let of_owner = debts.filter(|debt| debt.is_of(hash)).map(|debt| debt.paid_at);
        of_owner.max().unwrap_or(0).saturating_sub(ticks(uptime))
    }

    /// The largest debt without a block, in ticks.
    pub(super) fn limit(&self, part: Part) -> u64 {
        self.rate(part).limit
    }

    /// Debits a guess before it is made, unless it repeats one of the last two of its slot, or would exceed the budget.
    /// No block begins: whoever goes on guessing waits no longer.
    pub(super) fn reserve(&self, uptime: Duration, part: Part, hash: u64, trace: Trace) -> Reserved {
        let (now, rate) = (ticks(uptime), self.rate(part));
        match self.charge(now, rate, hash, Some(trace), |debt| debt.after_guess(now, rate)) {
            Charged::Now(_) => Reserved::Now,
            Charged::Before => Reserved::Before,
            Charged::Refused => Reserved::Spent,
        }
    }

    /// Replaces the debt of a hash by the one that follows, if one does, and notes its cause, if that has a trace.
    fn charge(
        &self,
        now: u64,
        rate: Rate,
        hash: u64,
        trace: Option<Trace>,
        mut after: impl FnMut(Debt) -> Option<Debt>,
    ) -> Charged {
        // Of workers that count at the same moment one succeeds, so the loop ends.
        loop {
            let Some((slot, traces)) = self.slot(hash) else { return Charged::Refused };
            let word = slot.load(Ordering::Relaxed);
            let old = Debt::unpack(word);
            let is_known = old.is_of(hash);
            let last = if is_known { traces.each_ref().map(|it| it.load(Ordering::Relaxed)) } else { [0; 2] };
            if trace.is_some_and(|trace| last.contains(&trace.0)) {
                return Charged::Before;
            }
            let debt = if is_known { old } else { old.inherited_by(hash, now, rate) };
            let Some(debt) = after(debt) else { return Charged::Refused };
            if slot.compare_exchange(word, debt.pack(), Ordering::Relaxed, Ordering::Relaxed).is_err() {
                continue;
            }
            let noted = trace.map_or(last, |trace| [trace.0, last[0]]);
            if trace.is_some() || !is_known {
                for (slot, trace) in traces.iter().zip(noted) {
                    slot.store(trace, Ordering::Relaxed);
                }
            }
            self.kept_until_s.fetch_max(seconds(debt.paid_at + ticks(MEMORY)), Ordering::Relaxed);
            return Charged::Now(debt);
        }
    }

    /// Takes back one failure of a name, if it is one of the last two of its slot.
    pub(super) fn forgive(&self, uptime: Duration, part: Part, hash: u64, name: u64) {
        self.refund(uptime, part, hash, |traces| {
            let of_name = |trace: &&AtomicU64| Trace(trace.load(Ordering::Relaxed)).is_of(name);
            // Of workers that take back the same failure, one succeeds.
            traces.iter().find(of_name).is_some_and(|trace| trace.swap(0, Ordering::Relaxed) != 0)
        });
    }

    /// Takes back one guess that was made.
    pub(super) fn give_back(&self, uptime: Duration, part: Part, hash: u64) {
        self.refund(uptime, part, hash, |_| true);
    }

    /// Takes back a guess that is not made after all. If it comes again, it is debited again.
    pub(super) fn cancel(&self, uptime: Duration, part: Part, hash: u64, trace: Trace) {
        let forget =
            |it: &AtomicU64| it.compare_exchange(trace.0, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        self.refund(uptime, part, hash, |traces| traces.iter().any(forget));
    }

    /// Lowers the debt of a hash by one failure or guess, if it `is_due`.
    fn refund(&self, uptime: Duration, part: Part, hash: u64, is_due: impl Fn(&Traces) -> bool) {
        let rate = self.rate(part);
        for (slot, traces) in self.bucket(hash) {
            let word = slot.load(Ordering::Relaxed);
            let debt = Debt::unpack(word);
            if debt.is_of(hash) && is_due(traces) {
                let less = debt.after_refund(ticks(uptime), rate).pack();
                // If another worker counts at the same moment, this one is not taken back.
                let _ = slot.compare_exchange(word, less, Ordering::Relaxed, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Forgets all debts.
    pub(super) fn clear(&self) {
        for slot in self.debts.iter().flatten() {
            slot.store(0, Ordering::Relaxed);
        }
    }

    /// Counts slots in use and blocks. All slots are taken for owners of this part, so the block of another is taken to
    /// end sooner or later than it does, by less than the cost of a failure.
    pub(super) fn fill(&self, uptime: Duration, part: Part) -> Fill {
        let mut fill = Fill { capacity: SLOTS as u64, ..Fill::default() };
        if self.is_empty(uptime) {
            return fill;
        }
        let (now, rate) = (ticks(uptime), self.rate(part));
        for slot in self.debts.iter().flatten() {
            let debt = Debt::unpack(slot.load(Ordering::Relaxed));
            fill.used += u64::from(debt.is_kept(now));
            if debt.is_blocked(now, rate) {
                fill.blocked += 1;
                let began = time(debt.block_ends_at(rate).saturating_sub(debt.block_len()).min(now));
                fill.since = Some(fill.since.map_or(began, |since| since.min(began)));
            }
        }
        fill
    }

    /// The slot of a hash; if it has none, that of the smallest debt. Workers that count at the same moment may give a
    /// hash two slots: then the one with the larger debt is used.
    fn slot(&self, hash: u64) -> Option<(&AtomicU64, &Traces)> {
        self.bucket(hash).min_by_key(|(slot, _)| {
            let debt = Debt::unpack(slot.load(Ordering::Relaxed));
            if debt.is_of(hash) { (0, u64::MAX - debt.paid_at) } else { (1, debt.paid_at) }
        })
    }

    fn bucket(&self, hash: u64) -> impl Iterator<Item = (&AtomicU64, &Traces)> {
        let bucket = hash as usize % BUCKETS;
        self.debts.get(bucket).into_iter().flatten().zip(self.traces.get(bucket).into_iter().flatten())
    }
}

fn is_over(until_s: &AtomicU32, uptime: Duration) -> bool {
    uptime.as_secs() >= until_s.load(Ordering::Relaxed).into()
}

/// Rounds ticks up to seconds.
fn seconds(ticks: u64) -> u32 {
    u32::try_from(ticks.div_ceil(TICKS_PER_S)).unwrap_or(u32::MAX)
}

//! The tables behind penalties: of fixed size, shared by all workers without a lock.
//!
//! A failure is a debt of time, and all debts shrink at the same pace, that of the clock. Where a bucket is full, the
//! newcomer takes the slot of the smallest debt and inherits that debt (Space-Saving: Metwally, Agrawal and El Abbadi,
//! "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005). So a table may charge somebody too
//! much, and not too little: whoever was pushed out and comes back owes at least as much as they would owe by now, or
//! is blocked at the next failure.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytemuck::zeroed_slice_box;

use super::{Budget, FIRST_SILENCE, Fill, LONGEST_SILENCE, WINDOW_MAX};

/// Slots that one hash may have: a cache line of them.
const WAYS: usize = 8;
const BUCKETS: usize = 4096;
pub(super) const SLOTS: usize = BUCKETS * WAYS;
/// Bytes of a table.
pub(super) const BYTES: usize = BUCKETS * (size_of::<[AtomicU64; WAYS]>() + size_of::<[Traces; WAYS]>());

/// How long after a debt is paid its owner is remembered as somebody who was blocked before.
const MEMORY: Duration = WINDOW_MAX.saturating_mul(2);

/// The time in which debts are counted: fine enough for 255 failures a second. Costs are rounded down, so the widest
/// networks with the largest budgets have somewhat more.
const TICKS_PER_S: u64 = 256;

fn ticks(time: Duration) -> u64 {
    time.as_secs() * TICKS_PER_S + u64::from(time.subsec_nanos()) * TICKS_PER_S / 1_000_000_000
}

fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_S)
}

/// What a failure costs, and how much may be owed without a block; in ticks.
#[derive(Clone, Copy, Debug)]
struct Rate {
    cost: u64,
    limit: u64,
}

impl Rate {
    /// A budget `shares` times as large.
    fn new(budget: Budget, shares: u32) -> Self {
        let failures = u64::from(budget.failures) * u64::from(shares);
        let cost = (ticks(budget.window) / failures.max(1)).max(1);
        Self { cost, limit: cost * failures }
    }

    /// What is owed at the least when a block begins.
    fn blocked(self) -> u64 {
        self.limit + self.cost
    }

    /// What is owed at the most: more is not needed for the longest block.
    fn most(self) -> u64 {
        self.blocked().max(ticks(LONGEST_SILENCE))
    }
}

/// A failure: by its name, and by all that tells it from another one of that name. Zero is none.
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

/// What came of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// It is counted, and has begun a block that ends then, if any.
    Now(Option<Duration>),
    /// It was counted before, or its owner is blocked already.
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

/// The last two failures of a slot.
type Traces = [AtomicU64; 2];

/// Debts by keyed hash. Mostly nobody owes anything, and then no hash is made, and no slot looked at.
pub(super) struct Table {
    budget: Budget,
    debts: Box<[[AtomicU64; WAYS]]>,
    traces: Box<[[Traces; WAYS]]>,
    /// When the last block ends, in seconds.
    blocked_until_s: AtomicU32,
    /// When the last debt is forgotten.
    kept_until_s: AtomicU32,
}

impl Table {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            budget,
            debts: zeroed_slice_box(BUCKETS),
            traces: zeroed_slice_box(BUCKETS),
            blocked_until_s: 0.into(),
            kept_until_s: 0.into(),
        }
    }

    /// Whether `hash`, which has this many shares of the budget, is blocked.
    pub(super) fn is_blocked(&self, uptime: Duration, shares: u32, hash: impl FnOnce() -> u64) -> bool {
        if !self.any_blocked(uptime) {
            return false;
        }
        let (now, rate, hash) = (ticks(uptime), Rate::new(self.budget, shares), hash());
        self.bucket(hash).any(|(slot, _)| {
            let debt = Debt::unpack(slot.load(Ordering::Relaxed));
            debt.is_of(hash) && debt.is_blocked(now, rate)
        })
    }

    /// Whether anybody is blocked.
    pub(super) fn any_blocked(&self, uptime: Duration) -> bool {
        !is_over(&self.blocked_until_s, uptime)
    }

    /// Whether nobody owes anything.
    pub(super) fn is_empty(&self, uptime: Duration) -> bool {
        is_over(&self.kept_until_s, uptime)
    }

    /// Counts a failure, unless it is one of the last two again. Gives the end of a block that begins by it.
    pub(super) fn fail(&self, uptime: Duration, shares: u32, hash: u64, trace: Trace) -> Counted {
        let (now, rate) = (ticks(uptime), Rate::new(self.budget, shares));
        // Of workers that count at the same time one succeeds, so all do in the end.
        loop {
            let Some((slot, traces)) = self.slot(hash) else { return Counted::Before };
            let word = slot.load(Ordering::Relaxed);
            let old = Debt::unpack(word);
            let is_known = old.is_of(hash);
            let last = if is_known { traces.each_ref().map(|it| it.load(Ordering::Relaxed)) } else { [0; 2] };
            if last.contains(&trace.0) || (is_known && old.is_blocked(now, rate)) {
                return Counted::Before;
            }
            let debt =
                if is_known { old } else { old.inherited_by(hash, now, rate) }.after_failure(now, rate);
            if slot.compare_exchange(word, debt.pack(), Ordering::Relaxed, Ordering::Relaxed).is_err() {
                continue;
            }
            for (place, trace) in traces.iter().zip([trace.0, last[0]]) {
                place.store(trace, Ordering::Relaxed);
            }
            self.kept_until_s.fetch_max(seconds(debt.paid_at + ticks(MEMORY)), Ordering::Relaxed);
            if !debt.is_blocked(now, rate) {
                return Counted::Now(None);
            }
            let end = debt.block_ends_at(rate);
            self.blocked_until_s.fetch_max(seconds(end), Ordering::Relaxed);
            return Counted::Now(Some(time(end)));
        }
    }

    /// Takes one failure of a name back, if it is one of the last two.
    pub(super) fn forgive(&self, uptime: Duration, shares: u32, hash: u64, name: u64) {
        let rate = Rate::new(self.budget, shares);
        for (slot, traces) in self.bucket(hash) {
            let word = slot.load(Ordering::Relaxed);
            let debt = Debt::unpack(word);
            let of_name = |trace: &&AtomicU64| Trace(trace.load(Ordering::Relaxed)).is_of(name);
            if let (true, Some(trace)) = (debt.is_of(hash), traces.iter().find(of_name)) {
                // Of workers that take back the same failure one does.
                if trace.swap(0, Ordering::Relaxed) != 0 {
                    let paid_at = debt.paid_at.saturating_sub(rate.cost).max(debt.paid_at.min(ticks(uptime)));
                    let less = Debt { paid_at, ..debt };
                    // A failure at the same moment counts, and this one is not taken back.
                    let _ = slot.compare_exchange(word, less.pack(), Ordering::Relaxed, Ordering::Relaxed);
                }
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

    /// How full it is, and how many in it are blocked. It looks at all slots, and takes each for one with a single
    /// share: blocks of others end sooner by less than the cost of a failure.
    pub(super) fn fill(&self, uptime: Duration) -> Fill {
        let mut fill = Fill { places: SLOTS as u64, ..Fill::default() };
        if self.is_empty(uptime) {
            return fill;
        }
        let (now, rate) = (ticks(uptime), Rate::new(self.budget, 1));
        for slot in self.debts.iter().flatten() {
            let debt = Debt::unpack(slot.load(Ordering::Relaxed));
            fill.used += u64::from(debt.is_kept(now));
            if debt.is_blocked(now, rate) {
                fill.silent += 1;
                let began = time(debt.block_ends_at(rate).saturating_sub(debt.block_len()).min(now));
                fill.since = Some(fill.since.map_or(began, |since| since.min(began)));
            }
        }
        fill
    }

    /// The slot of a hash; else that of the smallest debt. Workers that count at the same time may give a hash two
    /// slots: then the larger debt is its own.
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

/// The first second that is over by then.
fn seconds(ticks: u64) -> u32 {
    u32::try_from(ticks.div_ceil(TICKS_PER_S)).unwrap_or(u32::MAX)
}

/// What one source or name owes, in 64 bits.
///
/// ```text
/// | tag: 23 | paid at, in ticks: 37 | blocks so far: 3 | is the last of them in force: 1 |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Debt {
    /// Of its hash. One innocent in a million is taken for somebody else, where the whole table owes.
    tag: u64,
    /// When nothing is owed any more; 0 in a slot that is free. 17 years of ticks have room.
    paid_at: u64,
    /// Up to [`BLOCKS_MAX`].
    blocks: u8,
    /// The last failure was one too many.
    is_over_limit: bool,
}

const TAG_BITS: u32 = 23;
const TIME_BITS: u32 = 37;
const BLOCK_BITS: u32 = 3;
const _: () = assert!(TAG_BITS + TIME_BITS + BLOCK_BITS + 1 == u64::BITS);
const BLOCKS_MAX: u8 = 7;

impl Debt {
    fn unpack(word: u64) -> Self {
        Self {
            tag: word >> (u64::BITS - TAG_BITS),
            paid_at: word >> (BLOCK_BITS + 1) & ((1 << TIME_BITS) - 1),
            blocks: (word >> 1) as u8 & BLOCKS_MAX,
            is_over_limit: word & 1 == 1,
        }
    }

    fn pack(self) -> u64 {
        let paid_at = self.paid_at.min((1 << TIME_BITS) - 1);
        self.tag << (u64::BITS - TAG_BITS)
            | paid_at << (BLOCK_BITS + 1)
            | u64::from(self.blocks) << 1
            | u64::from(self.is_over_limit)
    }

    /// The same debt, of somebody who has not been blocked yet: no more of it than blocks them at their first failure.
    fn inherited_by(self, hash: u64, now: u64, rate: Rate) -> Self {
        let paid_at = self.paid_at.min(now + rate.limit);
        Self { tag: tag(hash), paid_at, blocks: 0, is_over_limit: false }
    }

    fn is_of(self, hash: u64) -> bool {
        self.paid_at > 0 && self.tag == tag(hash)
    }

    /// Whether anything of it still matters.
    fn is_kept(self, now: u64) -> bool {
        self.paid_at > 0 && now < self.paid_at + ticks(MEMORY)
    }

    fn is_blocked(self, now: u64, rate: Rate) -> bool {
        self.is_over_limit && now < self.block_ends_at(rate)
    }

    /// A block that is shorter than the debt ends before all is paid.
    fn block_ends_at(self, rate: Rate) -> u64 {
        self.paid_at.saturating_sub(rate.blocked().saturating_sub(self.block_len()))
    }

    /// How long the last block is.
    fn block_len(self) -> u64 {
        let doublings = self.blocks.saturating_sub(1);
        ticks(FIRST_SILENCE.saturating_mul(1 << doublings).min(LONGEST_SILENCE))
    }

    fn after_failure(self, now: u64, rate: Rate) -> Self {
        let blocks = if self.is_kept(now) { self.blocks } else { 0 };
        let owed = self.paid_at.saturating_sub(now) + rate.cost;
        if owed <= rate.limit {
            return Self { paid_at: now + owed, blocks, is_over_limit: false, ..self };
        }
        let blocked = Self { blocks: BLOCKS_MAX.min(blocks + 1), is_over_limit: true, ..self };
        let owed = owed.max(rate.blocked()).max(blocked.block_len()).min(rate.most());
        Self { paid_at: now + owed, ..blocked }
    }
}

fn tag(hash: u64) -> u64 {
    hash >> (u64::BITS - TAG_BITS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUDGET: Budget = Budget { failures: 10, window: Duration::from_secs(10) };

    /// Hashes of one bucket, each with a tag of its own.
    fn neighbour(number: u64) -> u64 {
        number << (u64::BITS - TAG_BITS)
    }

    proptest! {
        #[test]
        fn what_is_packed_is_what_is_unpacked(word: u64) {
            prop_assert_eq!(Debt::unpack(word).pack(), word);
        }

        /// The bound on guessing: however many neighbours fail in between, whoever they are and whenever that is, no
        /// more failures of one go uncharged than its budget has.
        #[test]
        fn nobody_owes_less_than_their_failures(steps in prop::collection::vec((0..12_u64, 0..30_u64), 1..400)) {
            let (table, rate) = (Table::new(BUDGET), Rate::new(BUDGET, 1));
            let (mut now_ms, mut exact) = (1_000_000_u64, 0_u64);
            for (number, (who, wait_ms)) in steps.into_iter().enumerate() {
                now_ms += wait_ms;
                let uptime = Duration::from_millis(now_ms);
                let now = ticks(uptime);
                if table.is_blocked(uptime, 1, || neighbour(who)) {
                    continue;
                }
                let began = table.fail(uptime, 1, neighbour(who), Trace::new(who, 2 * number as u64));
                if who == 0 {
                    exact = exact.max(now) + rate.cost;
                    prop_assert!(exact - now <= rate.limit || began.block().is_some());
                }
            }
        }
    }
}

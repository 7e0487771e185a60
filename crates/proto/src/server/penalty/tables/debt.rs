//! A debt of time: what a failure or guess costs, and what the owner of a slot owes.

use std::time::Duration;

use crate::server::penalty::{FIRST_BLOCK, LONGEST_BLOCK, WINDOW_MAX};

/// How long an owner's blocks are remembered after the debt is paid: the next block is longer for them.
pub(super) const MEMORY: Duration = WINDOW_MAX.saturating_mul(2);

/// Ticks of a debt in a second: enough for 255 failures a second. Costs are rounded down, so the widest networks with
/// the largest budgets get slightly more failures.
pub(super) const TICKS_PER_S: u64 = 256;

pub(super) fn ticks(time: Duration) -> u64 {
    time.as_secs() * TICKS_PER_S + u64::from(time.subsec_nanos()) * TICKS_PER_S / 1_000_000_000
}

pub(super) fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_S)
}

/// The cost of a failure, and the largest debt without a block; in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) cost: u64,
    pub(super) limit: u64,
}

impl Rate {
    /// The rate of this number of failures in a window. With none, the first one begins a block.
    pub(super) fn new(failures: u32, window: Duration) -> Self {
        let failures = u64::from(failures);
        let cost = (ticks(window) / failures.max(1)).max(1);
        Self { cost, limit: cost * failures }
    }

    /// The smallest debt when a block begins.
    fn debt_min(self) -> u64 {
        self.limit + self.cost
    }

    /// The largest debt, which is enough for the longest block.
    fn debt_max(self) -> u64 {
        self.debt_min().max(ticks(LONGEST_BLOCK))
    }
}

/// The debt of a source or name, in 64 bits.
///
/// ```text
/// | tag: 23 | paid at, in ticks: 37 | blocks so far: 3 | is the last of them in force: 1 |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Debt {
    /// The upper bits of its hash. In a table that is full, one innocent owner in a million is taken for another.
    tag: u64,
    /// The tick at which nothing is owed any more; 0 in a free slot. 37 bits last for 17 years.
    pub(super) paid_at: u64,
    /// The number of blocks so far, up to [`BLOCKS_MAX`].
    blocks: u8,
    /// Whether the last failure exceeded the limit.
    is_over_limit: bool,
}

pub(super) const TAG_BITS: u32 = 23;
const TIME_BITS: u32 = 37;
const BLOCK_BITS: u32 = 3;
const _: () = assert!(TAG_BITS + TIME_BITS + BLOCK_BITS + 1 == u64::BITS);
const BLOCKS_MAX: u8 = 7;

impl Debt {
    pub(super) fn unpack(word: u64) -> Self {
        Self {
            tag: word >> (u64::BITS - TAG_BITS),
            paid_at: word >> (BLOCK_BITS + 1) & ((1 << TIME_BITS) - 1),
            blocks: (word >> 1) as u8 & BLOCKS_MAX,
            is_over_limit: word & 1 == 1,
        }
    }

    pub(super) fn pack(self) -> u64 {
        let paid_at = self.paid_at.min((1 << TIME_BITS) - 1);
        self.tag << (u64::BITS - TAG_BITS)
            | paid_at << (BLOCK_BITS + 1)
            | u64::from(self.blocks) << 1
            | u64::from(self.is_over_limit)
    }

    /// The same debt for a newcomer, who has not been blocked yet: at most the limit, so that only the next failure
    /// blocks.
    pub(super) fn inherited_by(self, hash: u64, now: u64, rate: Rate) -> Self {
        let paid_at = self.paid_at.min(now + rate.limit);
        Self { tag: tag(hash), paid_at, blocks: 0, is_over_limit: false }
    }

    pub(super) fn is_of(self, hash: u64) -> bool {
        self.paid_at > 0 && self.tag == tag(hash)
    }

    /// Whether the debt or the memory of its blocks still matters.
    pub(super) fn is_kept(self, now: u64) -> bool {
        self.paid_at > 0 && now < self.paid_at + ticks(MEMORY)
    }

    pub(super) fn is_blocked(self, now: u64, rate: Rate) -> bool {
        self.is_over_limit && now < self.block_ends_at(rate)
    }

    /// A block that is shorter than the debt ends before the debt is paid.
    pub(super) fn block_ends_at(self, rate: Rate) -> u64 {
        self.paid_at.saturating_sub(rate.debt_min().saturating_sub(self.block_len()))
    }

    /// The length of the last block.
    pub(super) fn block_len(self) -> u64 {
        let doublings = self.blocks.saturating_sub(1);
        ticks(FIRST_BLOCK.saturating_mul(1 << doublings).min(LONGEST_BLOCK))
    }

    pub(super) fn after_failure(self, now: u64, rate: Rate) -> Self {
        let blocks = if self.is_kept(now) { self.blocks } else { 0 };
        let owed = self.paid_at.saturating_sub(now) + rate.cost;
        if owed <= rate.limit {
            return Self { paid_at: now + owed, blocks, is_over_limit: false, ..self };
        }
        let blocked = Self { blocks: BLOCKS_MAX.min(blocks + 1), is_over_limit: true, ..self };
        let owed = owed.max(rate.debt_min()).max(blocked.block_len()).min(rate.debt_max());
        Self { paid_at: now + owed, ..blocked }
    }

    /// With a guess more, if that does not exceed the limit, or nothing is owed.
    pub(super) fn after_guess(self, now: u64, rate: Rate) -> Option<Self> {
        let owed = self.paid_at.saturating_sub(now) + rate.cost;
        (owed <= rate.limit.max(rate.cost)).then_some(Self { paid_at: now + owed, ..self })
    }

    /// With a failure more that begins no block.
    pub(super) fn after_debit(self, now: u64, rate: Rate) -> Self {
        let owed = self.paid_at.saturating_sub(now) + rate.cost;
        Self { paid_at: now + owed.min(rate.debt_max()), ..self }
    }

    /// Lower by one failure or guess, if any is owed.
    pub(super) fn after_refund(self, now: u64, rate: Rate) -> Self {
        let paid_at = self.paid_at.saturating_sub(rate.cost).max(self.paid_at.min(now));
        Self { paid_at, ..self }
    }
}

fn tag(hash: u64) -> u64 {
    hash >> (u64::BITS - TAG_BITS)
}

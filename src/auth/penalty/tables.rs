//! The tables behind penalties: of fixed size, shared by all workers without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::{Budget, FIRST_SILENCE, Fill, LONGEST_SILENCE, WINDOW_MAX};

/// How long after its failures began, or its silence ended, a count is forgotten.
const MEMORY_S: u64 = 2 * WINDOW_MAX.as_secs();
/// How long a login exempts its source from what others do to its user.
const EXEMPTION_S: u64 = 24 * 60 * 60;

/// Places that one hash may have: a cache line of them.
pub(super) const WAYS: usize = 8;
/// Lines of a table; with what it remembers of failures, 512 KiB.
pub(super) const LINES: usize = 4096;

/// Failures by keyed hash. Mostly nobody is counted, and then no hash is made, and no place looked at.
pub(super) struct Table {
    budget: Budget,
    lines: Box<[[AtomicU64; WAYS]]>,
    /// Of each place, the last two failures: one that is sent again is no other.
    failures: Box<[[AtomicU64; WAYS]]>,
    /// When the last silence ends.
    silent_until_s: AtomicU32,
    /// When the last count is forgotten.
    counted_until_s: AtomicU32,
}

impl Table {
    pub(super) fn new(budget: Budget) -> Self {
        let lines = || (0..LINES).map(|_| Default::default()).collect();
        Self {
            budget,
            lines: lines(),
            failures: lines(),
            silent_until_s: 0.into(),
            counted_until_s: 0.into(),
        }
    }

    pub(super) fn is_silent(&self, uptime: Duration, hash: impl FnOnce() -> u64) -> bool {
        if is_over(&self.silent_until_s, uptime) {
            return false;
        }
        let hash = hash();
        self.line(hash).any(|(place, _)| {
            let count = Count::unpack(place.load(Ordering::Relaxed));
            count.is_of(hash) && count.is_silent(uptime.as_secs())
        })
    }

    pub(super) fn clear(&self, uptime: Duration, hash: impl FnOnce() -> u64) {
        if is_over(&self.counted_until_s, uptime) {
            return;
        }
        let hash = hash();
        for (place, _) in self.line(hash) {
            let word = place.load(Ordering::Relaxed);
            if Count::unpack(word).is_of(hash) {
                // Whoever fails at the same moment counts on.
                let _ = place.compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// Counts a failure. Of workers that count at the same time one succeeds, so all do in the end.
    pub(super) fn fail(&self, hash: u64, what: u32, uptime: Duration) {
        let now_s = uptime.as_secs();
        loop {
            let Some((place, failures)) = self.place(hash, now_s) else { return };
            let word = place.load(Ordering::Relaxed);
            let old = Count::unpack(word);
            let seen = if old.is_of(hash) { failures.load(Ordering::Relaxed) } else { 0 };
            if [seen as u32, (seen >> u32::BITS) as u32].contains(&what)
                || (old.is_of(hash) && old.is_silent(now_s))
            {
                return;
            }
            let new = if old.is_of(hash) { old } else { Count::of(hash) }.after_failure(self.budget, now_s);
            if place.compare_exchange(word, new.pack(), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                failures.store(seen << u32::BITS | u64::from(what), Ordering::Relaxed);
                self.counted_until_s.fetch_max(soon(now_s + MEMORY_S), Ordering::Relaxed);
                if new.is_silent(now_s) {
                    self.silent_until_s.fetch_max(soon(new.time_s), Ordering::Relaxed);
                }
                return;
            }
        }
    }

    /// How full it is, and how many in it get silence. It looks at all places.
    pub(super) fn fill(&self, uptime: Duration) -> Fill {
        let mut fill = Fill { places: (LINES * WAYS) as u64, ..Fill::default() };
        if is_over(&self.counted_until_s, uptime) && is_over(&self.silent_until_s, uptime) {
            return fill;
        }
        let now_s = uptime.as_secs();
        for place in self.lines.iter().flatten() {
            let count = Count::unpack(place.load(Ordering::Relaxed));
            fill.used += u64::from(count.is_kept(now_s));
            fill.silent += u64::from(count.is_silent(now_s));
        }
        fill
    }

    /// The place of a hash; else the one that is missed least.
    fn place(&self, hash: u64, now_s: u64) -> Option<(&AtomicU64, &AtomicU64)> {
        self.line(hash).min_by_key(|(place, _)| {
            let count = Count::unpack(place.load(Ordering::Relaxed));
            if count.is_of(hash) { (0, 0, 0) } else { count.weight(now_s) }
        })
    }

    fn line(&self, hash: u64) -> impl Iterator<Item = (&AtomicU64, &AtomicU64)> {
        let line = hash as usize % LINES;
        self.lines.get(line).into_iter().flatten().zip(self.failures.get(line).into_iter().flatten())
    }
}

fn is_over(until_s: &AtomicU32, uptime: Duration) -> bool {
    uptime.as_secs() >= until_s.load(Ordering::Relaxed).into()
}

fn soon(second: u64) -> u32 {
    u32::try_from(second).unwrap_or(u32::MAX)
}

/// What is known of one source or user, in 64 bits.
///
/// ```text
/// | tag: 23 | time in seconds: 30 | level: 3 | failures: 8 |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Of its hash; so one in a million innocents is taken for a culprit, when all the table is full of them.
    tag: u64,
    /// When its failures began; without failures, when its silence ends.
    time_s: u64,
    /// How often it was silenced; 0 for never.
    level: u8,
    failures: u8,
}

const TAG_BITS: u32 = 23;
const TIME_BITS: u32 = 30;
const LEVEL_BITS: u32 = 3;
const FAILURE_BITS: u32 = 8;
const _: () = assert!(TAG_BITS + TIME_BITS + LEVEL_BITS + FAILURE_BITS == u64::BITS);
const LEVEL_MAX: u8 = 7;

impl Count {
    fn of(hash: u64) -> Self {
        Self { tag: tag(hash), time_s: 0, level: 0, failures: 0 }
    }

    pub(super) fn unpack(word: u64) -> Self {
        Self {
            tag: word >> (u64::BITS - TAG_BITS),
            time_s: word >> (LEVEL_BITS + FAILURE_BITS) & ((1 << TIME_BITS) - 1),
            level: (word >> FAILURE_BITS) as u8 & LEVEL_MAX,
            failures: word as u8,
        }
    }

    pub(super) fn pack(self) -> u64 {
        let time = self.time_s.min((1 << TIME_BITS) - 1);
        self.tag << (u64::BITS - TAG_BITS)
            | time << (LEVEL_BITS + FAILURE_BITS)
            | u64::from(self.level) << FAILURE_BITS
            | u64::from(self.failures)
    }

    fn is_free(self) -> bool {
        self.level == 0 && self.failures == 0
    }

    /// Whether it is still worth its place.
    fn is_kept(self, now_s: u64) -> bool {
        !self.is_free() && now_s.saturating_sub(self.time_s) < MEMORY_S
    }

    fn is_of(self, hash: u64) -> bool {
        !self.is_free() && self.tag == tag(hash)
    }

    fn is_silent(self, now_s: u64) -> bool {
        self.level > 0 && self.failures == 0 && now_s < self.time_s
    }

    fn after_failure(self, budget: Budget, now_s: u64) -> Self {
        let age_s = now_s.saturating_sub(self.time_s);
        let level = if age_s >= MEMORY_S { 0 } else { self.level };
        let (began_s, before) = if self.failures == 0 || age_s >= budget.window.as_secs() {
            (now_s, 0)
        } else {
            (self.time_s, self.failures)
        };
        if before < budget.failures {
            return Self { time_s: began_s, level, failures: before + 1, ..self };
        }
        let silence_s = (FIRST_SILENCE.as_secs() << level).min(LONGEST_SILENCE.as_secs());
        Self { time_s: now_s + silence_s, level: LEVEL_MAX.min(level + 1), failures: 0, ..self }
    }

    /// How much it is missed if another takes its place.
    fn weight(self, now_s: u64) -> (u8, u8, u64) {
        if self.is_kept(now_s) { (1 + self.level, self.failures, self.time_s) } else { (0, 1, 0) }
    }
}

fn tag(hash: u64) -> u64 {
    hash >> (u64::BITS - TAG_BITS)
}

/// Recent logins, by keyed hash of source and user; 256 KiB. Only the holder of a valid password adds one.
///
/// ```text
/// | tag: 40 | time in minutes: 24 |
/// ```
pub(super) struct Logins(Box<[[AtomicU64; WAYS]]>);

const MINUTE_BITS: u32 = 24;

impl Logins {
    pub(super) fn new() -> Self {
        Self((0..LINES).map(|_| Default::default()).collect())
    }

    pub(super) fn note(&self, hash: u64, uptime: Duration) {
        let word = Self::word(hash, uptime);
        let place = self.line(hash).min_by_key(|place| {
            let old = place.load(Ordering::Relaxed);
            if old >> MINUTE_BITS == word >> MINUTE_BITS { 0 } else { 1 + old % (1 << MINUTE_BITS) }
        });
        if let Some(place) = place
            && place.load(Ordering::Relaxed) != word
        {
            place.store(word, Ordering::Relaxed);
        }
    }

    pub(super) fn contains(&self, hash: u64, uptime: Duration) -> bool {
        let word = Self::word(hash, uptime);
        self.line(hash).any(|place| {
            let old = place.load(Ordering::Relaxed);
            old >> MINUTE_BITS == word >> MINUTE_BITS && word.saturating_sub(old) < EXEMPTION_S / 60
        })
    }

    fn line(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        self.0.get(hash as usize % LINES).into_iter().flatten()
    }

    /// The time counts from 1, so that no login is a place that is free.
    fn word(hash: u64, uptime: Duration) -> u64 {
        let minutes = (1 + uptime.as_secs() / 60).min((1 << MINUTE_BITS) - 1);
        hash >> MINUTE_BITS << MINUTE_BITS | minutes
    }
}

//! Failed logins of each user, in slots that failures of other names cannot evict.
//!
//! A failure is a debt of time, as in the tables of penalties, but in fewer bits. A flood can make those tables forget
//! a block; the debt that is kept here still forbids further guesses.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytemuck::zeroed_slice_box;
use subtle::{Choice, ConditionallySelectable};

use crate::blocks::LONGEST_BLOCK;
use crate::origin::Origin;

/// Ticks in a second. 32 bits of them last for 8 years.
const TICKS_PER_S: u64 = 16;

/// Guesses of each origin are counted apart.
const ORIGINS: [Origin; 2] = [Origin::Proven, Origin::Unproven];

/// The debts of all users.
pub(super) struct Guesses {
    /// By user and origin: the uptime at which nothing is owed any more, in ticks.
    paid_at: Box<[[AtomicU32; ORIGINS.len()]]>,
    /// The uptime, in ticks, from which no user is over the budget. After it no slot needs to be looked at.
    spent_until: AtomicU32,
}

/// The cost of a guess, and the debt beyond which guesses are refused without a look at their digest; in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Price {
    cost: u32,
    limit: u32,
}

impl Price {
    /// A budget of this many guesses in a window, or of one; the guess that exceeds it is still judged. Costs are
    /// rounded down, so that no answer is refused that the tables of penalties would let through. `None` if a guess
    /// costs less than a tick.
    pub(crate) fn new(guesses: u32, window: Duration) -> Option<Self> {
        let cost = ticks(window).checked_div(guesses.max(1)).filter(|cost| *cost > 0)?;
        Some(Self { cost, limit: cost.saturating_mul(guesses.saturating_add(1)) })
    }

    /// The same where each guess is counted before it is judged, so that the one that exceeds the budget is not.
    pub(crate) fn in_advance(self) -> Self {
        Self { limit: self.limit.saturating_sub(self.cost), ..self }
    }
}

fn ticks(time: Duration) -> u32 {
    let ticks = time.as_secs() * TICKS_PER_S + u64::from(time.subsec_nanos()) * TICKS_PER_S / 1_000_000_000;
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

impl Guesses {
    pub(super) fn new(users: usize) -> Self {
        Self { paid_at: zeroed_slice_box(users), spent_until: 0.into() }
    }

    /// Whether any user was guessed at beyond the budget.
    pub(super) fn any_spent(&self, uptime: Duration) -> bool {
        ticks(uptime) < self.spent_until.load(Ordering::Relaxed)
    }

    /// Whether the user of this number was.
    pub(super) fn is_spent(&self, user: u32, origin: Origin, price: Price, uptime: Duration) -> bool {
        self.slot(user, origin).is_some_and(|paid_at| {
            paid_at.load(Ordering::Relaxed).saturating_sub(ticks(uptime)) > price.limit
        })
    }

    /// Counts a guess if it `counts`. Otherwise it changes nothing, and takes the same time.
    pub(super) fn add(&self, user: u32, origin: Origin, price: Price, uptime: Duration, counts: Choice) {
        let Some(slot) = self.slot(user, origin) else { return };
        let now = ticks(uptime);
        // Guesses at other nodes may exceed the limit by far. They are remembered as long as the longest block.
        let most = now.saturating_add(ticks(LONGEST_BLOCK).max(price.limit.saturating_add(price.cost)));
        let added = |old: u32| {
            let more = old.max(now).saturating_add(price.cost).min(most).max(old);
            u32::conditional_select(&old, &more, counts)
        };
        let (Ok(old) | Err(old)) =
            slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(added(old)));
        let paid_at = added(old);
        // Only beyond the budget, since the time of a branch for each guess would tell users from unknown names.
        if paid_at.saturating_sub(now) > price.limit {
            self.spent_until.fetch_max(paid_at - price.limit, Ordering::Relaxed);
        }
    }

    /// Takes back a guess, if any is owed.
    pub(super) fn give_back(&self, user: u32, origin: Origin, price: Price) {
        if let Some(slot) = self.slot(user, origin) {
            // A debt that is paid already stays so.
            let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
                Some(old.saturating_sub(price.cost))
            });
        }
    }

    /// Takes over the debts of another snapshot, in which the user has the number `other`.
    pub(super) fn adopt(&self, user: u32, others: &Self, other: u32) {
        for origin in ORIGINS {
            if let (Some(own), Some(other)) = (self.slot(user, origin), others.slot(other, origin)) {
                own.fetch_max(other.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        self.spent_until.fetch_max(others.spent_until.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Whether the user was guessed at since the start.
    pub(super) fn has_any(&self, user: u32) -> bool {
        let mut slots = ORIGINS.into_iter().filter_map(|origin| self.slot(user, origin));
        slots.any(|slot| slot.load(Ordering::Relaxed) != 0)
    }

    /// Forgets all debts.
    pub(super) fn clear(&self) {
        self.paid_at.iter().flatten().for_each(|slot| slot.store(0, Ordering::Relaxed));
    }

    fn slot(&self, user: u32, origin: Origin) -> Option<&AtomicU32> {
        self.paid_at.get(user as usize)?.get(origin as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price() -> Price {
        Price::new(60, Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn a_user_who_is_guessed_at_too_often_has_one_more_guess_a_second_and_no_other_user_has_fewer() {
        let guesses = Guesses::new(2);
        let mut heard = 0;
        for ms in (100_000..160_000).step_by(10) {
            let uptime = Duration::from_millis(ms);
            if !guesses.is_spent(1, Origin::Proven, price(), uptime) {
                guesses.add(1, Origin::Proven, price(), uptime, Choice::from(1));
                heard += 1;
            }
            guesses.add(0, Origin::Proven, price(), uptime, Choice::from(0));
        }
        assert!((120..=123).contains(&heard), "{heard}");
        let end = Duration::from_secs(160);
        assert!(!guesses.is_spent(0, Origin::Proven, price(), end) && !guesses.has_any(0));
        assert!(!guesses.is_spent(1, Origin::Unproven, price(), end));
        guesses.clear();
        assert!(!guesses.has_any(1));
    }

    #[test]
    fn however_often_a_user_was_guessed_at_there_are_guesses_again_after_the_longest_block() {
        let guesses = Guesses::new(1);
        let at = |seconds| Duration::from_secs(100 + seconds);
        (0..100_000).for_each(|_| guesses.add(0, Origin::Proven, price(), at(0), Choice::from(1)));
        let longest = LONGEST_BLOCK.as_secs();
        let spent = |seconds| guesses.is_spent(0, Origin::Proven, price(), at(seconds));
        assert_eq!([spent(0), spent(longest - 70), spent(longest)], [true, true, false]);
    }

    #[test]
    fn budgets_of_less_than_a_tick_a_guess_are_not_counted_here() {
        assert!(Price::new(255, Duration::from_secs(1)).is_none());
        assert!(Price::new(16, Duration::from_secs(1)).is_some());
        assert!(Price::new(255, Duration::from_secs(600)).is_some());
    }
}

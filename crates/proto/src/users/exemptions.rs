//! From where users have logged in lately: a few sources of each user, in slots that no other user can take.
//!
//! ```text
//! | tag of a source: 40 | minute of its last login, from 1: 24 |     a slot; 0 if free
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytemuck::zeroed_slice_box;

/// How long a login exempts its source from what others do to its user.
const LIFE_MINUTES: u64 = 24 * 60;

/// Slots in all, as long as each user has at least the fewest and at most the most: 16 MiB.
const SLOTS: usize = 1 << 21;
const FEWEST: usize = 2;
const MOST: usize = 512;
/// Slots that are searched for a source: those of a cache line.
const WAYS: usize = 8;

const MINUTE_BITS: u32 = 24;
const MINUTE_MAX: u64 = (1 << MINUTE_BITS) - 1;

/// The slots of all users.
pub(super) struct Exemptions {
    slots: Box<[AtomicU64]>,
    per_user: usize,
}

impl Exemptions {
    /// For a number of users, none of whom has logged in yet.
    pub(super) fn new(users: usize) -> Self {
        let per_user = per_user(users);
        Self { slots: zeroed_slice_box(users * per_user), per_user }
    }

    /// Notes a login of the user of this number. Where all slots for its source are taken, the oldest gives way.
    pub(super) fn note(&self, user: u32, source: u64, uptime: Duration) {
        self.insert(user, source, word(source, minutes(uptime)));
    }

    /// Whether that user has logged in from this source lately.
    pub(super) fn contains(&self, user: u32, source: u64, uptime: Duration) -> bool {
        let (tag, now) = (tag(source), minutes(uptime));
        self.ways(user, source).iter().any(|slot| {
            let word = slot.load(Ordering::Relaxed);
            word >> MINUTE_BITS == tag && now.saturating_sub(word & MINUTE_MAX) < LIFE_MINUTES
        })
    }

    /// Adds what other exemptions hold of a user who had another number there.
    pub(super) fn adopt(&self, user: u32, others: &Self, other: u32) {
        for word in others.of(other).iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|word| *word != 0)
        {
            self.insert(user, word, word);
        }
    }

    /// Whether that user has logged in at all.
    pub(super) fn has_any(&self, user: u32) -> bool {
        self.of(user).iter().any(|slot| slot.load(Ordering::Relaxed) != 0)
    }

    /// Puts a word in the place of an older one of its source, else of the oldest, unless all are newer. Of two logins
    /// of a user that workers note at the same moment, one may be forgotten.
    fn insert(&self, user: u32, source: u64, word: u64) {
        let oldest = self.ways(user, source).iter().min_by_key(|slot| {
            let old = slot.load(Ordering::Relaxed);
            (old >> MINUTE_BITS != word >> MINUTE_BITS, old & MINUTE_MAX)
        });
        if let Some(slot) = oldest
            && let old = slot.load(Ordering::Relaxed)
            && old != word
            && old & MINUTE_MAX <= word & MINUTE_MAX
        {
            slot.store(word, Ordering::Relaxed);
        }
    }

    /// The slots in which a source may be. The bits that choose them are part of its tag.
    fn ways(&self, user: u32, source: u64) -> &[AtomicU64] {
        let (lines, _) = self.of(user).as_chunks::<WAYS>();
        match lines.get(tag(source) as usize % lines.len().max(1)) {
            Some(line) => line,
            None => self.of(user),
        }
    }

    fn of(&self, user: u32) -> &[AtomicU64] {
        let start = user as usize * self.per_user;
        self.slots.get(start..start + self.per_user).unwrap_or_default()
    }
}

/// Whole lines, where there is room for any.
fn per_user(users: usize) -> usize {
    let slots = (SLOTS / users.max(1)).clamp(FEWEST, MOST);
    if slots < WAYS { slots } else { slots - slots % WAYS }
}

fn tag(source: u64) -> u64 {
    source >> MINUTE_BITS
}

/// From 1, so that no login is a free slot.
fn minutes(uptime: Duration) -> u64 {
    (1 + uptime.as_secs() / 60).min(MINUTE_MAX)
}

fn word(source: u64, minutes: u64) -> u64 {
    tag(source) << MINUTE_BITS | minutes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash of a source.
    fn source(number: u64) -> u64 {
        (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 60 * 60)
    }

    #[test]
    fn a_login_exempts_its_source_and_no_other_for_a_day_and_for_its_user_alone() {
        let exemptions = Exemptions::new(3);
        exemptions.note(1, source(1), hours(1));
        let exempt = |user, number, at| exemptions.contains(user, source(number), hours(at));
        assert_eq!([exempt(1, 1, 1), exempt(1, 1, 24), exempt(1, 1, 25)], [true, true, false]);
        assert_eq!([exempt(1, 2, 1), exempt(0, 1, 1), exempt(2, 1, 1)], [false; 3]);
    }

    #[test]
    fn one_user_with_many_sources_pushes_out_none_of_another_user() {
        for users in [2, 1000, 1_000_000] {
            let exemptions = Exemptions::new(users);
            exemptions.note(0, source(0), hours(1));
            for number in 1..100_000 {
                exemptions.note(1, source(number), hours(2));
            }
            assert!(exemptions.contains(0, source(0), hours(3)), "{users} users");
            assert!(exemptions.contains(1, source(99_999), hours(3)), "{users} users");
        }
    }

    #[test]
    fn the_sources_of_a_user_are_many_among_few_users_and_two_among_millions() {
        let sizes = [1, 4096, 100_000, 262_144, 300_000, 1_000_000, 10_000_000];
        assert_eq!(sizes.map(per_user), [512, 512, 16, 8, 6, 2, 2]);
        let exemptions = Exemptions::new(1);
        (0..100).for_each(|number| exemptions.note(0, source(number), hours(1)));
        assert_eq!((0..100).filter(|number| exemptions.contains(0, source(*number), hours(1))).count(), 100);
    }

    #[test]
    fn what_is_adopted_from_others_is_as_old_as_it_was() {
        let (old, new) = (Exemptions::new(4), Exemptions::new(4096));
        old.note(3, source(1), hours(1));
        old.note(3, source(2), hours(20));
        new.note(7, source(1), hours(21));
        assert!(old.has_any(3) && !old.has_any(2));
        new.adopt(7, &old, 3);
        assert!(new.contains(7, source(1), hours(40)));
        assert!(new.contains(7, source(2), hours(40)) && !new.contains(7, source(2), hours(45)));
    }
}

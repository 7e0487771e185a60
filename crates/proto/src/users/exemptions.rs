//! Sources from which users have logged in lately: a few for each user, in slots of their own.
//!
//! ```text
//! | tag of a source: 40 | by the old password: 1 | minute of its last login, from 1: 23 |     a slot; 0 if free
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytemuck::zeroed_slice_box;

use super::PasswordAge;

/// How long a login exempts its source from the blocks of its user.
const LIFE_MINUTES: u64 = 24 * 60;
/// How often other nodes are told of a source that logs in again and again.
const NEWS_MINUTES: u64 = 60;

/// Slots of all users together, unless that would be fewer or more a user than the limits below: 16 MiB.
const SLOTS: usize = 1 << 21;
const SLOTS_PER_USER_MIN: usize = 2;
const SLOTS_PER_USER_MAX: usize = 512;
/// Slots that are searched for a source: one cache line.
const WAYS: usize = 8;

const MINUTE_BITS: u32 = 23;
const MINUTE_MAX: u64 = (1 << MINUTE_BITS) - 1;
const OLD_PASSWORD: u64 = 1 << MINUTE_BITS;
const TAG_SHIFT: u32 = MINUTE_BITS + 1;

/// Recent logins of all users, by user and source.
pub(super) struct Exemptions {
    slots: Box<[AtomicU64]>,
    per_user: usize,
}

impl Exemptions {
    /// Starts without exemptions, for this many users. Each has as many slots as one `among` all users of a snapshot.
    pub(super) fn new(users: usize, among: usize) -> Self {
        let per_user = per_user(among);
        Self { slots: zeroed_slice_box(users * per_user), per_user }
    }

    /// Notes a login of the user of this number. If all slots for its source are taken, the oldest is evicted. Gives
    /// whether it is news: the first from its source, or the first there in an hour, which begins for each source at
    /// another minute.
    pub(super) fn note(&self, user: u32, source: u64, password: PasswordAge, uptime: Duration) -> bool {
        let word = word(source, password, minutes(uptime));
        let hour = |word: u64| ((word & MINUTE_MAX) + (word >> TAG_SHIFT) % NEWS_MINUTES) / NEWS_MINUTES;
        self.insert(user, source, word)
            .is_some_and(|old| old >> TAG_SHIFT != word >> TAG_SHIFT || hour(old) != hour(word))
    }

    /// Whether the user has logged in from this source within a day.
    pub(super) fn contains(&self, user: u32, source: u64, uptime: Duration) -> bool {
        self.ways(user, source).iter().any(|slot| exempts(slot.load(Ordering::Relaxed), source, uptime))
    }

    /// By which password the user has logged in from this source within a day, if they have.
    pub(super) fn password(&self, user: u32, source: u64, uptime: Duration) -> Option<PasswordAge> {
        let words = self.ways(user, source).iter().map(|slot| slot.load(Ordering::Relaxed));
        words.filter(|word| exempts(*word, source, uptime)).map(password_of).min()
    }

    /// Adds the exemptions of another snapshot, in which the user has the number `other`. `becomes` says which password
    /// each of the passwords there is here; logins by one that is none here exempt nobody.
    pub(super) fn adopt(
        &self,
        user: u32,
        others: &Self,
        other: u32,
        becomes: impl Fn(PasswordAge) -> Option<PasswordAge>,
    ) {
        for word in others.of(other).iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|word| *word != 0)
        {
            if let Some(password) = becomes(password_of(word)) {
                self.insert(user, word, word_of(word, password));
            }
        }
    }

    /// Whether the user has logged in since the start.
    pub(super) fn has_any(&self, user: u32) -> bool {
        self.of(user).iter().any(|slot| slot.load(Ordering::Relaxed) != 0)
    }

    /// Overwrites the older word of the same source, else the oldest word, unless all are newer. A login by the old
    /// password does not overwrite one by the present password within a day: both may come from behind one address. If
    /// two workers note logins of a user at the same moment, one of them may be lost. Gives what was overwritten.
    fn insert(&self, user: u32, source: u64, word: u64) -> Option<u64> {
        let oldest = self.ways(user, source).iter().min_by_key(|slot| {
            let old = slot.load(Ordering::Relaxed);
            (old >> TAG_SHIFT != word >> TAG_SHIFT, old & MINUTE_MAX)
        });
        let slot = oldest?;
        let old = slot.load(Ordering::Relaxed);
        let is_later = old != word && old & MINUTE_MAX <= word & MINUTE_MAX && !outranks(old, word);
        is_later.then(|| {
            slot.store(word, Ordering::Relaxed);
            old
        })
    }

    /// The slots that a source may take. They are chosen by bits of its tag.
    fn ways(&self, user: u32, source: u64) -> &[AtomicU64] {
        let (sets, _) = self.of(user).as_chunks::<WAYS>();
        match sets.get(tag(source) as usize % sets.len().max(1)) {
            Some(set) => set,
            None => self.of(user),
        }
    }

    fn of(&self, user: u32) -> &[AtomicU64] {
        let start = user as usize * self.per_user;
        self.slots.get(start..start + self.per_user).unwrap_or_default()
    }
}

/// Whether a word is of a login from this source within a day.
fn exempts(word: u64, source: u64, uptime: Duration) -> bool {
    word >> TAG_SHIFT == tag(source) && minutes(uptime).saturating_sub(word & MINUTE_MAX) < LIFE_MINUTES
}

fn password_of(word: u64) -> PasswordAge {
    if word & OLD_PASSWORD == 0 { PasswordAge::Present } else { PasswordAge::Old }
}

/// Whether a login was by the present password, and a later one from the same source by the old one.
fn outranks(word: u64, later: u64) -> bool {
    let is_same_source = word >> TAG_SHIFT == later >> TAG_SHIFT;
    let lives = (later & MINUTE_MAX) - (word & MINUTE_MAX) < LIFE_MINUTES;
    is_same_source && lives && word & OLD_PASSWORD == 0 && later & OLD_PASSWORD != 0
}

/// Slots of each user: whole cache lines, if there is room for one.
fn per_user(users: usize) -> usize {
    let slots = (SLOTS / users.max(1)).clamp(SLOTS_PER_USER_MIN, SLOTS_PER_USER_MAX);
    if slots < WAYS { slots } else { slots - slots % WAYS }
}

fn tag(source: u64) -> u64 {
    source >> TAG_SHIFT
}

/// Counted from 1, since 0 marks a free slot.
fn minutes(uptime: Duration) -> u64 {
    (1 + uptime.as_secs() / 60).min(MINUTE_MAX)
}

fn word(source: u64, password: PasswordAge, minutes: u64) -> u64 {
    word_of(tag(source) << TAG_SHIFT | minutes, password)
}

/// The same word, of a login by this password.
fn word_of(word: u64, password: PasswordAge) -> u64 {
    match password {
        PasswordAge::Present => word & !OLD_PASSWORD,
        PasswordAge::Old => word | OLD_PASSWORD,
    }
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
        let exemptions = Exemptions::new(3, 3);
        exemptions.note(1, source(1), PasswordAge::Present, hours(1));
        let exempt = |user, number, at| exemptions.contains(user, source(number), hours(at));
        assert_eq!([exempt(1, 1, 1), exempt(1, 1, 24), exempt(1, 1, 25)], [true, true, false]);
        assert_eq!([exempt(1, 2, 1), exempt(0, 1, 1), exempt(2, 1, 1)], [false; 3]);
    }

    #[test]
    fn a_source_that_logs_in_all_day_is_news_once_in_each_hour() {
        let exemptions = Exemptions::new(1, 1);
        let is_news_at = |number, second| {
            exemptions.note(0, source(number), PasswordAge::Present, Duration::from_secs(second))
        };
        for number in 0..50 {
            assert!(is_news_at(number, 0), "{number}");
            let news = (1..24 * 120).filter(|half_minute| is_news_at(number, half_minute * 30)).count();
            assert!((23..=24).contains(&news), "{number}: {news}");
        }
    }

    #[test]
    fn one_user_with_many_sources_pushes_out_none_of_another_user() {
        for users in [2, 1000, 1_000_000] {
            let exemptions = Exemptions::new(users, users);
            exemptions.note(0, source(0), PasswordAge::Present, hours(1));
            for number in 1..100_000 {
                exemptions.note(1, source(number), PasswordAge::Present, hours(2));
            }
            assert!(exemptions.contains(0, source(0), hours(3)), "{users} users");
            assert!(exemptions.contains(1, source(99_999), hours(3)), "{users} users");
        }
    }

    #[test]
    fn the_sources_of_a_user_are_many_among_few_users_and_two_among_millions() {
        let sizes = [1, 4096, 100_000, 262_144, 300_000, 1_000_000, 10_000_000];
        assert_eq!(sizes.map(per_user), [512, 512, 16, 8, 6, 2, 2]);
        let exemptions = Exemptions::new(1, 1);
        let is_news = |number| exemptions.note(0, source(number), PasswordAge::Present, hours(1));
        assert!((0..100).all(is_news));
        assert_eq!((0..100).filter(|number| exemptions.contains(0, source(*number), hours(1))).count(), 100);
    }

    #[test]
    fn what_is_adopted_from_others_is_as_old_as_it_was() {
        let (old, new) = (Exemptions::new(4, 4), Exemptions::new(4096, 4096));
        old.note(3, source(1), PasswordAge::Present, hours(1));
        old.note(3, source(2), PasswordAge::Present, hours(20));
        new.note(7, source(1), PasswordAge::Present, hours(21));
        assert!(old.has_any(3) && !old.has_any(2));
        new.adopt(7, &old, 3, Some);
        assert!(new.contains(7, source(1), hours(40)));
        assert!(new.contains(7, source(2), hours(40)) && !new.contains(7, source(2), hours(45)));
    }

    #[test]
    fn a_login_by_a_password_that_is_none_any_more_exempts_nobody() {
        use PasswordAge::{Old, Present};
        for (becomes, kept) in [
            ([Some(Present), Some(Old)], [true, true]),
            ([Some(Old), None], [true, false]),
            ([Some(Present), None], [true, false]),
            ([None, Some(Present)], [false, true]),
        ] {
            let (old, new) = (Exemptions::new(1, 1), Exemptions::new(1, 1));
            old.note(0, source(1), Present, hours(1));
            old.note(0, source(2), Old, hours(1));
            new.adopt(0, &old, 0, |password| becomes[usize::from(password == Old)]);
            assert_eq!([1, 2].map(|number| new.contains(0, source(number), hours(2))), kept, "{becomes:?}");
        }
    }

    #[test]
    fn a_login_by_the_old_password_takes_nothing_from_one_by_the_new_from_behind_the_same_address() {
        use PasswordAge::{Old, Present};
        let dropped = |password| (password == Present).then_some(Present);
        let (old, new) = (Exemptions::new(1, 1), Exemptions::new(1, 1));
        old.note(0, source(1), Present, hours(1));
        old.note(0, source(1), Old, hours(2));
        new.adopt(0, &old, 0, dropped);
        assert!(new.contains(0, source(1), hours(3)));
        // After a day the first one exempts nobody any more.
        old.note(0, source(1), Old, hours(26));
        assert!(old.contains(0, source(1), hours(27)));
    }
}

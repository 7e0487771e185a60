//! How old the users are, where another program keeps them up to date, and that none may log in once they are too old.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use crate::directory::Directory;
use crate::net::clock::Clock;
use proto::Now;
use proto::users::Suspension;

/// How often it is looked at whether the users are too old.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A confirmation may be so far in the future, since the clock may have been set back a little. One that is further
/// ahead says nothing.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// When that program has last found that the users that are served are as they should be, and what follows from it.
pub(crate) struct Confirmation {
    /// Absent where no program does that. Only the main thread takes the lock.
    noted: Mutex<Option<Noted>>,
    /// The age from which on nobody may log in, if there is one.
    suspend_after: Option<Duration>,
    suspension: Suspension,
}

/// A confirmation, by both clocks. Neither a wall clock that is set back nor a machine that was asleep makes users
/// younger.
#[derive(Clone, Copy, Debug)]
struct Noted {
    /// In seconds since 1970-01-01 UTC; 0 if there was none.
    unix_s: u64,
    /// The uptime at which it was noted, and how old it was then, if the wall clock could tell.
    seen: Option<(Duration, Duration)>,
}

/// How old users are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    Known(Duration),
    /// They were never confirmed, or the clock was set back since: as old as can be.
    Unknown,
}

impl Confirmation {
    /// While all users are older than `suspend_after`, `suspension` is on. It is on until their age is noted, too.
    pub(crate) fn new(suspend_after: Option<Duration>, suspension: Suspension) -> Self {
        suspension.set(suspend_after.is_some());
        Self { noted: Mutex::default(), suspend_after, suspension }
    }

    /// Notes a confirmation, at a time in seconds since 1970-01-01 UTC; `None` where no program gives any.
    pub(crate) fn note(&self, unix_s: Option<u64>, now: Now) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        // The same one again says no more than when it was first seen, and that nobody knows any more makes the same
        // users no older.
        let is_new = noted.map(|noted| noted.unix_s) != unix_s && (noted.is_none() || unix_s != Some(0));
        if is_new {
            *noted = unix_s.map(|unix_s| {
                let seen = wall_age(unix_s, now).map(|age| (now.uptime, age));
                Noted { unix_s, seen }
            });
        }
    }

    /// How long ago that was; `None` where no program does that.
    pub(crate) fn age(&self, now: Now) -> Option<Age> {
        let noted = *self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.map(|noted| noted.age(now))
    }

    /// Whether nobody may log in.
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspension.is_on()
    }

    /// Suspends all users if they are too old, or else lets them log in.
    pub(crate) fn suspend_or_admit(&self, now: Now) {
        let Some(max) = self.suspend_after else { return };
        let age = self.age(now).unwrap_or(Age::Unknown);
        self.suspension.set(age.is_over(max));
    }
}

impl Noted {
    fn age(&self, now: Now) -> Age {
        let by_uptime = self.seen.map(|(uptime, age)| age + now.uptime.saturating_sub(uptime));
        by_uptime.max(wall_age(self.unix_s, now)).map_or(Age::Unknown, Age::Known)
    }
}

/// The age of a confirmation by the wall clock; `None` if there was none, or it is from the future.
fn wall_age(unix_s: u64, now: Now) -> Option<Duration> {
    let is_sound = unix_s > 0 && unix_s <= now.unix_s.saturating_add(AHEAD_MAX.as_secs());
    is_sound.then(|| Duration::from_secs(now.unix_s.saturating_sub(unix_s)))
}

impl Age {
    pub(crate) fn is_over(self, max: Duration) -> bool {
        match self {
            Self::Known(age) => age > max,
            Self::Unknown => true,
        }
    }

    /// In seconds, for those who compare numbers: since 1970, if it is not known.
    pub(crate) fn as_secs(self, now: Now) -> u64 {
        match self {
            Self::Known(age) => age.as_secs(),
            Self::Unknown => now.unix_s,
        }
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(age) => write!(f, "the users are {} s old", age.as_secs()),
            Self::Unknown => f.write_str("nobody knows how old the users are"),
        }
    }
}

/// Suspends all users while they are too old, and logs when that begins and ends, for as long as the server runs.
pub(crate) async fn follow(directory: Option<&Directory>, clock: Clock) -> Infallible {
    let Some(directory) = directory else { return pending().await };
    let mut every = interval(CHECK_INTERVAL);
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut was_suspended = false;
    loop {
        every.tick().await;
        let now = clock.now();
        directory.confirmation.suspend_or_admit(now);
        let is_suspended = directory.confirmation.is_suspended();
        if is_suspended && !was_suspended {
            let age = directory.confirmation.age(now).unwrap_or(Age::Unknown);
            error!("all logins are refused: {age} (--stale-refuse): see what letmein-sync says");
        } else if !is_suspended && was_suspended {
            info!("the users are confirmed again, and may log in");
        }
        was_suspended = is_suspended;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(uptime_s: u64, unix_s: u64) -> Now {
        Now::new(Duration::from_secs(uptime_s), unix_s)
    }

    fn known(seconds: u64) -> Option<Age> {
        Some(Age::Known(Duration::from_secs(seconds)))
    }

    fn noted(unix_s: u64, now: Now) -> Confirmation {
        let confirmation = Confirmation::new(Some(Duration::from_secs(100)), Suspension::default());
        confirmation.note(Some(unix_s), now);
        confirmation
    }

    fn is_suspended(confirmation: &Confirmation, now: Now) -> bool {
        confirmation.suspend_or_admit(now);
        confirmation.is_suspended()
    }

    #[test]
    fn users_that_nobody_keeps_have_no_age() {
        let confirmation = Confirmation::new(None, Suspension::default());
        assert_eq!(confirmation.age(at(5, 1000)), None);
        confirmation.note(Some(990), at(5, 1000));
        assert_eq!(confirmation.age(at(5, 1000)), known(10));
        confirmation.note(None, at(5, 1000));
        assert_eq!(confirmation.age(at(5, 1000)), None);
        assert!(!is_suspended(&confirmation, at(5, 1000)));
    }

    #[test]
    fn no_clock_makes_users_younger() {
        let confirmation = noted(990, at(5, 1000));
        // The wall clock is set back, first a little, then by far, and then right again.
        assert_eq!(confirmation.age(at(6, 980)), known(11));
        assert_eq!(confirmation.age(at(7, 100)), known(12));
        assert_eq!(confirmation.age(at(8, 1003)), known(13));
        // The machine slept.
        assert_eq!(confirmation.age(at(9, 5000)), known(4010));
        // While a batch is under way nobody can tell.
        confirmation.note(Some(0), at(9, 5000));
        assert_eq!(confirmation.age(at(9, 5000)), known(4010));
        // The same confirmation, seen again, is as old as it was.
        confirmation.note(Some(990), at(10, 990));
        assert_eq!(confirmation.age(at(10, 990)), known(15));
    }

    #[test]
    fn an_age_that_the_clock_cannot_tell_is_not_known() {
        for (unix_s, age) in [(0, Age::Unknown), (1061, Age::Unknown), (1060, Age::Known(Duration::ZERO))] {
            assert_eq!(noted(unix_s, at(5, 1000)).age(at(5, 1000)), Some(age), "{unix_s}");
        }
        assert_eq!(Age::Unknown.as_secs(at(5, 1000)), 1000);
        // A clock that is set right tells.
        let ahead = noted(2000, at(5, 1000));
        assert_eq!(ahead.age(at(6, 2010)), known(10));
    }

    #[test]
    fn users_that_were_not_confirmed_for_too_long_are_suspended_until_they_are() {
        assert!(Confirmation::new(Some(Duration::MAX), Suspension::default()).is_suspended());
        let confirmation = noted(1000, at(0, 1000));
        let seconds =
            [0, 100, 101, 5000].map(|seconds| is_suspended(&confirmation, at(seconds, 1000 + seconds)));
        assert_eq!(seconds, [false, false, true, true]);
        confirmation.note(Some(6000), at(5001, 6001));
        assert!(!is_suspended(&confirmation, at(5001, 6001)));
        // Nobody gains anything by a clock that is set back, neither while the server runs nor by its restart.
        assert!(is_suspended(&confirmation, at(5200, 5000)));
        assert!(is_suspended(&noted(6000, at(0, 5000)), at(0, 5000)));
        // A clock that does not know the year makes users no younger either.
        for never in [0, 6000] {
            assert!(is_suspended(&noted(never, at(0, 10)), at(0, 10)));
        }
    }
}

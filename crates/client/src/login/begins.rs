//! How often a login by OPAQUE begins at an address, where it may count as a guess each time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// After as many beginnings an address rests: through two restarts of a server there are three.
const BEGINS_MAX: u32 = 3;
/// How long it rests then. Each further beginning adds as much.
const REST: Duration = Duration::from_secs(3);
/// The longest rest: of a budget of 1,000 guesses a day, one is paid off in 86.4 s.
const REST_MAX: Duration = Duration::from_secs(90);

/// The beginnings of a login at each address.
#[derive(Default)]
pub(super) struct Begins(HashMap<SocketAddr, Begun>);

struct Begun {
    count: u32,
    rests_until: Instant,
}

impl Begins {
    /// Notes that the login begins at an address.
    pub(super) fn note(&mut self, address: SocketAddr, now: Instant) {
        let begun = self.0.entry(address).or_insert(Begun { count: 0, rests_until: now });
        begun.count += 1;
        let rests = (begun.count + 1).saturating_sub(BEGINS_MAX);
        begun.rests_until = now + REST.saturating_mul(rests).min(REST_MAX);
    }

    /// Whether an address rests, so that the login must not begin there again.
    pub(super) fn rests(&self, address: SocketAddr, now: Instant) -> bool {
        self.0.get(&address).is_some_and(|begun| now < begun.rests_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u8) -> SocketAddr {
        ([192, 0, 2, host], 8591).into()
    }

    /// Beginnings at an address in a time, as often as it lets them.
    fn begun_within(time: Duration) -> u32 {
        let (mut begins, start) = (Begins::default(), Instant::now());
        let mut count = 0;
        for tick in 0..time.as_secs() * 10 {
            let now = start + Duration::from_millis(100 * tick);
            if !begins.rests(address(1), now) {
                begins.note(address(1), now);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_login_begins_three_times_and_then_ever_less_often() {
        let seconds = [1, 3, 4, 10, 60].map(|seconds| begun_within(Duration::from_secs(seconds)));
        assert_eq!(seconds, [3, 3, 4, 5, 8]);
    }

    #[test]
    fn in_a_day_it_begins_less_often_than_guesses_of_that_day_are_paid_off() {
        let day = begun_within(Duration::from_secs(24 * 60 * 60));
        assert!((900..1000).contains(&day), "{day}");
    }

    #[test]
    fn while_an_address_rests_others_do_not() {
        let (mut begins, now) = (Begins::default(), Instant::now());
        (0..3).for_each(|_| begins.note(address(1), now));
        assert_eq!([1, 2].map(|host| begins.rests(address(host), now)), [true, false]);
    }
}

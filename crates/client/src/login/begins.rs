//! How often a login by OPAQUE begins at an address, where it may count as a guess each time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// After as many beginnings an address rests: through two restarts of a server there are three.
const BEGINS_MAX: u32 = 3;
/// How long it rests then, for each address at which the login has begun. Each further beginning adds as much.
const REST: Duration = Duration::from_secs(3);
/// The longest rest: of a budget of 1,000 guesses a day, one is paid off in 86.4 s.
const REST_MAX: Duration = Duration::from_secs(90);

/// The beginnings of a login at each address.
#[derive(Default)]
pub(super) struct Begins(HashMap<SocketAddr, Begun>);

struct Begun {
    count: u32,
    last: Instant,
}

impl Begins {
    /// Notes that the login begins at an address.
    pub(super) fn note(&mut self, address: SocketAddr, now: Instant) {
        let begun = self.0.entry(address).or_insert(Begun { count: 0, last: now });
        (begun.count, begun.last) = (begun.count + 1, now);
    }

    /// Whether an address rests, so that the login must not begin there again.
    pub(super) fn rests(&self, address: SocketAddr, now: Instant) -> bool {
        self.0.get(&address).is_some_and(|Begun { count, last }| {
            let rest = REST.saturating_mul((count + 1).saturating_sub(BEGINS_MAX)).min(REST_MAX);
            // All addresses may lead to the same user.
            now < *last + rest * self.0.len() as u32
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u8) -> SocketAddr {
        ([192, 0, 2, host], 8591).into()
    }

    /// Beginnings at so many addresses in so many pauses, as often as they let them.
    fn begun(addresses: u8, pauses: u32, pause: Duration) -> u32 {
        let (mut begins, start) = (Begins::default(), Instant::now());
        let mut count = 0;
        for number in 0..pauses {
            let now = start + pause * number;
            for address in (0..addresses).map(address) {
                if !begins.rests(address, now) {
                    begins.note(address, now);
                    count += 1;
                }
            }
        }
        count
    }

    #[test]
    fn a_login_begins_three_times_and_then_ever_less_often() {
        let begun_within = |seconds: u32| begun(1, 10 * seconds, Duration::from_millis(100));
        assert_eq!([1, 3, 4, 10, 60].map(begun_within), [3, 3, 4, 5, 8]);
    }

    #[test]
    fn in_a_day_a_login_begins_less_often_than_guesses_are_paid_off_at_however_many_addresses() {
        let within = |addresses, days: u32| begun(addresses, days * 24 * 60 * 60, Duration::from_secs(1));
        let second_day = [1, 2, 3].map(|addresses| within(addresses, 2) - within(addresses, 1));
        assert!(second_day.iter().all(|begun| (900..1000).contains(begun)), "{second_day:?}");
    }

    #[test]
    fn while_an_address_rests_others_do_not() {
        let (mut begins, now) = (Begins::default(), Instant::now());
        (0..3).for_each(|_| begins.note(address(1), now));
        assert_eq!([1, 2].map(|host| begins.rests(address(host), now)), [true, false]);
    }
}

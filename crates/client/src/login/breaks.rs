//! How often a login begins again where connections break.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// A path that breaks so many connections of a login is worn: two restarts of a server break two.
const BREAKS_MAX: u32 = 3;
/// The pause after the break that wears a path. Each further one adds as much.
const PAUSE: Duration = Duration::from_secs(3);
/// The longest pause: of a budget of 1,000 guesses a day, one is paid off in 86.4 s.
const PAUSE_MAX: Duration = Duration::from_secs(90);

/// Connections by OPAQUE that broke after a challenge, for each address. The server may have counted each as a guess at
/// the user's password.
#[derive(Default)]
pub(super) struct Breaks(HashMap<SocketAddr, u32>);

impl Breaks {
    pub(super) fn note(&mut self, address: SocketAddr) {
        *self.0.entry(address).or_default() += 1;
    }

    /// Whether the path to this address is worn.
    pub(super) fn is_worn(&self, address: SocketAddr) -> bool {
        self.0.get(&address).is_some_and(|breaks| *breaks >= BREAKS_MAX)
    }

    /// Whether the path to any is.
    pub(super) fn any_worn(&self) -> bool {
        self.0.values().any(|breaks| *breaks >= BREAKS_MAX)
    }

    /// How long to leave worn paths alone.
    pub(super) fn pause(&self) -> Duration {
        let pauses = self.0.values().map(|breaks| {
            let beyond = (breaks + 1).saturating_sub(BREAKS_MAX);
            PAUSE.saturating_mul(beyond).min(PAUSE_MAX)
        });
        pauses.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u8) -> SocketAddr {
        ([192, 0, 2, host], 8591).into()
    }

    #[test]
    fn a_path_that_breaks_for_ever_takes_fewer_guesses_than_are_paid_off_in_a_day() {
        let (mut breaks, mut time, mut begun) = (Breaks::default(), Duration::ZERO, 0);
        while time < Duration::from_secs(24 * 60 * 60) {
            breaks.note(address(1));
            begun += 1;
            time += breaks.pause();
        }
        assert!((900..1000).contains(&begun), "{begun}");
    }

    #[test]
    fn two_breaks_are_no_reason_to_pause_and_worn_paths_take_no_more_for_being_many() {
        let (mut one, mut three) = (Breaks::default(), Breaks::default());
        (0..2).for_each(|_| one.note(address(1)));
        assert!(!one.any_worn() && !one.is_worn(address(1)) && one.pause().is_zero());
        one.note(address(1));
        (0..9).for_each(|number| three.note(address(number % 3)));
        assert!(one.is_worn(address(1)) && !one.is_worn(address(2)) && one.any_worn());
        assert_eq!([one.pause(), three.pause()], [3, 9].map(Duration::from_secs));
    }
}

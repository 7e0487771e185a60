//! Blocks in the log: a line when one begins, and one when it ends.

use std::convert::Infallible;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::interval;
use tracing::{info, warn};

use super::unix_time;
use crate::auth::Now;

/// Blocks that are followed at a time. The rest are counted, so that an attacker with many addresses does not fill the log.
const FOLLOWED_MAX: usize = 64;
/// Those of addresses and unknown names leave the rest to users.
const OTHERS_MAX: usize = 48;
/// How often ends are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Who is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    User,
    Other,
}

/// Blocks in force. A worker takes the lock only when a block begins.
#[derive(Default)]
pub(crate) struct BlockLog(Mutex<State>);

#[derive(Default)]
struct State {
    /// Each with the uptime of its end.
    followed: Vec<(String, Duration)>,
    unlogged: u64,
}

impl BlockLog {
    /// Logs that somebody is blocked until an uptime.
    pub(super) fn begin(&self, now: Now, followed: Followed, blocked: String, end: Duration) {
        // The last second counts, though it is a part of one.
        let left_s = end.saturating_sub(now.uptime).as_secs_f64().ceil() as u64;
        let until = unix_time(now.unix_s + left_s);
        let line = format!("{blocked} is blocked for {left_s} s, until {until}: too many failed logins");
        if self.state().begin(followed, blocked, end) {
            warn!("{line}");
        }
    }

    /// Logs which blocks are over, for as long as the server runs.
    pub(crate) async fn follow(&self, uptime: impl Fn() -> Duration) -> Infallible {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            let (ended, unlogged) = self.state().end(uptime());
            for blocked in ended {
                info!("{blocked} is no longer blocked");
            }
            if unlogged > 0 {
                warn!("{unlogged} more addresses and names were blocked; --http counts them");
            }
        }
    }

    /// All blocks were lifted.
    pub(crate) fn lift(&self) {
        self.state().followed.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the block is to be logged.
    fn begin(&mut self, followed: Followed, blocked: String, end: Duration) -> bool {
        // Blocked again before the end of the last block was seen.
        if let Some((_, last_end)) = self.followed.iter_mut().find(|(other, _)| *other == blocked) {
            *last_end = end;
            return true;
        }
        let max = match followed {
            Followed::User => FOLLOWED_MAX,
            Followed::Other => OTHERS_MAX,
        };
        let has_room = self.followed.len() < max;
        if has_room {
            self.followed.push((blocked, end));
        } else {
            self.unlogged += 1;
        }
        has_room
    }

    /// The blocks that are over, and how many began that were not logged.
    fn end(&mut self, uptime: Duration) -> (Vec<String>, u64) {
        let ended =
            self.followed.extract_if(.., |(_, end)| uptime >= *end).map(|(blocked, _)| blocked).collect();
        (ended, mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn a_block_that_is_renewed_before_its_end_was_seen_ends_once() {
        let mut state = State::default();
        assert!(state.begin(Followed::Other, "192.0.2.1".into(), at(15)));
        assert!(state.begin(Followed::Other, "192.0.2.1".into(), at(45)));
        assert_eq!(state.end(at(16)), (vec![], 0));
        assert_eq!(state.end(at(45)), (vec!["192.0.2.1".into()], 0));
        assert_eq!(state.end(at(46)), (vec![], 0));
    }

    #[test]
    fn many_addresses_hide_no_user_and_what_is_not_logged_is_counted_once() {
        let mut state = State::default();
        let logged = (0..100).filter(|host| state.begin(Followed::Other, format!("192.0.2.{host}"), at(15)));
        assert_eq!(logged.count(), OTHERS_MAX);
        assert!(state.begin(Followed::User, "user alice".into(), at(20)));
        let (ended, unlogged) = state.end(at(15));
        assert_eq!((ended.len(), unlogged), (OTHERS_MAX, 52));
        assert_eq!(state.end(at(20)), (vec!["user alice".into()], 0));
    }
}

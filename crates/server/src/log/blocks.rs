//! Blocks in the log: a line when one begins, and one when it ends.

use std::convert::Infallible;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::interval;
use tracing::{info, warn};

use super::unix_time;
use proto::Now;
use proto::shown::Shown;
use proto::users::Users;

/// Blocks that are followed at a time. The rest are counted, so that an attacker with many addresses does not fill the
/// log.
const FOLLOWED_MAX: usize = 64;
/// Blocks of addresses and unknown names that are followed. The rest is for users.
const OTHERS_MAX: usize = 48;
/// How often the log is brought up to date.
const INTERVAL: Duration = Duration::from_secs(1);

/// The kind of a blocked party.
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
    followed: Vec<Block>,
    unlogged: u64,
}

struct Block {
    blocked: String,
    /// The uptime at which it ends.
    end: Duration,
    /// The line about its beginning, until it is logged.
    line: Option<String>,
}

struct BlockChanges {
    begun: Vec<String>,
    ended: Vec<String>,
    unlogged: u64,
}

impl BlockLog {
    /// Notes a block that ends at an uptime. Another thread logs it later, so that the time of the answer does not tell
    /// who is blocked.
    pub(super) fn begin(&self, now: Now, followed: Followed, blocked: String, end: Duration) {
        // A part of a second counts as one.
        let left_s = end.saturating_sub(now.uptime).as_secs_f64().ceil() as u64;
        let until = unix_time(now.unix_s + left_s);
        let line = format!("{blocked} is blocked for {left_s} s, until {until}: too many failed logins");
        self.state().begin(followed, Block { blocked, end, line: Some(line) });
    }

    /// Notes blocks that began because of failures at other nodes. Those of names that nobody has are logged there.
    pub(crate) fn begin_elsewhere(&self, now: Now, users: &Users, blocked: &[(String, Duration)]) {
        for (name, end) in blocked.iter().filter(|(name, _)| users.contains(name)) {
            self.begin(now, Followed::User, format!("user {}", Shown(name.as_bytes())), *end);
        }
    }

    /// Logs the blocks that have begun or ended, for as long as the server runs.
    pub(crate) async fn follow(&self, uptime: impl Fn() -> Duration) -> Infallible {
        let mut ticks = interval(INTERVAL);
        loop {
            ticks.tick().await;
            let BlockChanges { begun, ended, unlogged } = self.state().changes(uptime());
            for line in begun {
                warn!("{line}");
            }
            for blocked in ended {
                info!("{blocked} is no longer blocked");
            }
            if unlogged > 0 {
                warn!(
                    "{unlogged} more addresses and names were blocked; the status page (--http) counts them"
                );
            }
        }
    }

    /// Forgets all blocks, because they were lifted.
    pub(crate) fn lift(&self) {
        self.state().followed.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, followed: Followed, block: Block) {
        // The party is blocked again before the end of its last block was logged.
        if let Some(last) = self.followed.iter_mut().find(|last| last.blocked == block.blocked) {
            *last = block;
            return;
        }
        let max = match followed {
            Followed::User => FOLLOWED_MAX,
            Followed::Other => OTHERS_MAX,
        };
        if self.followed.len() < max {
            self.followed.push(block);
        } else {
            self.unlogged += 1;
        }
    }

    /// The changes since the last call.
    fn changes(&mut self, uptime: Duration) -> BlockChanges {
        let begun = self.followed.iter_mut().filter_map(|block| block.line.take()).collect();
        let ended = self.followed.extract_if(.., |block| uptime >= block.end);
        let ended = ended.map(|block| block.blocked).collect();
        BlockChanges { begun, ended, unlogged: mem::take(&mut self.unlogged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(blocked: &str, end_s: u64) -> Block {
        let line = Some(format!("{blocked} until {end_s}"));
        Block { blocked: blocked.to_owned(), end: Duration::from_secs(end_s), line }
    }

    /// The numbers of lines about beginnings and ends, and of blocks that were not followed.
    fn changes(state: &mut State, second: u64) -> (usize, Vec<String>, u64) {
        let BlockChanges { begun, ended, unlogged } = state.changes(Duration::from_secs(second));
        (begun.len(), ended, unlogged)
    }

    #[test]
    fn a_block_that_is_renewed_before_its_end_was_seen_ends_once() {
        let mut state = State::default();
        state.begin(Followed::Other, block("192.0.2.1", 15));
        assert_eq!(changes(&mut state, 1), (1, vec![], 0));
        state.begin(Followed::Other, block("192.0.2.1", 45));
        assert_eq!(changes(&mut state, 16), (1, vec![], 0));
        assert_eq!(changes(&mut state, 45), (0, vec!["192.0.2.1".to_owned()], 0));
        assert_eq!(changes(&mut state, 46), (0, vec![], 0));
    }

    #[test]
    fn many_addresses_hide_no_user_and_what_is_not_logged_is_counted_once() {
        let mut state = State::default();
        (0..100).for_each(|host| state.begin(Followed::Other, block(&format!("192.0.2.{host}"), 15)));
        state.begin(Followed::User, block("user alice", 20));
        assert_eq!(changes(&mut state, 1), (OTHERS_MAX + 1, vec![], 52));
        assert_eq!(changes(&mut state, 15).1.len(), OTHERS_MAX);
        assert_eq!(changes(&mut state, 20), (0, vec!["user alice".to_owned()], 0));
    }
}

//! Blocks in the log: a line when one begins, and one when it ends.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::interval;
use tracing::{info, warn};

use super::unix_time;
use crate::auth::Now;

/// Blocks that are followed at a time. The rest are counted, so that whoever has many addresses does not fill the log.
const FOLLOWED: usize = 64;
/// How often ends are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Blocks under way. The lock is taken by a worker only when a block begins.
#[derive(Default)]
pub(crate) struct BlockLog(Mutex<State>);

#[derive(Default)]
struct State {
    followed: Vec<(String, Duration)>,
    unlogged: u64,
}

impl BlockLog {
    /// Says that somebody is blocked until an uptime.
    pub(super) fn begin(&self, now: Now, blocked: fmt::Arguments<'_>, end: Duration) {
        let mut state = self.state();
        if state.followed.len() == FOLLOWED {
            state.unlogged += 1;
            return;
        }
        // It is counted in fractions of a second, of which the last is not over yet.
        let left_s = end.saturating_sub(now.uptime).as_secs_f64().ceil() as u64;
        let until = unix_time(now.unix_s + left_s);
        warn!("{blocked} is blocked for {left_s} s, until {until}: too many failed logins");
        state.followed.push((blocked.to_string(), end));
    }

    /// Says which blocks are over, for as long as the server runs.
    pub(crate) async fn follow(&self, uptime: impl Fn() -> Duration) -> Infallible {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            self.end(uptime());
        }
    }

    /// All blocks were lifted.
    pub(crate) fn lift(&self) {
        self.state().followed.clear();
    }

    fn end(&self, uptime: Duration) {
        let mut state = self.state();
        state.followed.retain(|(blocked, end)| {
            let is_over = uptime >= *end;
            if is_over {
                info!("{blocked} is no longer blocked");
            }
            !is_over
        });
        let unlogged = std::mem::take(&mut state.unlogged);
        if unlogged > 0 {
            warn!(
                "{unlogged} more sources and users were blocked: --http counts them, and --audit names them"
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

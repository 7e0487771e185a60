//! A running server as those see it who watch it: numbers, and nobody's name or address.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval};

use crate::net::clock::Clock;
use crate::net::connections::Connections;
use crate::report::audit::Losses;
use crate::settings::Reasons;
use crate::tally::{self, Outcome, Tally, Turns, Verdicts};
use proto::Now;
use proto::server::penalty::{Failures, Fill, Penalties};
use proto::transport::Transport;
use proto::users::Users;

/// What a step of the history is for.
pub(crate) const HISTORY_STEP: Duration = Duration::from_secs(10);
/// An hour of them.
const HISTORY_LEN: usize = 360;
/// How often workers are looked at. They make ten turns a second and more.
const LOOK: Duration = Duration::from_secs(1);
/// So many looks without a turn, and a worker is stuck.
const LOOKS_MAX: u32 = 10;

/// A running server.
pub(crate) struct Watched {
    /// The name of the program.
    pub(crate) server: &'static str,
    /// Where it serves: the door that the program is named after, then the others.
    pub(crate) doors: Vec<(Transport, SocketAddr)>,
    /// Whether those who watch are told why logins were refused.
    pub(crate) reasons: Reasons,
    pub(crate) tallies: Vec<Arc<Tally>>,
    pub(crate) users: Arc<ArcSwap<Users>>,
    pub(crate) reloads: Arc<Reloads>,
    pub(crate) penalties: Option<Arc<Penalties>>,
    pub(crate) open: Option<Connections>,
    /// Of the audit, if there is one.
    pub(crate) losses: Option<Losses>,
    pub(crate) clock: Clock,
    pub(crate) started_unix_s: u64,
    pub(crate) is_stopping: AtomicBool,
    pub(crate) looks: Mutex<Looks>,
}

/// How many are blocked, and for how long the first of them has been.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocked {
    pub(crate) count: u64,
    pub(crate) longest: Duration,
}

/// What was seen of the server by and by. The lock is the main thread's alone; no worker waits for it.
#[derive(Default)]
pub(crate) struct Looks {
    /// What was new in each step.
    history: VecDeque<Verdicts>,
    /// The totals at the end of the last step.
    before: Verdicts,
    turns: Turns,
    /// Counting takes a while, so it is done once a look at most.
    failures: Failures,
}

impl Watched {
    pub(crate) fn uptime(&self) -> Duration {
        self.clock.now().uptime
    }

    /// Of all workers.
    pub(crate) fn outcome(&self, outcome: Outcome) -> u64 {
        tally::total(&self.tallies, outcome)
    }

    pub(crate) fn verdicts(&self) -> Verdicts {
        Verdicts::of(&self.tallies)
    }

    pub(crate) fn sum(&self, number: impl Fn(&Tally) -> u64) -> u64 {
        self.tallies.iter().map(|tally| number(tally)).sum()
    }

    /// Whether a door of this transport is open.
    pub(crate) fn serves(&self, transport: Transport) -> bool {
        self.doors.iter().any(|(other, _)| *other == transport)
    }

    /// Connections that are open, and how many may be.
    pub(crate) fn connections(&self) -> Option<(usize, usize)> {
        self.open.as_ref().map(Connections::used)
    }

    /// Blocks that were in force at the last look, by the tables of failures.
    pub(crate) fn blocks(&self) -> Vec<(&'static str, Blocked)> {
        let (uptime, failures) = (self.uptime(), self.looks().failures);
        let blocked = |fill: Fill| Blocked {
            count: fill.blocked,
            longest: fill.since.map(|since| uptime.saturating_sub(since)).unwrap_or_default(),
        };
        let tables = [failures.of_sources(), failures.of_names()].concat();
        tables.into_iter().map(|(name, fill)| (name, blocked(fill))).collect()
    }

    /// Refusals by their reason, where that is told.
    pub(crate) fn refusals(&self) -> Option<[(&'static str, u64); 5]> {
        (self.reasons == Reasons::Told)
            .then(|| Outcome::REFUSALS.map(|(reason, refusal)| (reason, self.outcome(refusal))))
    }

    /// Audit lines that there are not, by why, if there is an audit. Refusals of a right password have a limit of their
    /// own, so what it leaves out would tell them from others.
    pub(crate) fn dropped_lines(&self) -> Option<Vec<(&'static str, u64)>> {
        let (lost, left_out) = self.losses.as_ref()?.totals();
        Some(match self.reasons {
            Reasons::Kept => vec![("lost", lost)],
            Reasons::Told => vec![("lost", lost), ("limit", left_out)],
        })
    }

    /// How full the tables of failures were. Those of names tell by their growth who has logged in from where.
    pub(crate) fn fills(&self) -> Vec<(&'static str, Fill)> {
        let failures = self.looks().failures;
        let mut fills = failures.of_sources().to_vec();
        if self.reasons == Reasons::Told {
            fills.extend(failures.of_names());
        }
        fills
    }

    /// The last hour at most, oldest first.
    pub(crate) fn history(&self) -> Vec<Verdicts> {
        self.looks().history.iter().copied().collect()
    }

    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Whether the server serves; else why not.
    pub(crate) fn health(&self) -> Result<(), &'static str> {
        if self.is_stopping() {
            return Err("stopping");
        }
        let is_stuck = self.looks().turns.longest_rest() >= LOOKS_MAX;
        if is_stuck { Err("a worker is stuck: restart the server") } else { Ok(()) }
    }

    /// Looks at the server once a second, for as long as it runs.
    pub(crate) async fn look(&self) -> Infallible {
        let mut every = interval(LOOK);
        every.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let steps = HISTORY_STEP.as_secs();
        let mut next_step_s = steps;
        loop {
            every.tick().await;
            let uptime = self.uptime();
            let mut looks = self.looks();
            looks.failures = self.penalties.as_ref().map(|all| all.count(uptime)).unwrap_or_default();
            looks.turns.look(&self.tallies);
            if uptime.as_secs() >= next_step_s {
                looks.end_step(self.verdicts());
                next_step_s = (uptime.as_secs() / steps + 1) * steps;
            }
        }
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Looks {
    fn end_step(&mut self, total: Verdicts) {
        if self.history.len() == HISTORY_LEN {
            self.history.pop_front();
        }
        self.history.push_back(total.since(self.before));
        self.before = total;
    }
}

/// What came of reading the users file again. The lock is the main thread's alone.
#[derive(Default)]
pub(crate) struct Reloads(Mutex<Reloaded>);

/// So far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reloaded {
    pub(crate) successes: u64,
    pub(crate) failures: u64,
    pub(crate) last: Option<LastReload>,
}

/// The last time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastReload {
    pub(crate) at: Now,
    pub(crate) is_ok: bool,
}

impl Reloads {
    pub(crate) fn note(&self, at: Now, is_ok: bool) {
        let mut reloaded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = if is_ok { &mut reloaded.successes } else { &mut reloaded.failures };
        *count += 1;
        reloaded.last = Some(LastReload { at, is_ok });
    }

    pub(crate) fn so_far(&self) -> Reloaded {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_has_what_was_new_in_each_step_of_the_last_hour() {
        let mut looks = Looks::default();
        for number in 1..=HISTORY_LEN as u64 + 5 {
            looks.end_step(Verdicts { welcomed: 2 * number, refused: number * number });
        }
        assert_eq!(looks.history.len(), HISTORY_LEN);
        assert_eq!(looks.history.front(), Some(&Verdicts { welcomed: 2, refused: 11 }));
        assert_eq!(looks.history.back(), Some(&Verdicts { welcomed: 2, refused: 729 }));
    }
}

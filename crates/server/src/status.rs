//! The status of a running server: numbers, without names or addresses of users.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::age::Age;
use crate::cluster::{self, NotShared};
use crate::counters::{self, Counters, MessageOutcome, StallWatch, Verdicts};
use crate::directory::Directory;
use crate::log::audit::Losses;
use crate::net::address::{Address, SocketKind};
use crate::net::clock::Clock;
use crate::settings::Reasons;
use proto::server::penalty::{Failures, Fill};
use proto::transport::Transport;

/// The time that a step of the history covers.
pub(crate) const HISTORY_STEP: Duration = Duration::from_secs(10);
/// An hour of them.
const HISTORY_LEN: usize = 360;
/// How often the status is sampled. The loop of a worker makes ten iterations in this time, or more.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// After this many samples without an iteration a worker counts as stuck.
const STALL_MAX: u32 = 10;

/// The counters and tables that the status is read from.
pub(crate) struct Status {
    /// The name of the program.
    pub(crate) server: &'static str,
    /// The doors: first the one that the program is named after, then the others.
    pub(crate) doors: Vec<(SocketKind, Address)>,
    /// Whether the status shows why logins were refused.
    pub(crate) reasons: Reasons,
    /// How old users may be that another program keeps up to date.
    pub(crate) stale_after: Duration,
    pub(crate) counters: Vec<Arc<Counters>>,
    pub(crate) directory: Arc<Directory>,
    /// The lost lines of the audit, if there is one.
    pub(crate) losses: Option<Losses>,
    pub(crate) clock: Clock,
    pub(crate) started_unix_s: u64,
    pub(crate) is_stopping: AtomicBool,
    pub(crate) samples: Mutex<Sampled>,
}

/// Sources or names that are blocked, and how long the first of them has been.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocked {
    pub(crate) count: u64,
    pub(crate) longest: Duration,
}

/// What the samples, one a second, have recorded. Only the main thread takes the lock, so no worker waits for it.
#[derive(Default)]
pub(crate) struct Sampled {
    /// The new verdicts of each step.
    history: VecDeque<Verdicts>,
    /// The totals at the end of the last step.
    before: Verdicts,
    progress: StallWatch,
    /// Counting takes a while, so each sample does it once.
    failures: Failures,
}

impl Status {
    pub(crate) fn uptime(&self) -> Duration {
        self.clock.now().uptime
    }

    /// The messages of all workers that had an outcome.
    pub(crate) fn outcome(&self, outcome: MessageOutcome) -> u64 {
        counters::total(&self.counters, outcome)
    }

    pub(crate) fn verdicts(&self) -> Verdicts {
        Verdicts::of(&self.counters)
    }

    pub(crate) fn sum(&self, number: impl Fn(&Counters) -> u64) -> u64 {
        self.counters.iter().map(|counters| number(counters)).sum()
    }

    /// Whether a door of this transport is open.
    pub(crate) fn serves(&self, transport: Transport) -> bool {
        self.doors.iter().any(|(kind, _)| kind.transport() == transport)
    }

    /// Connections that are open, and how many may be, if there is a door for them.
    pub(crate) fn connections(&self) -> Option<(usize, usize)> {
        self.serves(Transport::Tcp).then(|| self.directory.connections.used())
    }

    /// Blocks that were in force at the last sample, by the tables of failures.
    pub(crate) fn blocks(&self) -> Vec<(&'static str, Blocked)> {
        let (uptime, failures) = (self.uptime(), self.samples().failures);
        let blocked = |fill: Fill| Blocked {
            count: fill.blocked,
            longest: fill.since.map(|since| uptime.saturating_sub(since)).unwrap_or_default(),
        };
        let tables = [failures.of_sources(), failures.of_names()].concat();
        tables.into_iter().map(|(name, fill)| (name, blocked(fill))).collect()
    }

    /// Refusals by their reason, if the status shows reasons.
    pub(crate) fn refusals(&self) -> Option<[(&'static str, u64); MessageOutcome::REFUSALS.len()]> {
        (self.reasons == Reasons::Shown)
            .then(|| MessageOutcome::REFUSALS.map(|(reason, refusal)| (reason, self.outcome(refusal))))
    }

    /// Dropped audit lines by their reason, if there is an audit. Lines over the limit are left out with the reasons:
    /// refusals of a right password have a limit of their own, so the number would tell them from others.
    pub(crate) fn dropped_lines(&self) -> Option<Vec<(&'static str, u64)>> {
        let (lost, left_out) = self.losses.as_ref()?.totals();
        Some(match self.reasons {
            Reasons::Hidden => vec![("lost", lost)],
            Reasons::Shown => vec![("lost", lost), ("limit", left_out)],
        })
    }

    /// How full the tables of failures were at the last sample. The growth of those for names shows who has logged in
    /// from where, so they are left out with the reasons.
    pub(crate) fn fills(&self) -> Vec<(&'static str, Fill)> {
        let failures = self.samples().failures;
        let mut fills = failures.of_sources().to_vec();
        if self.reasons == Reasons::Shown {
            fills.extend(failures.of_names());
        }
        fills
    }

    /// The steps of the last hour, oldest first.
    pub(crate) fn history(&self) -> Vec<Verdicts> {
        self.samples().history.iter().copied().collect()
    }

    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// # Errors
    /// Why the server does not serve.
    pub(crate) fn health(&self) -> Result<(), String> {
        if self.is_stopping() {
            return Err("stopping".to_owned());
        }
        self.liveness()?;
        if let Some((age, _)) = self.users_age() {
            let old = format!("{age}: see what letmein-sync says");
            if self.are_users_suspended() {
                return Err(format!("all logins are refused: {old}"));
            } else if age.is_over(self.stale_after) {
                return Err(old);
            }
        }
        match self.cluster() {
            // A server whose keys are not active yet is as good as the others, which have the same ones.
            Some(Err(reason @ NotShared::SetBack)) => Err(reason.to_string()),
            Some(Ok(()) | Err(NotShared::TooEarly)) | None => Ok(()),
        }
    }

    /// # Errors
    /// Why the server is to be started anew.
    pub(crate) fn liveness(&self) -> Result<(), String> {
        let is_stuck = self.samples().progress.longest_stall() >= STALL_MAX;
        if is_stuck { Err("a worker is stuck: restart the server".to_owned()) } else { Ok(()) }
    }

    /// How old the users are, also in seconds; `None` where no program keeps them up to date.
    pub(crate) fn users_age(&self) -> Option<(Age, u64)> {
        let now = self.clock.now();
        self.directory.confirmation.age(now).map(|age| (age, age.as_secs(now)))
    }

    /// Whether nobody may log in, since the users are too old.
    pub(crate) fn are_users_suspended(&self) -> bool {
        self.directory.confirmation.is_suspended()
    }

    /// Whether the servers of a cluster share keys now; `None` without such keys.
    pub(crate) fn cluster(&self) -> Option<Result<(), NotShared>> {
        cluster::state(&self.directory.users.load(), self.clock.now())
    }

    /// Samples the server once a second, for as long as it runs.
    pub(crate) async fn sample(&self) -> Infallible {
        let mut every = interval(SAMPLE_INTERVAL);
        every.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let steps = HISTORY_STEP.as_secs();
        let mut next_step_s = steps;
        loop {
            every.tick().await;
            let uptime = self.uptime();
            let mut samples = self.samples();
            samples.failures = self.directory.penalties.count(uptime);
            samples.progress.check(&self.counters);
            if uptime.as_secs() >= next_step_s {
                samples.end_step(self.verdicts());
                next_step_s = (uptime.as_secs() / steps + 1) * steps;
            }
        }
    }

    fn samples(&self) -> MutexGuard<'_, Sampled> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sampled {
    fn end_step(&mut self, total: Verdicts) {
        if self.history.len() == HISTORY_LEN {
            self.history.pop_front();
        }
        self.history.push_back(total.since(self.before));
        self.before = total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_has_the_new_verdicts_of_each_step_of_the_last_hour() {
        let mut samples = Sampled::default();
        for number in 1..=HISTORY_LEN as u64 + 5 {
            samples.end_step(Verdicts { welcomed: 2 * number, refused: number * number });
        }
        assert_eq!(samples.history.len(), HISTORY_LEN);
        assert_eq!(samples.history.front(), Some(&Verdicts { welcomed: 2, refused: 11 }));
        assert_eq!(samples.history.back(), Some(&Verdicts { welcomed: 2, refused: 729 }));
    }
}

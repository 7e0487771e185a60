//! The clock of a server, and the request to stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::net::connections::Connections;
use proto::Now;
use proto::server::keyring::SKEW_TICKS;

/// Logins in progress have this long to end once a server stops.
pub const DRAIN: Duration = Duration::from_secs(2);

/// The latest second since 1970 that the wall clock of this process has shown.
static LATEST: AtomicU64 = AtomicU64::new(0);

/// The clock of a server. The protocol reads no clock; it is given the time.
#[derive(Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts a clock at an uptime of zero.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// The uptime, and the wall clock in seconds since 1970.
    #[must_use]
    pub fn now(self) -> Now {
        // No user expires while the wall clock is before 1970.
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Now { uptime: self.started.elapsed(), unix_s, cluster_s: cluster_second(&LATEST, unix_s) }
    }
}

/// The wall clock as servers that share keys tolerate it: it stays at the latest second while it is a little behind
/// that. `None` if it is further behind.
fn cluster_second(latest: &AtomicU64, unix_s: u64) -> Option<u64> {
    let before = latest.load(Ordering::Relaxed);
    // It is written once a second, so the workers can share it.
    let before = if unix_s > before { latest.fetch_max(unix_s, Ordering::Relaxed) } else { before };
    let latest = before.max(unix_s);
    (latest - unix_s <= SKEW_TICKS).then_some(latest)
}

/// Requests the workers to stop when dropped.
pub type StopSender = watch::Sender<()>;

/// The receiving end of a [`StopSender`], for one worker.
#[derive(Clone)]
pub struct Stop {
    sign: watch::Receiver<()>,
    /// Connections that have to end first.
    first: Option<Connections>,
}

impl Stop {
    /// A sender, and a receiver to clone for each worker.
    #[must_use]
    pub fn new() -> (StopSender, Self) {
        let (sender, receiver) = watch::channel(());
        (sender, Self { sign: receiver, first: None })
    }

    /// The same, once these connections have ended: the server is there until then, so nobody else answers datagrams.
    pub(crate) fn after(self, connections: Connections) -> Self {
        Self { first: Some(connections), ..self }
    }

    /// Without a lock until it is given: to be asked for every batch.
    pub fn is_requested(&self) -> bool {
        let have_ended = || self.first.as_ref().is_none_or(|connections| connections.used().0 == 0);
        self.sign.has_changed().is_err() && have_ended()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_of_a_cluster_never_goes_back_and_is_unknown_while_the_clock_is_too_far_behind() {
        let latest = AtomicU64::new(0);
        let shown = [1000, 1001, 1000, 999, 998, 1000, 1002, 2000, 1002, 1997, 1998, 2001];
        let seconds = shown.map(|unix_s| cluster_second(&latest, unix_s));
        let some = Some;
        assert_eq!(
            seconds,
            [
                some(1000),
                some(1001),
                some(1001),
                some(1001),
                None,
                some(1001),
                some(1002),
                some(2000),
                None,
                None,
                some(2000),
                some(2001)
            ]
        );
    }
}

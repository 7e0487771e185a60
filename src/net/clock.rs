//! The time of a server, and the sign to stop.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use proto::Now;

/// How long logins in progress may take to end, once a server is to stop.
pub(crate) const DRAIN: Duration = Duration::from_secs(2);

/// The clock of a server: the exchange itself reads none.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        // A wall clock before 1970 expires nobody.
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Now { uptime: self.started.elapsed(), unix_s }
    }
}

/// Tells the workers to stop, when it is dropped.
pub(crate) type StopSender = watch::Sender<()>;

/// A worker's view of it.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<()>);

impl Stop {
    pub(crate) fn new() -> (StopSender, Self) {
        let (sender, receiver) = watch::channel(());
        (sender, Self(receiver))
    }

    /// Without a lock: to be asked for every batch.
    pub(crate) fn is_requested(&self) -> bool {
        self.0.has_changed().is_err()
    }
}

//! The time of a server, and the sign to stop.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use proto::Now;

/// How long logins in progress may take to end, once a server is to stop.
pub const DRAIN: Duration = Duration::from_secs(2);

/// The clock of a server: the exchange itself reads none.
#[derive(Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock whose uptime begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// The time.
    #[must_use]
    pub fn now(self) -> Now {
        // A wall clock before 1970 expires nobody.
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Now { uptime: self.started.elapsed(), unix_s }
    }
}

/// Tells the workers to stop, when it is dropped.
pub type StopSender = watch::Sender<()>;

/// A worker's view of it.
#[derive(Clone)]
pub struct Stop(watch::Receiver<()>);

impl Stop {
    /// A sign, and what gives it when it is dropped.
    #[must_use]
    pub fn new() -> (StopSender, Self) {
        let (sender, receiver) = watch::channel(());
        (sender, Self(receiver))
    }

    /// Without a lock: to be asked for every batch.
    pub fn is_requested(&self) -> bool {
        self.0.has_changed().is_err()
    }
}

//! The clock of a server, and the request to stop.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::net::connections::Connections;
use proto::Now;

/// Logins in progress have this long to end once a server stops.
pub const DRAIN: Duration = Duration::from_secs(2);

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
        Now { uptime: self.started.elapsed(), unix_s }
    }
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

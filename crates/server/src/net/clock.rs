//! The time of a server, and the sign to stop.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::net::connections::Connections;
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
pub struct Stop {
    sign: watch::Receiver<()>,
    /// Connections that have to end first.
    first: Option<Connections>,
}

impl Stop {
    /// A sign, and what gives it when it is dropped.
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

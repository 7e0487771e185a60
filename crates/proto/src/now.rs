//! The time, as the caller has read it.

use std::time::Duration;

/// The time of all messages in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The time since the server started, by a monotonic clock: for challenges and penalties.
    pub uptime: Duration,
    /// Seconds since 1970-01-01 UTC: for the expiry of users.
    pub unix_s: u64,
    /// The same, but never going back: for what is good at all servers that share keys. `None` while the clock is
    /// behind what it was by more than they tolerate; then a server uses keys of its own.
    pub cluster_s: Option<u64>,
}

impl Now {
    /// This time, by a clock that was never set back.
    #[must_use]
    pub const fn new(uptime: Duration, unix_s: u64) -> Self {
        Self { uptime, unix_s, cluster_s: Some(unix_s) }
    }
}

//! The time, as the caller has read it.

use std::time::Duration;

/// The time of all messages in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The time since the server started, by a monotonic clock: for challenges and penalties.
    pub uptime: Duration,
    /// Seconds since 1970-01-01 UTC: for the expiry of users.
    pub unix_s: u64,
}

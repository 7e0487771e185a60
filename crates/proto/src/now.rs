//! The time.

use std::time::Duration;

/// The time, as the caller read it, of everything in one batch of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the server started, by a clock that never goes back: the age of challenges.
    pub uptime: Duration,
    /// Seconds since 1970-01-01 UTC: the expiry of users.
    pub unix_s: u64,
}

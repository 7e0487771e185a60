//! The times at which a datagram is sent again.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// The wait for a reply before the first resend; each further wait is half as long again.
pub const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait before a resend.
pub const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The largest random change of a wait, as a fraction of it, so that clients do not resend in step.
const JITTER: f64 = 0.1;

/// The waits for replies, one message after the other.
pub struct Backoff {
    waited: Option<Duration>,
    random: SmallRng,
}

impl Backoff {
    /// Starts with the first wait. The seed is for the jitter.
    pub fn new(seed: u64) -> Self {
        Self { waited: None, random: SmallRng::seed_from_u64(seed) }
    }

    /// Starts again with the first wait, for another message.
    pub fn restart(&mut self) {
        self.waited = None;
    }

    /// The last wait, without its jitter; `None` before the first.
    pub fn waited(&self) -> Option<Duration> {
        self.waited
    }

    /// The next wait: half as long again as the last, up to [`LONGEST_WAIT`], with jitter.
    pub fn wait(&mut self) -> Duration {
        let wait = self.waited.map_or(FIRST_WAIT, |waited| LONGEST_WAIT.min(waited * 3 / 2));
        self.waited = Some(wait);
        wait.mul_f64(self.random.random_range(1.0 - JITTER..=1.0 + JITTER))
    }
}

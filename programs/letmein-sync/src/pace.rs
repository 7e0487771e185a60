//! When the database is asked again: once a second, and after failures less and less often.

use std::time::Duration;

use rand::RngExt;
use tokio::time::sleep;

/// How often the database is asked, give or take a tenth.
const POLL: Duration = Duration::from_secs(1);
/// The wait after a failure; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait of what follows the database.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The waits between questions. They differ by chance, so that nodes do not ask all at once.
pub(crate) struct Pace {
    after_failure: Duration,
    longest: Duration,
}

impl Pace {
    /// After failures it waits no longer than this.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self { after_failure: FIRST_WAIT, longest }
    }

    /// Waits after an answer.
    pub(crate) async fn wait_after_success(&mut self) {
        self.after_failure = FIRST_WAIT;
        sleep(POLL.mul_f64(rand::rng().random_range(0.9..1.1))).await;
    }

    /// Waits after a failure.
    pub(crate) async fn wait_after_failure(&mut self) {
        let wait = self.after_failure;
        self.after_failure = (wait * 2).min(self.longest);
        sleep(wait.mul_f64(rand::rng().random_range(0.5..1.0))).await;
    }
}

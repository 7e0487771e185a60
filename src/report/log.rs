//! The log on standard error, and what bounds it.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::budget::Budget;

/// From here on all log lines go to standard error.
pub(crate) fn log_to_stderr(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_writer(BoundedLog::new())
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // It would panic where standard error is gone.
        .log_internal_errors(false)
        .with_max_level(level)
        .init();
}

/// Standard error, for so many log lines a second: whoever sends much fills no disk. The rest is counted.
struct BoundedLog {
    started: Instant,
    budget: Mutex<Budget>,
}

/// Log lines of a second.
pub(crate) const LOG_LINES: u32 = 1000;

impl BoundedLog {
    #[expect(
        clippy::disallowed_methods,
        reason = "what bounds the log is a clock, which decides nothing else"
    )]
    fn new() -> Self {
        Self { started: Instant::now(), budget: Mutex::new(Budget::of(LOG_LINES)) }
    }
}

impl MakeWriter<'_> for BoundedLog {
    type Writer = Box<dyn Write>;

    fn make_writer(&self) -> Self::Writer {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = budget.settle(self.started.elapsed());
        if left_out > 0 {
            // Whoever does not read the log any more is no reason to stop.
            let _ = writeln!(io::stderr(), "{left_out} log lines left out");
        }
        if budget.admits_one() { Box::new(io::stderr()) } else { Box::new(io::sink()) }
    }
}

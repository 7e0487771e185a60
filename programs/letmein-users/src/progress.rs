//! A line that tells how far a long change is, for somebody who waits at a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::PROGRAM;

/// What is done sooner needs no line.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time between two lines.
const PACE: Duration = Duration::from_millis(100);
/// Characters of the bar.
const BAR_LEN: usize = 30;

/// A bar on standard error, if that is a terminal. It is wiped when dropped.
pub(crate) struct Progress {
    total: usize,
    started: Instant,
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    pub(crate) fn of(total: usize) -> Self {
        Self { total, started: now(), shown: None, is_terminal: io::stderr().is_terminal() }
    }

    /// Shows that so many users are done.
    pub(crate) fn show(&mut self, done: usize) {
        let now = now();
        let took = now.duration_since(self.started);
        let is_due = self.shown.is_none_or(|shown| now.duration_since(shown) >= PACE);
        if self.is_terminal && took >= PATIENCE && is_due {
            self.shown = Some(now);
            let line = line(done, self.total, took);
            // Whoever does not see it misses nothing.
            let _ = write!(io::stderr(), "\r\x1b[K{PROGRAM}: {line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// The bar, and how long the rest takes at this pace.
fn line(done: usize, total: usize, took: Duration) -> String {
    let bar = "#".repeat(done.saturating_mul(BAR_LEN).checked_div(total).unwrap_or(BAR_LEN).min(BAR_LEN));
    let left = took.mul_f64(total.saturating_sub(done) as f64 / done.max(1) as f64).as_secs() + 1;
    let left = match left {
        0..120 => format!("{left} s"),
        120..7200 => format!("{} min", left / 60),
        _ => format!("{} h", left / 3600),
    };
    format!("[{bar:BAR_LEN$}] {done} of {total}, {left} left")
}

#[expect(clippy::disallowed_methods, reason = "how long somebody has waited is a matter of the clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_tells_how_much_is_done_and_how_long_the_rest_takes() {
        for (done, total, took_s, expected) in [
            (1, 10, 2, "[###                           ] 1 of 10, 19 s left"),
            (10, 10, 2, "[##############################] 10 of 10, 1 s left"),
            (1, 1000, 1, "[                              ] 1 of 1000, 16 min left"),
            (1, 100_000, 1, "[                              ] 1 of 100000, 27 h left"),
        ] {
            assert_eq!(line(done, total, Duration::from_secs(took_s)), expected);
        }
    }
}

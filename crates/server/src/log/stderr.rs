//! The log on standard error, and its bounds.

use std::env;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter, format};
use tracing_subscriber::registry::LookupSpan;

use super::budget::Budget;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people, or with the priorities of the journal if standard error leads there.
    Text,
    /// For programs: a JSON object on each line.
    Json,
}

/// Starts to log to standard error. It must be called once only.
pub fn log_to_stderr(format: LogFormat, level: LevelFilter) {
    let log = tracing_subscriber::fmt()
        .with_writer(BoundedLog::new())
        .with_target(false)
        .with_ansi(false)
        // An internal error would panic if standard error is closed.
        .log_internal_errors(false)
        .with_max_level(level);
    match format {
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
        }
        LogFormat::Text if is_journal() => log.event_format(JournalFormat).init(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
    }
}

/// Whether standard error leads to the journal.
fn is_journal() -> bool {
    let named = env::var("JOURNAL_STREAM").ok();
    named.is_some_and(|named| {
        stderr_metadata().is_ok_and(|stderr| is_named(&named, stderr.dev(), stderr.ino()))
    })
}

/// Whether JOURNAL_STREAM names the file with this device and inode, as systemd.exec(5) says.
fn is_named(named: &str, device: u64, inode: u64) -> bool {
    named.split_once(':').is_some_and(|(named_device, named_inode)| {
        named_device.parse() == Ok(device) && named_inode.parse() == Ok(inode)
    })
}

fn stderr_metadata() -> io::Result<Metadata> {
    File::from(io::stderr().as_fd().try_clone_to_owned()?).metadata()
}

/// A line with its priority in front, as in sd-daemon(3). The journal adds the time itself.
struct JournalFormat;

impl<S, N> FormatEvent<S, N> for JournalFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(line, "<{}>", priority(*event.metadata().level()))?;
        let rest = format().without_time().with_level(false).with_target(false);
        rest.format_event(context, line, event)
    }
}

/// The syslog priority of a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Standard error, limited to [`LOG_LINES`], so that a flood of messages fills no disk. Lines beyond are counted.
struct BoundedLog {
    started: Instant,
    budgets: Mutex<Budgets>,
}

/// Log lines a second, for each level.
pub const LOG_LINES: u32 = 1000;

impl BoundedLog {
    #[expect(
        clippy::disallowed_methods,
        reason = "what bounds the log is a clock, which decides nothing else"
    )]
    fn new() -> Self {
        Self { started: Instant::now(), budgets: Mutex::new(Budgets::default()) }
    }

    fn budgets(&self) -> MutexGuard<'_, Budgets> {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self, level: Level) -> Box<dyn Write> {
        let left_out = self.budgets().settle(self.started.elapsed());
        if left_out > 0 {
            // This line comes through this function, too, before the one that is being written.
            warn!("{left_out} log lines left out");
        }
        if self.budgets().of(level).admits_one() { Box::new(io::stderr()) } else { Box::new(io::sink()) }
    }
}

impl MakeWriter<'_> for BoundedLog {
    type Writer = Box<dyn Write>;

    fn make_writer(&self) -> Self::Writer {
        self.writer(Level::ERROR)
    }

    fn make_writer_for(&self, metadata: &tracing::Metadata<'_>) -> Self::Writer {
        self.writer(*metadata.level())
    }
}

/// A budget for each level, so that a flood of debugging lines hides no error.
struct Budgets {
    error: Budget,
    warn: Budget,
    info: Budget,
    debug: Budget,
    trace: Budget,
}

impl Default for Budgets {
    fn default() -> Self {
        let [error, warn, info, debug, trace] = [(); 5].map(|()| Budget::of(LOG_LINES));
        Self { error, warn, info, debug, trace }
    }
}

impl Budgets {
    /// Returns the lines that were left out since it was last called, once a second has ended.
    fn settle(&mut self, uptime: Duration) -> u64 {
        let Self { error, warn, info, debug, trace } = self;
        [error, warn, info, debug, trace].into_iter().map(|budget| budget.settle(uptime)).sum()
    }

    fn of(&mut self, level: Level) -> &mut Budget {
        match level {
            Level::ERROR => &mut self.error,
            Level::WARN => &mut self.warn,
            Level::INFO => &mut self.info,
            Level::DEBUG => &mut self.debug,
            Level::TRACE => &mut self.trace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode_and_by_nothing_less() {
        assert!(is_named("8:1234", 8, 1234));
        for named in
            ["", ":", "8", "8:", ":1234", "8:1235", "9:1234", "1234:8", "8:1234:", "8:1234 ", "0x8:1234"]
        {
            assert!(!is_named(named, 8, 1234), "{named:?}");
        }
    }

    #[test]
    fn a_flood_of_one_level_leaves_the_others_their_lines() {
        let levels = [Level::DEBUG, Level::TRACE, Level::INFO, Level::WARN, Level::ERROR];
        let mut budgets = Budgets::default();
        budgets.settle(Duration::from_secs(1));
        for level in levels {
            let admitted = (0..2000).filter(|_| budgets.of(level).admits_one()).count();
            assert_eq!(admitted, LOG_LINES as usize, "{level}");
        }
        assert_eq!(budgets.settle(Duration::from_secs(2)), 5 * u64::from(LOG_LINES));
    }

    #[test]
    fn priorities_are_those_of_syslog() {
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        assert_eq!(levels.map(priority), [3, 4, 6, 7, 7]);
    }
}

//! What happened → log lines on standard error, and the lines of the small services on standard output.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use siphasher::sip::SipHasher24;
use tracing::{debug, info, warn};
use tracing_subscriber::fmt::MakeWriter;

use crate::auth::recent::Sighting;
use crate::auth::server::{Event, Reason, Refusal};
use crate::exchange;
use crate::net::Transport;
use crate::net::connections::Full;
use crate::net::udp::Buffers;

/// Reports what came of messages.
pub(crate) struct Reporter {
    transport: Transport,
    unknown_names: UnknownNames,
    keyed: SipHasher24,
}

/// What is logged of a name that nobody has. People type passwords where a name belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownNames {
    /// A short hash under a key that changes with each start: the same name can be known again, and is not told.
    Hashed,
    /// The name, escaped.
    Shown,
}

impl Reporter {
    pub(crate) fn new(transport: Transport, unknown_names: UnknownNames, key: &[u8; 16]) -> Self {
        Self { transport, unknown_names, keyed: SipHasher24::new_with_key(key) }
    }

    pub(crate) fn event(&self, peer: SocketAddr, event: &Event<'_>) {
        let transport = self.transport;
        match event {
            Event::Silenced(penalty) => debug!("{transport} {peer}: not looked at: {penalty}"),
            Event::Malformed(reason) => debug!("{transport} {peer}: malformed: {reason}"),
            Event::Challenged => debug!("{transport} {peer}: sent a challenge"),
            Event::Rechallenged => debug!("{transport} {peer}: answered an old challenge, sent a new one"),
            Event::Welcomed { user, sighting: Sighting::First } => {
                debug!("{transport} {peer}: {} is welcome", Shown(user.as_bytes()));
            }
            Event::Welcomed { user, sighting: Sighting::Repeat } => {
                debug!("{transport} {peer}: {} is welcome, as said before", Shown(user.as_bytes()));
            }
            Event::Refused(Refusal { name, reason: Reason::UnknownUser }) => match self.unknown_names {
                UnknownNames::Hashed => {
                    let hash = self.keyed.hash(name.as_bytes()) as u32;
                    debug!("{transport} {peer}: refused an unknown user #{hash:08x}");
                }
                UnknownNames::Shown => {
                    debug!("{transport} {peer}: refused an unknown user {}", Shown(name.as_bytes()));
                }
            },
            Event::Refused(Refusal { name, reason: Reason::WrongPassword }) => {
                debug!("{transport} {peer}: refused {}: wrong password", Shown(name.as_bytes()));
            }
            Event::Refused(Refusal { name, reason: Reason::Denied(denial) }) => {
                debug!("{transport} {peer}: refused {}: {denial}", Shown(name.as_bytes()));
            }
        }
    }
}

pub(crate) fn turned_away(peer: SocketAddr, full: Full) {
    debug!("TCP {peer}: turned away: {full}");
}

pub(crate) fn connection_lost(peer: SocketAddr, error: &io::Error) {
    debug!("TCP {peer}: connection lost: {error}");
}

pub(crate) fn socket_error(transport: Transport, error: &io::Error) {
    warn!("{transport} socket: {error}; going on");
}

/// Says how much the kernel queues for each worker, and how to have it queue more.
pub(crate) fn buffers(buffers: &Buffers, workers: NonZeroUsize) {
    let Buffers { receive_len, asked_len } = buffers;
    info!("UDP workers: {workers}, for each of which the kernel queues {} KiB", receive_len / 1024);
    if receive_len < asked_len {
        info!(
            "for {} KiB, which carry longer floods: sysctl net.core.rmem_max={asked_len}",
            asked_len / 1024
        );
    }
}

pub(crate) fn unsent(error: &io::Error) {
    debug!("UDP: a reply could not be sent: {error}");
}

pub(crate) fn unanswered(peer: SocketAddr, reason: exchange::guard::Silence) {
    debug!("UDP {peer}: not answered: {reason}");
}

/// Standard error, for so many log lines a second: whoever sends much fills no disk. The rest is counted.
pub(crate) struct BoundedLog {
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
    pub(crate) fn new() -> Self {
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

/// The lines of a small service about its messages and connections. In a flood, all but the first of a second are
/// only counted.
pub(crate) struct Lines {
    verbosity: Verbosity,
    printer: Printer,
    messages: Budget,
    closings: Budget,
}

/// Whether a small service prints a line for each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// It does.
    Lines,
    /// It does not.
    Quiet,
}

/// Characters of a message that are printed.
const SHOWN_MAX: usize = 1000;

impl Lines {
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        let (messages, closings) = (Budget::of(1000), Budget::of(100));
        let printer = Printer::start(messages.left_out.clone());
        Self { verbosity, printer, messages, closings }
    }

    /// A line about a message.
    pub(crate) fn print(&mut self, uptime: Duration, line: fmt::Arguments<'_>) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let left_out = self.messages.settle(uptime);
        if left_out > 0 && !self.printer.print(left_out_line(left_out)) {
            self.messages.leave_out(left_out);
        }
        if self.messages.admits_one() && !self.printer.print(line.to_string()) {
            self.messages.leave_out(1);
        }
    }

    /// The reason why a connection is closed.
    pub(crate) fn closed(&mut self, uptime: Duration, peer: SocketAddr, reason: exchange::framed::Malformed) {
        let left_out = self.closings.settle(uptime);
        tell_closings(left_out);
        if self.closings.admits_one() {
            info!("TCP {peer}: closed: {reason}");
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        tell_closings(self.closings.left_out.swap(0, Ordering::Relaxed));
    }
}

fn tell_closings(left_out: u64) {
    if left_out > 0 {
        info!("TCP: {left_out} more connections closed");
    }
}

fn left_out_line(left_out: u64) -> String {
    format!("{left_out} lines left out")
}

/// How many lines a second has, and how many more there were to be.
struct Budget {
    per_second: u32,
    second: u64,
    spent: u32,
    left_out: Arc<AtomicU64>,
}

impl Budget {
    fn of(per_second: u32) -> Self {
        Self { per_second, second: 0, spent: 0, left_out: Arc::default() }
    }

    /// How many lines were left out and not told yet, once their second is over.
    fn settle(&mut self, uptime: Duration) -> u64 {
        if uptime.as_secs() == self.second {
            return 0;
        }
        (self.second, self.spent) = (uptime.as_secs(), 0);
        self.left_out.swap(0, Ordering::Relaxed)
    }

    fn admits_one(&mut self) -> bool {
        let admits = self.spent < self.per_second;
        if admits {
            self.spent += 1;
        } else {
            self.leave_out(1);
        }
        admits
    }

    fn leave_out(&self, lines: u64) {
        self.left_out.fetch_add(lines, Ordering::Relaxed);
    }
}

/// Prints lines on standard output from a thread of its own, so that a service goes on when nobody reads them.
struct Printer {
    queue: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
}

/// Lines that wait to be printed; beyond, they are left out.
const QUEUE_LEN: usize = 1000;
/// How long after the last line it is looked whether some were left out.
const PAUSE: Duration = Duration::from_secs(1);

impl Printer {
    fn start(left_out: Arc<AtomicU64>) -> Self {
        let (queue, lines) = mpsc::sync_channel(QUEUE_LEN);
        let work = move || {
            // There is an end to it once nobody reads.
            let _ = print_all(&lines, &left_out);
        };
        Self { queue: Some(queue), thread: thread::Builder::new().spawn(work).ok() }
    }

    /// Whether there was room for the line.
    fn print(&self, line: String) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.try_send(line).is_ok())
    }
}

/// Prints lines as they come, and in each pause how many were left out.
fn print_all(lines: &Receiver<String>, left_out: &AtomicU64) -> io::Result<()> {
    let mut stdout = io::stdout();
    loop {
        let received = lines.recv_timeout(PAUSE);
        if let Ok(line) = &received {
            writeln!(stdout, "{line}")?;
            continue;
        }
        let left_out = left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            writeln!(stdout, "{}", left_out_line(left_out))?;
        }
        if received == Err(RecvTimeoutError::Disconnected) {
            return Ok(());
        }
    }
}

/// What waits is printed before the service ends.
impl Drop for Printer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Bytes of a stranger as text for a terminal: what is no text or would steer the terminal is escaped, what is
/// long is cut.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No character has more than four bytes.
        let start = self.0.get(..4 * SHOWN_MAX).unwrap_or(self.0);
        for character in String::from_utf8_lossy(start).chars().take(SHOWN_MAX) {
            match character {
                '"' | '\'' => write!(f, "{character}")?,
                _ => write!(f, "{}", character.escape_debug())?,
            }
        }
        let is_cut =
            start.len() < self.0.len() || String::from_utf8_lossy(start).chars().nth(SHOWN_MAX).is_some();
        f.write_str(if is_cut { "…" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_escaped_and_all_else_is_shown() {
        let shown = |bytes| Shown(bytes).to_string();
        assert_eq!(shown(b"It's \"fine\", zo\xc3\xab"), "It's \"fine\", zoë");
        assert_eq!(shown(b"\x1b[2J\r\n\0"), "\\u{1b}[2J\\r\\n\\0");
        assert_eq!(shown("a\u{202e}b\u{9b}".as_bytes()), "a\\u{202e}b\\u{9b}");
        assert_eq!(shown(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn lines_of_a_flood_are_counted_until_their_second_is_over() {
        let mut budget = Budget::of(1000);
        assert_eq!(budget.settle(Duration::from_millis(7500)), 0);
        assert_eq!((0..1005).filter(|_| budget.admits_one()).count(), 1000);
        assert_eq!(budget.settle(Duration::from_millis(7999)), 0);
        assert!(!budget.admits_one());
        assert_eq!(budget.settle(Duration::from_secs(8)), 6);
        assert!(budget.admits_one());
    }

    #[test]
    fn what_is_long_is_cut() {
        assert_eq!(Shown(&[b'a'; SHOWN_MAX]).to_string(), "a".repeat(SHOWN_MAX));
        assert_eq!(Shown(&[b'a'; SHOWN_MAX + 1]).to_string(), "a".repeat(SHOWN_MAX) + "…");
        assert_eq!(Shown(&[b'a'; 65_507]).to_string(), "a".repeat(SHOWN_MAX) + "…");
    }
}

//! The lines of the small services on standard output.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing::info;

use super::budget::Budget;
use proto::{Peer, small};

/// The lines of a small service about its messages and connections. Lines beyond a limit for each second are only
/// counted.
pub(crate) struct Lines {
    verbosity: Verbosity,
    printer: Printer,
    messages: Budget,
    closings: Budget,
}

/// Whether a small service prints a line for each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// It prints them.
    Lines,
    /// It prints none.
    Quiet,
}

impl Lines {
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        let (messages, closings) = (Budget::of(1000), Budget::of(100));
        let printer = Printer::start(messages.left_out.clone());
        Self { verbosity, printer, messages, closings }
    }

    /// Prints a line about a message.
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

    /// Logs why a connection is closed.
    pub(crate) fn closed(&mut self, uptime: Duration, peer: Peer, reason: small::framed::FrameError) {
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

/// Prints lines to standard output on a thread of its own, so that the service goes on if nobody reads them.
struct Printer {
    queue: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
}

/// Lines that may wait to be printed. More are left out.
const QUEUE_LEN: usize = 1000;
/// The pause after the last line before left-out lines are reported.
const PAUSE: Duration = Duration::from_secs(1);

impl Printer {
    fn start(left_out: Arc<AtomicU64>) -> Self {
        let (queue, lines) = mpsc::sync_channel(QUEUE_LEN);
        let work = move || {
            // The thread ends if standard output is closed.
            let _ = print_all(&lines, &left_out);
        };
        Self { queue: Some(queue), thread: thread::Builder::new().spawn(work).ok() }
    }

    /// Returns whether there was room for the line.
    fn print(&self, line: String) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.try_send(line).is_ok())
    }
}

/// Prints lines as they come, and in each pause the number of those left out.
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

/// Waiting lines are printed before the service ends.
impl Drop for Printer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

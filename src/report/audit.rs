//! The audit: a line of JSON for each decision, written by a thread of its own.
//!
//! A worker puts a decision into a queue of fixed length and goes on. If the queue is full the line is lost, and that is
//! counted. What can be caused without a password, or by saying the same again, has so many lines a second and no more, so
//! that it pushes no welcome out of the queue and fills no disk.

mod line;
mod output;

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use tracing::warn;

use crate::auth::recent::Sighting;
use crate::auth::server::Reason;
use crate::net::Transport;
use crate::report::{UnknownNames, unix_time};
pub(crate) use line::Decision;
use line::{Lines, Verdict};
pub use output::AuditTarget;
use output::Output;

/// Decisions that wait to be written.
pub(crate) const QUEUE_LEN: usize = 16_384;
/// Lines a second for refusals and repeats, again as many for refused users with a right password, and for silence.
pub(crate) const REFUSALS_PER_SECOND: u32 = 1000;
/// Bytes that are written at a time, or a line more.
const CHUNK_LEN: usize = 64 * 1024;
/// How long after the last line it is looked whether some were lost.
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes that a place in the queue takes.
pub(crate) const ENTRY_LEN: usize = size_of::<Entry>() + size_of::<usize>();

enum Entry {
    Decision(Decision),
    /// To have the file opened anew at once.
    Wake,
}

/// What workers see of the audit.
#[derive(Clone)]
pub(crate) struct Audit {
    queue: SyncSender<Entry>,
    counts: Arc<Counts>,
}

/// Shared with the thread that writes.
#[derive(Default)]
struct Counts {
    /// Lines for which there was no room in the queue, or that could not be written.
    lost: AtomicU64,
    /// Lines beyond those of their second.
    left_out: AtomicU64,
    refusals: Spent,
    /// Of right passwords, which guesses are no reason to leave out. An answer can be said again and again.
    denials: Spent,
    /// Which are no reason to leave refusals out.
    silences: Spent,
    is_to_reopen: AtomicBool,
}

impl Counts {
    /// Lines that were lost, and lines left out.
    fn missing(&self) -> (u64, u64) {
        (self.lost.load(Ordering::Relaxed), self.left_out.load(Ordering::Relaxed))
    }
}

impl Audit {
    pub(super) fn note(&self, uptime: Duration, decision: Decision) {
        let budget = match decision.verdict {
            Verdict::Welcome(Sighting::First) => None,
            Verdict::Refused(Reason::Denied(_), _) => Some(&self.counts.denials),
            Verdict::Welcome(Sighting::Repeat)
            | Verdict::Refused(Reason::UnknownUser | Reason::WrongPassword, _) => Some(&self.counts.refusals),
            Verdict::Silence(_) => Some(&self.counts.silences),
        };
        if budget.is_some_and(|budget| !budget.admit(uptime.as_secs())) {
            self.counts.left_out.fetch_add(1, Ordering::Relaxed);
        } else if self.queue.try_send(Entry::Decision(decision)).is_err() {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Lines of a second: the second, and how many it has had.
#[derive(Default)]
struct Spent(AtomicU64);

impl Spent {
    /// Whether this second has a line to spare. Workers that ask at the same time may be given a line too many.
    fn admit(&self, second: u64) -> bool {
        let spent = self.0.load(Ordering::Relaxed);
        if spent >> u32::BITS < second {
            self.0.store(second << u32::BITS | 1, Ordering::Relaxed);
            return true;
        }
        let admits = (spent as u32) < REFUSALS_PER_SECOND;
        if admits {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        admits
    }
}

/// Has the file opened anew.
pub(crate) struct Reopen {
    queue: SyncSender<Entry>,
    counts: Arc<Counts>,
}

impl Reopen {
    pub(crate) fn request(&self) {
        self.counts.is_to_reopen.store(true, Ordering::Release);
        match self.queue.try_send(Entry::Wake) {
            // With a full queue the thread is awake.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

/// How many lines the audit is short of.
pub(crate) struct Losses(Arc<Counts>);

impl Losses {
    /// Lines that were lost, and lines left out beyond those of their second, since the start.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.0.missing()
    }
}

/// An audit, and the writer of its lines.
pub(crate) fn audit(
    target: &AuditTarget,
    transport: Transport,
    unknown_names: UnknownNames,
    key: &[u8; 16],
) -> io::Result<(Audit, Writer)> {
    let (queue, entries) = mpsc::sync_channel(QUEUE_LEN);
    let counts = Arc::new(Counts::default());
    let writer = Writer {
        entries,
        reopen: Reopen { queue: queue.clone(), counts: counts.clone() },
        lines: Lines::new(transport, unknown_names, key),
        output: Output::new(target)?,
    };
    Ok((Audit { queue, counts }, writer))
}

/// What writes the lines.
pub(crate) struct Writer {
    entries: Receiver<Entry>,
    reopen: Reopen,
    lines: Lines,
    output: Output,
}

impl Writer {
    pub(crate) fn target(&self) -> &AuditTarget {
        &self.output.target
    }

    pub(crate) fn losses(&self) -> Losses {
        Losses(self.reopen.counts.clone())
    }

    /// The folder in which a file must be made and written.
    pub(crate) fn folder(&self) -> Option<&OwnedFd> {
        self.output.folder.as_ref()
    }

    /// Opens the file, as whoever this process is by now.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        self.output.open()
    }

    /// Writes until nobody is left to decide anything, or to have the file opened anew. The receiver is told that by
    /// losing its sender.
    pub(crate) fn start(self) -> io::Result<(Reopen, Receiver<Infallible>)> {
        let Self { entries, reopen, lines, output } = self;
        let (counts, (ended, end)) = (reopen.counts.clone(), mpsc::channel());
        thread::Builder::new().name("audit".to_owned()).spawn(move || {
            write_all(&entries, &counts, lines, output);
            drop(ended);
        })?;
        Ok((reopen, end))
    }
}

fn write_all(entries: &Receiver<Entry>, counts: &Counts, mut lines: Lines, mut output: Output) {
    let (mut last_unix_s, mut told) = (0, (0, 0));
    loop {
        let mut next = entries.recv_timeout(PAUSE);
        let is_over = matches!(next, Err(RecvTimeoutError::Disconnected));
        if counts.is_to_reopen.swap(false, Ordering::Acquire) {
            output.reopen();
        }
        let mut count = 0;
        while let Ok(entry) = next {
            if let Entry::Decision(decision) = entry {
                last_unix_s = decision.unix_s;
                lines.add(&decision);
                count += 1;
            }
            if lines.text.len() >= CHUNK_LEN {
                break;
            }
            next = entries.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
        if output.write(&lines.text).is_err() {
            counts.lost.fetch_add(count, Ordering::Relaxed);
        }
        lines.text.clear();
        // Where nothing can be written there is nothing to say it in either, until there is again.
        if !output.has_failed || is_over {
            tell_missing(counts.missing(), &mut told, last_unix_s, &mut lines, &mut output);
        }
        if is_over {
            return;
        }
    }
}

/// Says how many lines are missing beyond those that were told, if any are.
fn tell_missing(
    missing: (u64, u64),
    told: &mut (u64, u64),
    unix_s: u64,
    lines: &mut Lines,
    output: &mut Output,
) {
    if missing == *told {
        return;
    }
    let (lost, left_out) = (missing.0 - told.0, missing.1 - told.1);
    lines.push(&serde_json::json!({ "time": unix_time(unix_s), "lost": lost, "left_out": left_out }));
    let written = output.write(&lines.text);
    lines.text.clear();
    // What could not be written is told again, together with what is missing by then.
    if written.is_ok() {
        *told = missing;
    }
    warn!("audit: {lost} lines lost, {left_out} left out beyond {REFUSALS_PER_SECOND} a second");
}

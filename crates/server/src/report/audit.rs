//! The audit: a line of JSON for each decision, written by a thread of its own.
//!
//! A worker puts a decision into a queue of fixed length and goes on. If the queue is full the line is lost, and that
//! is counted. Each class of decisions has a bound, so that none uses up the lines of another, and the file grows by no
//! more in a minute than is said.

mod bounds;
mod line;
mod output;

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use tracing::warn;

use crate::net::clock::Clock;
use crate::report::{UnknownNames, unix_time};
use bounds::Bounds;
pub(crate) use bounds::{BYTES_PER_MINUTE, PER_SECOND, SOURCE_PER_MINUTE, USER_PER_MINUTE};
pub(crate) use line::Decision;
use line::Lines;
pub use output::AuditTarget;
use output::Output;

/// Decisions that wait to be written.
pub(crate) const QUEUE_LEN: usize = 16_384;
/// Bytes that are written at a time, or a line more.
const CHUNK_LEN: usize = 64 * 1024;
/// How often it is looked whether lines are missing, and said.
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes of the queue.
pub(crate) const QUEUE_BYTES: usize = QUEUE_LEN * (size_of::<Entry>() + size_of::<usize>());
/// Bytes of all that is counted for the bounds.
pub(crate) const BOUNDS_BYTES: usize = Bounds::BYTES;

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
struct Counts {
    bounds: Bounds,
    /// Decisions in the queue, or about to be.
    queued: AtomicUsize,
    /// Lines for which there was no room in the queue, or that could not be written.
    lost: AtomicU64,
    /// Lines beyond the bounds.
    left_out: AtomicU64,
    is_to_reopen: AtomicBool,
}

impl Counts {
    fn new(key: &[u8; 16]) -> Self {
        Self {
            bounds: Bounds::new(key),
            queued: AtomicUsize::default(),
            lost: AtomicU64::default(),
            left_out: AtomicU64::default(),
            is_to_reopen: AtomicBool::default(),
        }
    }

    /// Lines that were lost, and lines left out.
    fn missing(&self) -> (u64, u64) {
        (self.lost.load(Ordering::Relaxed), self.left_out.load(Ordering::Relaxed))
    }
}

impl Audit {
    pub(super) fn note(&self, uptime: Duration, decision: Decision) {
        let Some(queue_max) = self.counts.bounds.admit(uptime, &decision) else {
            self.counts.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let has_room = self.counts.queued.fetch_add(1, Ordering::Relaxed) < queue_max;
        if !has_room || self.queue.try_send(Entry::Decision(decision)).is_err() {
            self.counts.queued.fetch_sub(1, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
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
    /// Lines that were lost, and lines left out beyond their bounds, since the start.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.0.missing()
    }
}

/// An audit, and the writer of its lines.
pub(crate) fn audit(
    target: &AuditTarget,
    unknown_names: UnknownNames,
    key: &[u8; 16],
) -> io::Result<(Audit, Writer)> {
    let (queue, entries) = mpsc::sync_channel(QUEUE_LEN);
    let counts = Arc::new(Counts::new(key));
    let writer = Writer {
        entries,
        reopen: Reopen { queue: queue.clone(), counts: counts.clone() },
        lines: Lines::new(unknown_names, key),
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
    pub(crate) fn start(self, clock: Clock) -> io::Result<(Reopen, Receiver<Infallible>)> {
        let Self { entries, reopen, lines, output } = self;
        let (counts, (ended, end)) = (reopen.counts.clone(), mpsc::channel());
        thread::Builder::new().name("audit".to_owned()).spawn(move || {
            write_all(&entries, &counts, clock, lines, output);
            drop(ended);
        })?;
        Ok((reopen, end))
    }
}

fn write_all(entries: &Receiver<Entry>, counts: &Counts, clock: Clock, mut lines: Lines, mut output: Output) {
    let (mut told, mut looked) = ((0, 0), Duration::ZERO);
    loop {
        let mut next = entries.recv_timeout(PAUSE);
        let is_over = matches!(next, Err(RecvTimeoutError::Disconnected));
        if counts.is_to_reopen.swap(false, Ordering::Acquire) {
            output.reopen();
        }
        let mut count = 0;
        while let Ok(entry) = next {
            if let Entry::Decision(decision) = entry {
                lines.add(&decision);
                count += 1;
            }
            if lines.text.len() >= CHUNK_LEN {
                break;
            }
            next = entries.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
        counts.queued.fetch_sub(count, Ordering::Relaxed);
        if output.write(&lines.text).is_err() {
            counts.lost.fetch_add(count as u64, Ordering::Relaxed);
        }
        lines.text.clear();
        // Where nothing can be written there is nothing to say it in either, until there is again.
        let now = clock.now();
        if now.uptime.saturating_sub(looked) >= PAUSE && !output.has_failed || is_over {
            looked = now.uptime;
            tell_missing(counts.missing(), &mut told, now.unix_s, &mut lines, &mut output);
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
    warn!("audit: {lost} lines lost, {left_out} left out beyond their bounds");
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use proto::Now;
    use proto::origin::Origin;
    use proto::server::event::{Event, Reason, Refusal};
    use proto::transport::Transport;

    #[test]
    fn proven_failures_find_room_in_a_queue_that_forged_ones_have_filled() {
        let (audit, writer) = audit(&AuditTarget::Stdout, UnknownNames::Hashed, &[1; 16]).unwrap();
        let losses = writer.losses();
        let fail = |second, source: u32, origin| {
            let now = Now { uptime: Duration::from_secs(second), unix_s: second };
            let refusal = Refusal { name: "alice", reason: Reason::WrongPassword, origin };
            let peer = SocketAddr::from((source.to_be_bytes(), 5000));
            audit
                .note(now.uptime, Decision::of(now, Transport::Udp, peer, &Event::Refused(refusal)).unwrap());
        };
        for second in 1..=100 {
            (0..100).for_each(|source| fail(second, source + 100 * second as u32, Origin::Unproven));
        }
        let (lost, left_out) = losses.totals();
        assert_eq!((lost, left_out), (10_000 - QUEUE_LEN as u64 / 2, 0));
        (0..400).for_each(|source| fail(100, source, Origin::Proven));
        assert_eq!(losses.totals(), (lost, left_out));
    }
}

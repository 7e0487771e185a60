//! The audit: a line of JSON for each decision, written by a thread of its own.
//!
//! A worker puts a decision into a queue of fixed length and goes on. If the queue is full, the line is lost and
//! counted. Each class of decisions has a bound, so that no class uses up the lines of another, and the growth of the
//! file is bounded.

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

use crate::log::{UnknownNames, unix_time};
use crate::net::clock::Clock;
use bounds::Bounds;
pub(crate) use bounds::{BYTES_PER_MINUTE, PER_SECOND, SOURCE_PER_MINUTE, USER_PER_MINUTE};
pub(crate) use line::Decision;
use line::JsonLines;
pub use output::AuditTarget;
use output::Output;

/// Decisions that may wait to be written.
pub(crate) const QUEUE_LEN: usize = 16_384;
/// Bytes that are written at a time, plus a line at most.
const CHUNK_LEN: usize = 64 * 1024;
/// How often missing lines are reported.
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes of the queue.
pub(crate) const QUEUE_BYTES: usize = QUEUE_LEN * (size_of::<QueueEntry>() + size_of::<usize>());
/// Bytes of the tables of the bounds.
pub(crate) const BOUNDS_BYTES: usize = Bounds::BYTES;

enum QueueEntry {
    Decision(Decision),
    /// Wakes the writer, so that it reopens the file at once.
    Wake,
}

/// The audit, as workers use it.
#[derive(Clone)]
pub(crate) struct Audit {
    queue: SyncSender<QueueEntry>,
    counts: Arc<LineCounts>,
}

/// The state that workers share with the writer's thread.
struct LineCounts {
    bounds: Bounds,
    /// Decisions in the queue, or about to be.
    queued: AtomicUsize,
    /// Lines that found the queue full, or could not be written.
    lost: AtomicU64,
    /// Lines beyond the bounds.
    left_out: AtomicU64,
    is_to_reopen: AtomicBool,
}

impl LineCounts {
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
        if !has_room || self.queue.try_send(QueueEntry::Decision(decision)).is_err() {
            self.counts.queued.fetch_sub(1, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Requests that the file be reopened.
pub(crate) struct Reopen {
    queue: SyncSender<QueueEntry>,
    counts: Arc<LineCounts>,
}

impl Reopen {
    pub(crate) fn request(&self) {
        self.counts.is_to_reopen.store(true, Ordering::Release);
        match self.queue.try_send(QueueEntry::Wake) {
            // If the queue is full, the thread is awake.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

/// The counts of lines that are missing in the audit.
pub(crate) struct Losses(Arc<LineCounts>);

impl Losses {
    /// Lines that were lost, and lines left out beyond their bounds, since the start.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.0.missing()
    }
}

/// Makes an audit and its writer.
///
/// # Errors
/// The folder of the target cannot be opened.
pub(crate) fn audit(
    target: &AuditTarget,
    unknown_names: UnknownNames,
    key: &[u8; 16],
) -> io::Result<(Audit, AuditWriter)> {
    let (queue, entries) = mpsc::sync_channel(QUEUE_LEN);
    let counts = Arc::new(LineCounts::new(key));
    let writer = AuditWriter {
        entries,
        reopen: Reopen { queue: queue.clone(), counts: counts.clone() },
        lines: JsonLines::new(unknown_names, key),
        output: Output::new(target)?,
    };
    Ok((Audit { queue, counts }, writer))
}

/// The writer of the lines.
pub(crate) struct AuditWriter {
    entries: Receiver<QueueEntry>,
    reopen: Reopen,
    lines: JsonLines,
    output: Output,
}

impl AuditWriter {
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

    /// Opens the file, with the rights that this process has by now.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        self.output.open()
    }

    /// Starts the thread, which writes until all [`Audit`]s and the [`Reopen`] are dropped. The receiver then loses its
    /// sender.
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

fn write_all(
    entries: &Receiver<QueueEntry>,
    counts: &LineCounts,
    clock: Clock,
    mut lines: JsonLines,
    mut output: Output,
) {
    let (mut reported, mut checked) = ((0, 0), Duration::ZERO);
    loop {
        let mut next = entries.recv_timeout(PAUSE);
        let is_over = matches!(next, Err(RecvTimeoutError::Disconnected));
        if counts.is_to_reopen.swap(false, Ordering::Acquire) {
            output.reopen();
        }
        let mut count = 0;
        while let Ok(entry) = next {
            if let QueueEntry::Decision(decision) = entry {
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
        // While nothing can be written, a line about missing lines cannot either.
        let now = clock.now();
        if now.uptime.saturating_sub(checked) >= PAUSE && !output.has_failed || is_over {
            checked = now.uptime;
            report_missing(counts.missing(), &mut reported, now.unix_s, &mut lines, &mut output);
        }
        if is_over {
            return;
        }
    }
}

/// Writes and logs how many lines are missing beyond those that were reported, if any are.
fn report_missing(
    missing: (u64, u64),
    reported: &mut (u64, u64),
    unix_s: u64,
    lines: &mut JsonLines,
    output: &mut Output,
) {
    if missing == *reported {
        return;
    }
    let (lost, left_out) = (missing.0 - reported.0, missing.1 - reported.1);
    lines.push(&serde_json::json!({ "time": unix_time(unix_s), "lost": lost, "left_out": left_out }));
    let written = output.write(&lines.text);
    lines.text.clear();
    // If the report could not be written, the next one includes it.
    if written.is_ok() {
        *reported = missing;
    }
    warn!("audit: {lost} lines lost, {left_out} left out because of the limits");
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::net::address::SocketKind;
    use proto::Now;
    use proto::origin::Origin;
    use proto::server::event::{Event, Reason, Refusal};

    #[test]
    fn proven_failures_find_room_in_a_queue_that_forged_ones_have_filled() {
        let (audit, writer) = audit(&AuditTarget::Stdout, UnknownNames::Hashed, &[1; 16]).unwrap();
        let losses = writer.losses();
        let fail = |second, source: u32, origin| {
            let now = Now::new(Duration::from_secs(second), second);
            let refusal = Refusal { name: "alice", reason: Reason::WrongPassword, origin };
            let peer = SocketAddr::from((source.to_be_bytes(), 5000)).into();
            audit.note(
                now.uptime,
                Decision::of(now, SocketKind::Udp, peer, None, &Event::Refused(refusal)).unwrap(),
            );
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

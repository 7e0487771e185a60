//! The audit: a line of JSON for each decision, written by a thread of its own.
//!
//! A worker puts a decision into a queue of fixed length and goes on. If the queue is full the line is lost, and that is
//! counted. What can be caused without a password, or by saying the same again, has so many lines a second and no more, so
//! that it pushes no welcome out of the queue and fills no disk.

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, openat};
use serde::Serialize;
use siphasher::sip::SipHasher24;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::{info, warn};

use super::{Hashed, Shown, UnknownNames};
use crate::auth::Now;
use crate::auth::penalty::{Address, Penalty};
use crate::auth::recent::Sighting;
use crate::auth::server::{Event, Reason, Refusal};
use crate::net::Transport;
use crate::users::{NAME_MAX, folder_of, open_folder};

/// Decisions that wait to be written.
pub(crate) const QUEUE_LEN: usize = 16_384;
/// Lines a second for refusals and repeats, again as many for refused users with a right password, and for silence.
pub(crate) const REFUSALS_PER_SECOND: u32 = 1000;
/// Bytes that are written at a time, or a line more.
const CHUNK_LEN: usize = 64 * 1024;
/// How long after the last line it is looked whether some were lost.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTarget {
    /// Appended to a file, which is opened anew on SIGHUP.
    File(PathBuf),
    /// To standard output.
    Stdout,
}

impl fmt::Display for AuditTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdout => f.write_str("standard output"),
        }
    }
}

/// A decision, as it goes through the queue: copied whole, without memory of its own.
#[derive(Clone, Copy)]
pub(super) struct Decision {
    unix_s: u64,
    peer: SocketAddr,
    verdict: Verdict,
    name: [u8; NAME_MAX],
    name_len: usize,
}

/// Bytes that a place in the queue takes.
pub(crate) const ENTRY_LEN: usize = size_of::<Entry>() + size_of::<usize>();

#[derive(Clone, Copy)]
enum Verdict {
    Welcome(Sighting),
    Refused(Reason, Address),
    Silence(Penalty),
}

enum Entry {
    Decision(Decision),
    /// To have the file opened anew at once.
    Wake,
}

impl Decision {
    /// What was decided, if anything was.
    pub(super) fn of(now: Now, peer: SocketAddr, event: &Event<'_>) -> Option<Self> {
        let (verdict, name) = match event {
            Event::Welcomed { user, sighting } => (Verdict::Welcome(*sighting), *user),
            Event::Refused(Refusal { name, reason, address }) => (Verdict::Refused(*reason, *address), *name),
            Event::Silenced(penalty) => (Verdict::Silence(*penalty), ""),
            Event::Malformed(_) | Event::Challenged | Event::Rechallenged => return None,
        };
        let mut decision =
            Self { unix_s: now.unix_s, peer, verdict, name: [0; NAME_MAX], name_len: name.len() };
        decision.name.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(decision)
    }

    fn name(&self) -> &str {
        self.name.get(..self.name_len).and_then(|name| str::from_utf8(name).ok()).unwrap_or_default()
    }
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
        lines: Lines { transport, unknown_names, keyed: SipHasher24::new_with_key(key), text: Vec::new() },
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
    lines.push(&serde_json::json!({ "time": time(unix_s), "lost": lost, "left_out": left_out }));
    let written = output.write(&lines.text);
    lines.text.clear();
    // What could not be written is told again, together with what is missing by then.
    if written.is_ok() {
        *told = missing;
    }
    warn!("audit: {lost} lines lost, {left_out} left out beyond {REFUSALS_PER_SECOND} a second");
}

/// Lines that wait to be written together.
struct Lines {
    transport: Transport,
    unknown_names: UnknownNames,
    keyed: SipHasher24,
    text: Vec<u8>,
}

/// A line.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    source: IpAddr,
    port: u16,
    transport: Transport,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proven: Option<bool>,
    duplicate: bool,
}

impl Lines {
    fn add(&mut self, decision: &Decision) {
        let name = decision.name();
        let mut line = Line {
            time: time(decision.unix_s),
            source: decision.peer.ip().to_canonical(),
            port: decision.peer.port(),
            transport: self.transport,
            verdict: "welcome",
            user: Some(name),
            unknown_user: None,
            reason: None,
            proven: Some(true),
            duplicate: false,
        };
        match decision.verdict {
            Verdict::Welcome(sighting) => line.duplicate = sighting == Sighting::Repeat,
            Verdict::Refused(reason, address) => {
                line.verdict = "refused";
                line.reason = Some(reason.to_string());
                line.proven = Some(address == Address::Proven);
                if reason == Reason::UnknownUser {
                    line.user = None;
                    line.unknown_user = Some(self.unknown(name));
                }
            }
            Verdict::Silence(penalty) => {
                line.verdict = "silence";
                line.user = None;
                line.reason = Some(penalty.to_string());
                line.proven = None;
            }
        }
        self.push(&line);
    }

    fn unknown(&self, name: &str) -> String {
        match self.unknown_names {
            UnknownNames::Hashed => Hashed(&self.keyed, name).to_string(),
            UnknownNames::Shown => Shown(name.as_bytes()).to_string(),
        }
    }

    fn push(&mut self, line: &impl Serialize) {
        // There is nothing in a line that could not be told in JSON, and a vector takes it all.
        if serde_json::to_writer(&mut self.text, line).is_ok() {
            self.text.push(b'\n');
        }
    }
}

fn time(unix_s: u64) -> String {
    let time = i64::try_from(unix_s).ok().and_then(|unix_s| OffsetDateTime::from_unix_timestamp(unix_s).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// What the lines are written to.
struct Output {
    target: AuditTarget,
    /// Of the file.
    folder: Option<OwnedFd>,
    file: Option<File>,
    is_torn: bool,
    has_failed: bool,
}

impl Output {
    fn new(target: &AuditTarget) -> io::Result<Self> {
        let folder = match target {
            AuditTarget::Stdout => None,
            AuditTarget::File(path) => Some(open_folder(folder_of(path))?),
        };
        Ok(Self { target: target.clone(), folder, file: None, is_torn: false, has_failed: false })
    }

    fn open(&mut self) -> io::Result<()> {
        if let (AuditTarget::File(path), Some(folder)) = (&self.target, &self.folder) {
            let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
            let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
            self.file = Some(openat(folder, name, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP)?.into());
        }
        Ok(())
    }

    fn reopen(&mut self) {
        match self.open() {
            Ok(()) => info!("audit: {} opened anew", self.target),
            Err(error) => warn!("audit: {}: {error}: going on with the file as it was", self.target),
        }
    }

    /// Writes whole lines, or says once why it cannot.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let separator: &[u8] = if self.is_torn { b"\n" } else { b"" };
        let written = match &mut self.file {
            Some(file) => file.write_all(separator).and_then(|()| file.write_all(lines)),
            None => {
                let mut stdout = io::stdout().lock();
                stdout
                    .write_all(separator)
                    .and_then(|()| stdout.write_all(lines))
                    .and_then(|()| stdout.flush())
            }
        };
        self.is_torn = written.is_err();
        match &written {
            Err(error) if !self.has_failed => warn!("audit: {}: {error}: lines are lost", self.target),
            Ok(()) if self.has_failed => info!("audit: {} can be written again", self.target),
            Ok(()) | Err(_) => {}
        }
        self.has_failed = written.is_err();
        written
    }
}

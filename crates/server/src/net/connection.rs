//! One TCP connection: it hands received bytes to its service, sends the replies, and makes sure that the last of them
//! arrives.
//!
//! ```text
//! Talking ──► Ending ──► Lingering ──► closed        the service has sent its last reply
//!    │
//!    └──────► Closing ───────────────► closed        the peer has ended, or talks nonsense
//! ```
//!
//! The system reports readiness once, so a connection must remember whatever it leaves undone. It reads until it
//! receives less than it asked for, and says when it wants to be polled again.

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};

use crate::net::connections::Permit;
use crate::net::stream_io::{Behind, read, write};
use crate::net::stream_service::{Deadlines, Next, Reading, StreamService};
use proto::server::penalty::Rank;
use proto::{Now, Peer};

/// How long, and for how many bytes, a connection is read after its end, so that no reset overtakes the last reply.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_LEN: usize = 16 << 20;

/// Bytes of memory that a connection keeps beyond what it needs.
const SPARE_LEN: usize = 512;

/// The buffers that all connections of a worker share, so that none has to keep its own.
pub(crate) struct Scratch {
    buffer: Box<[u8]>,
    /// The bytes received for a connection that had none left over.
    received: Vec<u8>,
    replies: Vec<u8>,
}

impl Scratch {
    /// Bytes to read into.
    const LEN: usize = 64 * 1024;
    /// Bytes of all buffers between two polls, at most.
    pub(crate) const BYTES: usize = 3 * Self::LEN;

    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; Self::LEN].into(), received: Vec::new(), replies: Vec::new() }
    }
}

/// A TCP connection and its state.
pub(crate) struct Connection<S> {
    pub(crate) stream: OwnedFd,
    pub(crate) peer: Peer,
    service: S,
    permit: Permit,
    reading: Reading,
    phase: Phase,
    /// The uptime from which the current deadline counts.
    since: Duration,
    /// The bytes of a message that is not complete.
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// The peer has ended its sending side, though bytes may be left to read.
    peer_has_ended: bool,
    /// There may be something to read that the system will not report again.
    may_have_more: bool,
    /// It is in the worker's ready queue.
    pub(crate) is_queued: bool,
    /// It is registered for writing, too.
    pub(crate) awaits_writing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Talking,
    /// Lingers, once all is sent.
    Ending,
    /// Closes, once all is sent.
    Closing,
    /// Waits for the peer's end, and discards at most this many bytes before it.
    Lingering {
        left: usize,
    },
}

/// What a connection waits for after a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Something to read.
    Read,
    /// Room to write, or something to read.
    Write,
    /// Nothing: it is to be polled again, since there may be more to read at once.
    Poll,
    /// Nothing: it is to be polled again later, after others, since its reply takes long.
    Late(Rank),
    /// Nothing: it is to be closed.
    Close,
}

impl<S: StreamService> Connection<S> {
    pub(crate) fn new(
        stream: OwnedFd,
        peer: Peer,
        mut service: S,
        permit: Permit,
        reading: Reading,
        now: Now,
    ) -> Self {
        service.accepted(now);
        Self {
            stream,
            peer,
            service,
            permit,
            reading,
            phase: Phase::Talking,
            since: now.uptime,
            received: Vec::new(),
            unsent: Vec::new(),
            peer_has_ended: false,
            may_have_more: false,
            is_queued: false,
            awaits_writing: false,
        }
    }

    /// Notes that the peer has ended its sending side. The system does not report it again, so reads go on to the end.
    pub(crate) fn peer_has_ended(&mut self) {
        (self.peer_has_ended, self.may_have_more) = (true, true);
    }

    /// Whether a stop may close it, because no message is under way.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.reading.deadlines, Deadlines::PerMessage { .. })
            && self.phase == Phase::Talking
            && self.received.is_empty()
            && self.unsent.is_empty()
            && !self.may_have_more
    }

    /// Whether the peer has ended in the middle of a message. Bytes behind the last message do not count.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.peer_has_ended && !self.received.is_empty() && !self.is_lingering()
    }

    /// Whether it only waits for the peer's end.
    pub(crate) fn is_lingering(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. })
    }

    /// Whether its deadline has passed.
    pub(crate) fn is_overdue(&self, uptime: Duration) -> bool {
        let limit = match (self.phase, self.reading.deadlines) {
            (Phase::Lingering { .. }, _) => LINGER,
            (_, Deadlines::Total(limit)) => limit,
            (_, Deadlines::PerMessage { idle, .. }) if self.is_idle() => idle,
            (_, Deadlines::PerMessage { message, .. }) => message,
        };
        uptime.saturating_sub(self.since) >= limit
    }

    /// Reads, answers and sends what it can without blocking. It takes at most [`Reading::gather_len`] bytes, so that
    /// other connections need not wait.
    ///
    /// # Errors
    /// The connection is lost, or there is no memory for its message.
    pub(crate) fn poll(&mut self, now: Now, scratch: &mut Scratch) -> io::Result<Interest> {
        if !self.flush()? {
            // It has not read what it was polled for.
            self.may_have_more = true;
            return Ok(Interest::Write);
        }
        match self.phase {
            Phase::Talking => self.talk(now, scratch),
            Phase::Ending => self.end(now, scratch),
            Phase::Closing => Ok(Interest::Close),
            Phase::Lingering { left } => self.linger(left, scratch),
        }
    }

    fn talk(&mut self, now: Now, scratch: &mut Scratch) -> io::Result<Interest> {
        // Most messages arrive whole, and are never copied to memory of the connection's own.
        let was_idle = self.received.is_empty();
        let mut received = mem::take(if was_idle { &mut scratch.received } else { &mut self.received });
        let arrival = self.gather(&mut received, &mut scratch.buffer)?;
        let mut rest = &received[..];
        let next = self.service.receive(now, &mut rest, &mut scratch.replies);
        let taken = received.len() - rest.len();
        if was_idle || taken > 0 {
            self.renew(now);
        }
        if was_idle || rest.is_empty() {
            self.received.extend_from_slice(rest);
            received.clear();
            received.shrink_to(Scratch::LEN);
            scratch.received = received;
        } else {
            if taken > 0 {
                received.drain(..taken);
                received.shrink_to(SPARE_LEN);
            }
            self.received = received;
        }
        let is_all_sent = self.send(&mut scratch.replies, next)?;
        match (next, arrival) {
            (Next::Read, Arrival::More | Arrival::MoreAtOnce) | (Next::Late(_), _) => {}
            (Next::Read, Arrival::Last) => self.phase = Phase::Closing,
            (Next::Close, _) => {
                self.received.clear();
                self.phase = Phase::Closing;
            }
            (Next::End, _) => self.phase = Phase::Ending,
        }
        if let Next::Late(rank) = next {
            return Ok(Interest::Late(rank));
        }
        match (self.phase, arrival) {
            _ if !is_all_sent => Ok(Interest::Write),
            (Phase::Closing, _) => Ok(Interest::Close),
            (Phase::Ending, _) => self.end(now, scratch),
            (Phase::Talking | Phase::Lingering { .. }, Arrival::MoreAtOnce) => Ok(Interest::Poll),
            (Phase::Talking | Phase::Lingering { .. }, Arrival::More | Arrival::Last) => Ok(Interest::Read),
        }
    }

    /// Reads at most [`Reading::gather_len`] bytes.
    fn gather(&mut self, received: &mut Vec<u8>, buffer: &mut [u8]) -> io::Result<Arrival> {
        let mut left = self.reading.gather_len;
        self.may_have_more = self.peer_has_ended;
        while left > 0 {
            let part_len = left.min(buffer.len());
            match read(&self.stream, buffer.get_mut(..part_len).unwrap_or_default())? {
                None => return Ok(Arrival::More),
                Some([]) => {
                    self.peer_has_ended = true;
                    return Ok(Arrival::Last);
                }
                Some(bytes) => {
                    received.extend_from_slice(bytes);
                    left -= bytes.len();
                    // A short read takes all that there is, but the peer's end may be behind it.
                    if bytes.len() < part_len && !self.peer_has_ended {
                        return Ok(Arrival::More);
                    }
                }
            }
        }
        self.may_have_more = true;
        Ok(Arrival::MoreAtOnce)
    }

    /// Sends replies, and keeps what cannot be sent yet. Returns whether all is sent.
    fn send(&mut self, replies: &mut Vec<u8>, next: Next) -> io::Result<bool> {
        let behind = match next {
            Next::Read | Next::Late(_) | Next::Close => Behind::Nothing,
            Next::End => Behind::End,
        };
        let sent = write(&self.stream, replies, behind);
        if let Ok(sent) = sent {
            self.unsent.extend_from_slice(replies.get(sent..).unwrap_or_default());
        }
        replies.clear();
        replies.shrink_to(Scratch::LEN);
        sent?;
        self.permit.hold(self.received.len() + self.unsent.len()).map_err(io::Error::other)?;
        Ok(self.unsent.is_empty())
    }

    /// Sends what could not be sent before. Returns whether all is sent.
    fn flush(&mut self) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let sent = write(&self.stream, &self.unsent, Behind::Nothing)?;
            self.unsent.drain(..sent);
            self.unsent.shrink_to(SPARE_LEN);
            self.permit.hold(self.received.len() + self.unsent.len()).map_err(io::Error::other)?;
        }
        Ok(self.unsent.is_empty())
    }

    /// Ends the sending side, and reads what is left: a socket closed with bytes unread resets the connection, and
    /// the last reply with it.
    fn end(&mut self, now: Now, scratch: &mut Scratch) -> io::Result<Interest> {
        shutdown(&self.stream, Shutdown::Write)?;
        self.since = now.uptime;
        let interest = self.await_end(LINGER_LEN);
        if self.may_have_more { self.linger(LINGER_LEN, scratch) } else { Ok(interest) }
    }

    fn await_end(&mut self, left: usize) -> Interest {
        self.phase = Phase::Lingering { left };
        Interest::Read
    }

    fn linger(&mut self, left: usize, scratch: &mut Scratch) -> io::Result<Interest> {
        let read = read(&self.stream, &mut scratch.buffer)?.map(|bytes| bytes.len());
        match read {
            None => Ok(self.await_end(left)),
            Some(0) => Ok(Interest::Close),
            Some(read) if read >= left => Ok(Interest::Close),
            Some(read) => {
                self.await_end(left - read);
                Ok(Interest::Poll)
            }
        }
    }

    /// Restarts the deadline, where it is one for each message.
    fn renew(&mut self, now: Now) {
        match self.reading.deadlines {
            Deadlines::Total(_) => {}
            Deadlines::PerMessage { .. } => self.since = now.uptime,
        }
    }
}

/// Whether there may be more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// Later: the system will report it.
    More,
    /// At once: as much was read as the service is given at a time.
    MoreAtOnce,
    /// Never: the peer has ended.
    Last,
}

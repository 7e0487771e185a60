//! One TCP connection: what has arrived goes to its conversation, what that says goes back, and in the end the last
//! reply arrives.
//!
//! ```text
//! Talking ──► Ending ──► Lingering ──► closed        everything is said
//!    │
//!    └──────► Closing ───────────────► closed        the peer has ended, or talks nonsense
//! ```
//!
//! The system tells once that there is something to read or room to write; what is not done then is lost sight of.
//! So a link reads until less comes than it could take, and says when it wants another turn.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::SockRef;

use crate::net::connections::Place;
use proto::Now;

/// What a connection is for: links and loop are the same for all services.
pub(crate) trait Conversation {
    /// The connection is there.
    fn accepted(&mut self, _now: Now) {}

    /// Takes what it understands off the front of `received`, and puts what it says to that into `replies`. What
    /// it leaves is given again, in front of what comes next.
    fn receive(&mut self, now: Now, received: &mut &[u8], replies: &mut Vec<u8>) -> Next;
}

/// How a conversation goes on, once its replies are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// With more bytes from the peer.
    Read,
    /// Not at all: everything is said.
    End,
    /// Not at all: the peer talks nonsense.
    Close,
}

/// How a service reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Bytes after which what has arrived is handed over, though there may be more.
    pub(crate) gather_len: usize,
    /// Bytes that all connections together may hold of messages that are not whole and of answers that are not
    /// sent, beyond the share that each has.
    pub(crate) memory_max: usize,
    /// How long a connection may take.
    pub(crate) patience: Patience,
}

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// From its start to its end.
    InAll(Duration),
    /// As long as it likes, message by message.
    PerMessage {
        /// Between two messages.
        rest: Duration,
        /// For a message to arrive, from its first byte to its last, and for its answer to leave.
        message: Duration,
    },
}

/// How long, and for how many bytes, a connection is read after its end, so that no reset overtakes the last reply.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_LEN: usize = 16 << 20;
/// Bytes of memory that a connection at rest keeps.
const KEPT_LEN: usize = 512;

/// Room that all links of a worker read into and reply from, so that none has to keep any.
pub(crate) struct Scratch {
    room: Box<[u8]>,
    replies: Vec<u8>,
}

impl Scratch {
    /// Bytes of the room to read into.
    const LEN: usize = 64 * 1024;
    /// Bytes of it all, where it rests.
    pub(crate) const BYTES: usize = 2 * Self::LEN;

    pub(crate) fn new() -> Self {
        Self { room: vec![0; Self::LEN].into(), replies: Vec::with_capacity(KEPT_LEN) }
    }
}

/// A connection.
pub(crate) struct Link<C> {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    conversation: C,
    place: Place,
    reading: Reading,
    phase: Phase,
    /// When what is under way began: the connection, a message, a rest, the lingering.
    since: Duration,
    /// What has arrived and is no message yet.
    received: Vec<u8>,
    /// What could not be sent yet.
    unsent: Vec<u8>,
    /// The peer will say no more than what is there.
    peer_has_ended: bool,
    /// There may be something to read that is not told of again.
    may_have_more: bool,
    /// It is in line for another turn.
    pub(crate) is_in_line: bool,
    /// It is told when there is room to write.
    pub(crate) is_told_of_room: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Talking,
    /// To linger, once all is sent.
    Ending,
    /// To be closed, once all is sent.
    Closing,
    Lingering {
        left: usize,
    },
}

/// What a link wants after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To be told when there is something to read.
    Read,
    /// To be told when there is room to write, too.
    Write,
    /// Another turn: there may be more to read at once.
    Turn,
    /// To be closed.
    Close,
}

impl<C: Conversation> Link<C> {
    pub(crate) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        mut conversation: C,
        place: Place,
        reading: Reading,
        now: Now,
    ) -> Self {
        conversation.accepted(now);
        Self {
            stream,
            peer,
            conversation,
            place,
            reading,
            phase: Phase::Talking,
            since: now.uptime,
            received: Vec::new(),
            unsent: Vec::new(),
            peer_has_ended: false,
            may_have_more: false,
            is_in_line: false,
            is_told_of_room: false,
        }
    }

    /// The peer has ended its side: reading goes on to the end, since it is not told again.
    pub(crate) fn peer_has_ended(&mut self) {
        (self.peer_has_ended, self.may_have_more) = (true, true);
    }

    /// Whether a stop may close it: nobody is waiting for anything.
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.reading.patience, Patience::PerMessage { .. })
            && self.phase == Phase::Talking
            && self.received.is_empty()
            && self.unsent.is_empty()
            && !self.may_have_more
    }

    /// Whether the peer has ended in the middle of a message. What is behind the last one is not looked at.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.peer_has_ended && !self.received.is_empty() && !self.has_said_all()
    }

    /// Whether nothing is left but to wait for the peer's end.
    pub(crate) fn has_said_all(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. })
    }

    /// Whether it has taken too long.
    pub(crate) fn is_overdue(&self, uptime: Duration) -> bool {
        let limit = match (self.phase, self.reading.patience) {
            (Phase::Lingering { .. }, _) => LINGER,
            (_, Patience::InAll(limit)) => limit,
            (_, Patience::PerMessage { rest, .. }) if self.is_at_rest() => rest,
            (_, Patience::PerMessage { message, .. }) => message,
        };
        uptime.saturating_sub(self.since) >= limit
    }

    /// Goes on as far as it can, but not for so long that others wait: at most one message that fills what is handed
    /// over at a time.
    ///
    /// # Errors
    /// Why the connection has come to an untimely end.
    pub(crate) fn turn(&mut self, now: Now, scratch: &mut Scratch) -> io::Result<Wish> {
        if !self.flush()? {
            // What this turn is for is left for later.
            self.may_have_more = true;
            return Ok(Wish::Write);
        }
        match self.phase {
            Phase::Talking => self.talk(now, scratch),
            Phase::Ending => self.end(now, scratch),
            Phase::Closing => Ok(Wish::Close),
            Phase::Lingering { left } => self.linger(left, scratch),
        }
    }

    fn talk(&mut self, now: Now, scratch: &mut Scratch) -> io::Result<Wish> {
        let was_at_rest = self.received.is_empty();
        let arrival = self.gather(scratch)?;
        let mut rest = &self.received[..];
        let next = self.conversation.receive(now, &mut rest, &mut scratch.replies);
        let taken = self.received.len() - rest.len();
        self.received.drain(..taken);
        if was_at_rest || taken > 0 {
            self.renew(now);
            self.received.shrink_to(KEPT_LEN);
        }
        let is_all_sent = self.send(&mut scratch.replies, next)?;
        match (next, arrival) {
            (Next::Read, Arrival::More | Arrival::MoreAtOnce) => {}
            (Next::Read, Arrival::Last) => self.phase = Phase::Closing,
            (Next::Close, _) => {
                self.received.clear();
                self.phase = Phase::Closing;
            }
            (Next::End, _) => self.phase = Phase::Ending,
        }
        match (self.phase, arrival) {
            _ if !is_all_sent => Ok(Wish::Write),
            (Phase::Closing, _) => Ok(Wish::Close),
            (Phase::Ending, _) => self.end(now, scratch),
            (Phase::Talking | Phase::Lingering { .. }, Arrival::MoreAtOnce) => Ok(Wish::Turn),
            (Phase::Talking | Phase::Lingering { .. }, Arrival::More | Arrival::Last) => Ok(Wish::Read),
        }
    }

    /// Takes what has arrived, up to what is handed over at a time.
    fn gather(&mut self, scratch: &mut Scratch) -> io::Result<Arrival> {
        let mut left = self.reading.gather_len;
        self.may_have_more = self.peer_has_ended;
        while left > 0 {
            let room = part(&mut scratch.room, left);
            let room_len = room.len();
            match read(&mut self.stream, room)? {
                None => return Ok(Arrival::More),
                Some([]) => {
                    self.peer_has_ended = true;
                    return Ok(Arrival::Last);
                }
                Some(bytes) => {
                    self.received.extend_from_slice(bytes);
                    left -= bytes.len();
                    // Less than there was room for is all that there is; but the end may be behind it.
                    if bytes.len() < room_len && !self.peer_has_ended {
                        return Ok(Arrival::More);
                    }
                }
            }
        }
        self.may_have_more = true;
        Ok(Arrival::MoreAtOnce)
    }

    /// Sends replies, and keeps what cannot be sent yet. Whether all is sent.
    fn send(&mut self, replies: &mut Vec<u8>, next: Next) -> io::Result<bool> {
        let sent = write(&self.stream, replies, Behind::of(next));
        if let Ok(sent) = sent {
            self.unsent.extend_from_slice(replies.get(sent..).unwrap_or_default());
        }
        replies.clear();
        replies.shrink_to(Scratch::LEN);
        sent?;
        self.place.hold(self.received.len() + self.unsent.len()).map_err(io::Error::other)?;
        Ok(self.unsent.is_empty())
    }

    /// Sends what could not be sent before. Whether all is sent.
    fn flush(&mut self) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let sent = write(&self.stream, &self.unsent, Behind::Nothing)?;
            self.unsent.drain(..sent);
            self.unsent.shrink_to(KEPT_LEN);
            self.place.hold(self.received.len() + self.unsent.len()).map_err(io::Error::other)?;
        }
        Ok(self.unsent.is_empty())
    }

    /// Ends the sending side, and reads what is left: a socket closed with bytes unread resets the connection, and
    /// the last reply with it.
    fn end(&mut self, now: Now, scratch: &mut Scratch) -> io::Result<Wish> {
        self.stream.shutdown(Shutdown::Write)?;
        self.since = now.uptime;
        let wish = self.lingers(LINGER_LEN);
        if self.may_have_more { self.linger(LINGER_LEN, scratch) } else { Ok(wish) }
    }

    fn lingers(&mut self, left: usize) -> Wish {
        self.phase = Phase::Lingering { left };
        Wish::Read
    }

    fn linger(&mut self, left: usize, scratch: &mut Scratch) -> io::Result<Wish> {
        let read = read(&mut self.stream, &mut scratch.room)?.map(|bytes| bytes.len());
        match read {
            None => Ok(self.lingers(left)),
            Some(0) => Ok(Wish::Close),
            Some(read) if read >= left => Ok(Wish::Close),
            Some(read) => {
                self.lingers(left - read);
                Ok(Wish::Turn)
            }
        }
    }

    /// A message has been taken, or has begun.
    fn renew(&mut self, now: Now) {
        match self.reading.patience {
            Patience::InAll(_) => {}
            Patience::PerMessage { .. } => self.since = now.uptime,
        }
    }
}

/// What has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// All that there is; it will be told when there is more.
    More,
    /// As much as is handed over at a time.
    MoreAtOnce,
    /// All that there ever will be.
    Last,
}

fn part(room: &mut [u8], len: usize) -> &mut [u8] {
    let len = len.min(room.len());
    room.get_mut(..len).unwrap_or_default()
}

/// Reads once: nothing if nothing has arrived, no bytes if none ever will.
fn read<'r>(stream: &mut TcpStream, room: &'r mut [u8]) -> io::Result<Option<&'r [u8]>> {
    loop {
        match stream.read(room) {
            Ok(len) => return Ok(room.get(..len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What goes out at once behind some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Nothing,
    /// The end of the sending side, which then goes into the same segment.
    End,
}

impl Behind {
    fn of(next: Next) -> Self {
        match next {
            Next::Read | Next::Close => Self::Nothing,
            Next::End => Self::End,
        }
    }
}

/// Writes as much as there is room for, and gives how much that was.
fn write(stream: &TcpStream, bytes: &[u8], behind: Behind) -> io::Result<usize> {
    let flags = match behind {
        Behind::Nothing => libc::MSG_NOSIGNAL,
        Behind::End => libc::MSG_NOSIGNAL | libc::MSG_MORE,
    };
    let mut sent = 0;
    while let Some(left) = bytes.get(sent..).filter(|left| !left.is_empty()) {
        match SockRef::from(stream).send_with_flags(left, flags) {
            Ok(len) => sent += len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

//! The small services.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::log::{self, Lines, Verbosity};
use crate::net::batch::Shape;
use crate::net::stream_service::{Deadlines, Next, Reading, StreamService};
use crate::net::udp;
use proto::server::opaque::Place;
use proto::shown::Shown;
use proto::small::guard::Guard;
use proto::small::{DATAGRAM_MAX, DatagramService};
use proto::small::{framed, md5};
use proto::{Now, Peer};

/// A connection that is idle for longer is closed, since others may need it. A message must not hold memory for long;
/// 60 s are enough for 16 MiB at 2.3 Mbit/s.
const DEADLINES: Deadlines =
    Deadlines::PerMessage { idle: Duration::from_secs(600), message: Duration::from_secs(60) };
/// This many of the longest messages may be under way at a time.
const LONGEST_AT_A_TIME: usize = 16;

/// When a service stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// It answers every message until the server stops.
    UntilStopped,
    /// It stops after its first answer.
    Once,
}

/// A small service and its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmallService {
    /// MD5 or hello over UDP.
    Datagrams(DatagramService, Serving),
    /// MD5 over TCP.
    Md5Stream,
    /// Framed texts over TCP.
    FramedStream {
        /// Bytes of one read.
        buffer_len: usize,
        /// Bytes of the longest message.
        message_max: usize,
    },
}

/// MD5 or hello over UDP.
pub(crate) struct Datagrams {
    service: DatagramService,
    guard: Guard,
    lines: Lines,
    serving: Serving,
    is_done: bool,
}

impl Datagrams {
    pub(crate) const SHAPE: Shape =
        Shape { datagrams: 16, datagram_len: DATAGRAM_MAX + 1, reply_len: DATAGRAM_MAX };

    pub(crate) fn new(
        service: DatagramService,
        own: SocketAddr,
        key: &[u8; 16],
        serving: Serving,
        verbosity: Verbosity,
    ) -> Self {
        let (guard, lines) = (Guard::new(service, own, key), Lines::new(verbosity));
        Self { service, guard, lines, serving, is_done: false }
    }
}

impl udp::UdpService for Datagrams {
    fn shape(&self) -> Shape {
        Self::SHAPE
    }

    fn react(&mut self, now: Now, peer: Peer, datagram: &[u8], reply: &mut Vec<u8>) -> Option<Place> {
        if self.is_done {
            return None;
        }
        if let Err(reason) = self.guard.admit(now.uptime, peer, datagram) {
            log::unanswered(peer, reason);
            return None;
        }
        self.service.answer(datagram, reply);
        self.is_done = self.serving == Serving::Once;
        let (message, answer) = (Shown(datagram), Shown(reply));
        match self.service {
            DatagramService::Md5 => {
                self.lines.print(now.uptime, format_args!("Received from {peer}: {message}"));
            }
            DatagramService::Hello => {
                self.lines.print(now.uptime, format_args!("Received message from {peer}: {message}"));
                self.lines.print(now.uptime, format_args!("Sent response to {peer}: {answer}"));
            }
        }
        None
    }

    fn is_done(&self) -> bool {
        self.is_done
    }
}

/// The lines of all connections of a worker.
type SharedLines = Rc<RefCell<Lines>>;

pub(crate) fn shared_lines(verbosity: Verbosity) -> SharedLines {
    Rc::new(RefCell::new(Lines::new(verbosity)))
}

/// MD5 over TCP. Each read is a message.
pub(crate) struct Md5Stream {
    pub(crate) peer: Peer,
    pub(crate) lines: SharedLines,
}

impl Md5Stream {
    pub(crate) const READING: Reading =
        Reading { gather_len: md5::STREAM_MESSAGE_MAX, memory_max: 0, deadlines: DEADLINES };
}

impl StreamService for Md5Stream {
    fn accepted(&mut self, now: Now) {
        self.lines.borrow_mut().print(now.uptime, format_args!("Accepted connection from {}", self.peer));
    }

    fn receive(&mut self, now: Now, received: &mut &[u8], replies: &mut Vec<u8>) -> Next {
        if !received.is_empty() {
            let line = format_args!("Received from {}: {}", self.peer, Shown(received));
            self.lines.borrow_mut().print(now.uptime, line);
            replies.extend_from_slice(&md5::answer(received));
            *received = &[];
        }
        Next::Read
    }
}

/// Texts with their length in front.
pub(crate) struct FramedStream {
    pub(crate) peer: Peer,
    pub(crate) message_max: usize,
    pub(crate) lines: SharedLines,
}

impl FramedStream {
    pub(crate) fn reading(buffer_len: usize, message_max: usize) -> Reading {
        let memory_max = message_max.max(buffer_len).saturating_mul(LONGEST_AT_A_TIME);
        Reading { gather_len: buffer_len, memory_max, deadlines: DEADLINES }
    }
}

impl StreamService for FramedStream {
    fn accepted(&mut self, now: Now) {
        self.lines.borrow_mut().print(now.uptime, format_args!("Accepted connection from {}", self.peer));
    }

    fn receive(&mut self, now: Now, received: &mut &[u8], replies: &mut Vec<u8>) -> Next {
        loop {
            match framed::exchange(received, self.message_max, replies) {
                Ok(Some(text)) => {
                    let line = format_args!("Received from {}: {}", self.peer, Shown(text.as_bytes()));
                    self.lines.borrow_mut().print(now.uptime, line);
                }
                Ok(None) => return Next::Read,
                Err(reason) => {
                    self.lines.borrow_mut().closed(now.uptime, self.peer, reason);
                    // Earlier answers should still arrive.
                    return Next::End;
                }
            }
        }
    }
}

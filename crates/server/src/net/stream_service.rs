//! A service over TCP, as the loop over connections sees it.

use std::time::Duration;

use proto::Now;
use proto::server::penalty::Rank;

/// A service over TCP, for one connection.
pub(crate) trait StreamService {
    /// Called once, before anything is received.
    fn accepted(&mut self, _now: Now) {}

    /// Takes whole messages off the front of `received`, and appends the answers to `replies`. The bytes it leaves
    /// are given again, in front of those that arrive next.
    fn receive(&mut self, now: Now, received: &mut &[u8], replies: &mut Vec<u8>) -> Next;
}

/// How a connection goes on, once the replies are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Read more from the peer.
    Read,
    /// Be called again later, after others: the next reply takes long.
    Late(Rank),
    /// End the sending side, and wait for the peer to end its own.
    End,
    /// Close without waiting: the peer talks nonsense.
    Close,
}

/// How a service reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// The service is given at most this many new bytes at a time.
    pub(crate) gather_len: usize,
    /// Bytes of incomplete messages and unsent answers that all connections together may hold, beyond the share of
    /// each.
    pub(crate) memory_max: usize,
    pub(crate) deadlines: Deadlines,
}

/// The time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deadlines {
    /// From its start to its end.
    Total(Duration),
    /// There is no limit on the whole, but one on each message.
    PerMessage {
        /// From one message to the next.
        idle: Duration,
        /// From the first byte of a message until its answer is sent.
        message: Duration,
    },
}

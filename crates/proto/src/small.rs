//! The small services beside the login. Each answers a message by a function of that message alone.
//!
//! | service | over | message | answer |
//! |---|---|---|---|
//! | [`md5`] | UDP | any bytes | the 32 lower-case hexadecimal digits of their MD5 |
//! | [`md5`] | TCP | what has arrived when the server reads | the same |
//! | [`hello`] | UDP | any bytes | `Hello ` and these bytes |
//! | [`framed`] | TCP | a length and a text | a length and the text without its first 10 characters |
//!
//! As pure as [`auth`](crate): bytes in, bytes out. None of the services over UDP can be made to answer
//! itself or another for ever, or to flood a third party: [`guard`] decides which datagrams are answered.
#![deny(clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

pub mod framed;
pub mod guard;
pub mod hello;
pub mod md5;

/// The most bytes that a datagram of IPv4 can hold.
pub const DATAGRAM_MAX: usize = 65_507;

/// A service over datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramService {
    /// [`md5`]
    Md5,
    /// [`hello`]
    Hello,
}

impl DatagramService {
    /// Bytes of the longest message that a datagram can answer.
    #[must_use]
    pub fn message_max(self) -> usize {
        match self {
            Self::Md5 => DATAGRAM_MAX,
            Self::Hello => DATAGRAM_MAX - hello::GREETING.len(),
        }
    }

    /// Puts the answer to a message into `reply`.
    pub fn answer(self, message: &[u8], reply: &mut Vec<u8>) {
        match self {
            Self::Md5 => reply.extend_from_slice(&md5::answer(message)),
            Self::Hello => hello::answer(message, reply),
        }
    }

    /// Whether a datagram is the answer to a message, as far as its form tells.
    #[must_use]
    pub fn is_answer(self, message: &[u8], datagram: &[u8]) -> bool {
        match self {
            Self::Md5 => md5::is_answer(datagram),
            Self::Hello => datagram.strip_prefix(hello::GREETING) == Some(message),
        }
    }

    /// Whether a datagram may be the answer of a server: this service answers no such one.
    #[must_use]
    pub fn takes_for_an_answer(self, datagram: &[u8]) -> bool {
        match self {
            Self::Md5 => md5::is_answer(datagram),
            Self::Hello => md5::is_answer(datagram) || hello::is_answer_to_an_answer(datagram),
        }
    }
}

//! The small services beside the login. The answer to a message depends on that message alone.
//!
//! | service | over | message | answer |
//! |---|---|---|---|
//! | [`md5`] | UDP | any bytes | the 32 lower-case hexadecimal digits of their MD5 |
//! | [`md5`] | TCP | the bytes that have arrived when the server reads | the same |
//! | [`hello`] | UDP | any bytes | `Hello ` and the same bytes |
//! | [`framed`] | TCP | a length and a text | a length and the text without its first 10 characters |
//!
//! Like the login exchange, they take bytes and give bytes. [`guard`] decides which datagrams are answered, so that no
//! service over UDP can be made to answer itself or another service for ever, or to flood a third party.
#![deny(clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

pub mod framed;
pub mod guard;
pub mod hello;
pub mod md5;

/// The most bytes in a datagram over IPv4.
pub const DATAGRAM_MAX: usize = 65_507;

/// A service over datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramService {
    /// The service of [`md5`].
    Md5,
    /// The service of [`hello`].
    Hello,
}

impl DatagramService {
    /// The longest message, in bytes, whose answer fits in a datagram.
    #[must_use]
    pub fn message_max(self) -> usize {
        match self {
            Self::Md5 => DATAGRAM_MAX,
            Self::Hello => DATAGRAM_MAX - hello::GREETING.len(),
        }
    }

    /// Appends the answer to a message to `reply`.
    pub fn answer(self, message: &[u8], reply: &mut Vec<u8>) {
        match self {
            Self::Md5 => reply.extend_from_slice(&md5::answer(message)),
            Self::Hello => hello::answer(message, reply),
        }
    }

    /// Whether a datagram can be the answer to a message.
    #[must_use]
    pub fn is_answer(self, message: &[u8], datagram: &[u8]) -> bool {
        match self {
            Self::Md5 => md5::is_answer(datagram),
            Self::Hello => datagram.strip_prefix(hello::GREETING) == Some(message),
        }
    }

    /// Whether a datagram may be the answer of a server. This service ignores such datagrams.
    #[must_use]
    pub fn takes_for_an_answer(self, datagram: &[u8]) -> bool {
        match self {
            Self::Md5 => md5::is_answer(datagram),
            Self::Hello => md5::is_answer(datagram) || hello::is_answer_to_an_answer(datagram),
        }
    }
}

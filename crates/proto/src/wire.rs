//! Messages ⇄ bytes, and every size and limit of the exchange.

#[cfg(test)]
mod tests;

use crate::challenge::{CHALLENGE_LEN, Challenge};
use crate::credentials::{NAME_MAX, NameError, Username};
pub use crate::dialect::Verdict;
use crate::dialect::{Dialect, REQUEST_LEN, Request};
use crate::proof::{DIGEST_LEN, Digest, RAW_DIGEST_LEN};
use std::fmt;

/// The longest message that a client may send, in bytes. Receive buffers are one byte longer, so that a longer message
/// is recognized and dropped, instead of being cut to a valid length.
pub const MESSAGE_MAX: usize = 128;
/// The longest message that a server sends, in bytes.
pub const REPLY_MAX: usize = NEW_CHALLENGE.len() + CHALLENGE_LEN;

const NEW_CHALLENGE: &str = "New challenge ";

/// The longest name and digest of an answer, with the colon between them.
pub(crate) const PROOF_MAX: usize = NAME_MAX + ":".len() + DIGEST_LEN;
const ANSWER_MIN: usize = "u:".len() + DIGEST_LEN;
const ECHO_LEN: usize = ":".len() + CHALLENGE_LEN;

// A reply is never longer than the message that caused it, so that no server can be made to amplify.
const _: () = assert!(CHALLENGE_LEN <= REQUEST_LEN);
const _: () = {
    let mut dialects: &[Dialect] = &Dialect::ALL;
    while let [dialect, rest @ ..] = dialects {
        assert!(dialect.spell(Verdict::Welcome).len() <= ANSWER_MIN);
        assert!(dialect.spell(Verdict::Refused).len() <= ANSWER_MIN);
        dialects = rest;
    }
};
const _: () = assert!(REPLY_MAX <= ANSWER_MIN + ECHO_LEN);
const _: () = assert!(PROOF_MAX + ECHO_LEN <= MESSAGE_MAX);

/// A message from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// It asks for a challenge, and for the verdict in this dialect.
    Request(Dialect),
    /// It answers a challenge.
    Answer(Answer<'a>),
}

/// A client's answer to a challenge: `name:digest[:challenge]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// A valid user name, known or not.
    pub name: &'a str,
    /// The client's MD5(name ‖ password ‖ challenge).
    pub digest: Digest,
    /// The challenge, if it is carried back.
    pub echo: Option<Challenge>,
}

/// An encoded message of this project's client, without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: [u8; MESSAGE_MAX],
    len: usize,
}

impl Message {
    /// A request for a challenge.
    #[must_use]
    pub fn request(request: Request) -> Self {
        Self::concat([request.text()])
    }

    /// An answer to a challenge, which it carries back.
    #[must_use]
    pub fn answer(name: &Username, digest: Digest, challenge: Challenge) -> Self {
        Self::concat([name.as_str().as_bytes(), b":", &digest.digits(), b":", &challenge.digits()])
    }

    /// Concatenates parts. One that does not fit is left out; the sizes above guarantee that all fit.
    fn concat<const P: usize>(parts: [&[u8]; P]) -> Self {
        let (mut bytes, mut len) = ([0; MESSAGE_MAX], 0);
        for part in parts {
            if let Some(free) = bytes.get_mut(len..len + part.len()) {
                free.copy_from_slice(part);
                len += part.len();
            }
        }
        Self { bytes, len }
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Why bytes from a client are no message. The peer is never told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Longer than [`MESSAGE_MAX`].
    TooLong,
    /// Neither a request nor anything with a colon.
    NotAMessage,
    /// The user name breaks a rule.
    Name(NameError),
    /// The bytes after the name are not a digest.
    Digest,
    /// The bytes after the digest are not a challenge.
    Echo,
    /// Not of the length that its kind has.
    Length,
    /// Bytes that must be zero are not.
    Padding,
    /// Bytes that must be an element of the group are not.
    Element,
    /// Of a mechanism that this server does not offer.
    NotServed,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("longer than any message"),
            Self::NotAMessage => f.write_str("neither a request nor an answer"),
            Self::Name(it) => write!(f, "the user name {it}"),
            Self::Digest => f.write_str("no digest after the user name"),
            Self::Echo => f.write_str("no challenge after the digest"),
            Self::Length => f.write_str("not of the length of its kind"),
            Self::Padding => f.write_str("not padded with zeros"),
            Self::Element => f.write_str("not an element of the group"),
            Self::NotServed => f.write_str("of a mechanism that is not served"),
        }
    }
}

impl std::error::Error for Malformed {}

impl From<NameError> for Malformed {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

/// Decodes a datagram.
///
/// # Errors
/// [`Malformed`] says what is wrong; trailing NUL, CR, LF and space are not.
pub fn decode(datagram: &[u8]) -> Result<ClientMessage<'_>, Malformed> {
    if datagram.len() > MESSAGE_MAX {
        return Err(Malformed::TooLong);
    }
    let text = trim_padding(datagram);
    match Request::decode(text) {
        Some(request) => Ok(ClientMessage::Request(request.dialect())),
        None => decode_answer(text).map(ClientMessage::Answer),
    }
}

/// The text in front of the first colon, where an answer has its name; `None` if it is not UTF-8. The rest of the
/// datagram is not checked.
pub fn name_in(datagram: &[u8]) -> Option<&str> {
    let colon = datagram.iter().position(|byte| *byte == b':')?;
    str::from_utf8(datagram.get(..colon)?).ok()
}

fn decode_answer(text: &[u8]) -> Result<Answer<'_>, Malformed> {
    match decode_prefix(text)? {
        Some(Prefix { name, digest, encoding: Encoding::Digits, rest }) => {
            Ok(Answer { name, digest, echo: decode_echo(rest)? })
        }
        Some(Prefix { encoding: Encoding::Raw, .. }) => Err(Malformed::Digest),
        None if text.contains(&b':') => Err(Malformed::Digest),
        None => Err(Malformed::NotAMessage),
    }
}

/// Decodes an answer to this request at the front of the bytes of a connection, without the challenge that it may carry
/// back, and gives the dialect of its verdict; `None` while it is not whole.
pub(crate) fn decode_streamed(
    bytes: &[u8],
    request: Request,
) -> Result<Option<(Answer<'_>, Dialect)>, Malformed> {
    let Some(Prefix { name, digest, encoding, .. }) = decode_prefix(bytes)? else {
        return Ok(None);
    };
    let dialect = match encoding {
        Encoding::Digits => request.dialect(),
        Encoding::Raw => Dialect::Letters,
    };
    Ok(Some((Answer { name, digest, echo: None }, dialect)))
}

/// How a digest is spelled in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// 32 hexadecimal digits, in either case.
    Digits,
    /// Its 16 bytes, as the first clients send it over TCP.
    Raw,
}

/// `name:digest` at the front of some bytes.
struct Prefix<'a> {
    name: &'a str,
    digest: Digest,
    encoding: Encoding,
    /// The bytes after it.
    rest: &'a [u8],
}

/// Decodes a name and a digest at the front of some bytes; `None` while they are not whole.
fn decode_prefix(bytes: &[u8]) -> Result<Option<Prefix<'_>>, Malformed> {
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else {
        return if bytes.len() > NAME_MAX { Err(NameError::TooLong.into()) } else { Ok(None) };
    };
    let (name, rest) = bytes.split_at(colon);
    let name = Username::check(name)?;
    let rest = rest.strip_prefix(b":").unwrap_or_default();
    let digits = rest.split_at_checked(DIGEST_LEN);
    if let Some((digits, rest)) = digits
        && let Some(digest) = Digest::from_digits(digits)
    {
        return Ok(Some(Prefix { name, digest, encoding: Encoding::Digits, rest }));
    }
    match rest.split_first_chunk::<RAW_DIGEST_LEN>() {
        Some((raw, rest)) if !raw.iter().all(u8::is_ascii_hexdigit) => {
            let digest = Digest::from_raw(*raw);
            Ok(Some(Prefix { name, digest, encoding: Encoding::Raw, rest }))
        }
        Some(_) if digits.is_some() => Err(Malformed::Digest),
        Some(_) | None => Ok(None),
    }
}

fn decode_echo(rest: &[u8]) -> Result<Option<Challenge>, Malformed> {
    if rest.is_empty() {
        return Ok(None);
    }
    let digits = rest.strip_prefix(b":").ok_or(Malformed::Echo)?;
    Challenge::from_digits(digits).map(Some).ok_or(Malformed::Echo)
}

/// Whether a byte may follow a message without being part of it.
pub(crate) fn is_padding(byte: u8) -> bool {
    matches!(byte, 0 | b'\r' | b'\n' | b' ')
}

fn trim_padding(mut text: &[u8]) -> &[u8] {
    while let Some((last, rest)) = text.split_last()
        && is_padding(*last)
    {
        text = rest;
    }
    text
}

/// A message from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// The reply to a request.
    Challenge(Challenge),
    /// The reply to an answer that carries back an unknown or expired challenge: a new one to answer.
    NewChallenge(Challenge),
    /// The reply to any other answer.
    Verdict(Verdict, Dialect),
}

impl ServerMessage {
    /// Appends the bytes to send, without terminator. With room for [`REPLY_MAX`] bytes that allocates nothing.
    pub fn append_to(self, reply: &mut Vec<u8>) {
        match self {
            Self::Challenge(challenge) => reply.extend_from_slice(&challenge.digits()),
            Self::NewChallenge(challenge) => {
                reply.extend_from_slice(NEW_CHALLENGE.as_bytes());
                reply.extend_from_slice(&challenge.digits());
            }
            Self::Verdict(verdict, dialect) => reply.extend_from_slice(dialect.spell(verdict).as_bytes()),
        }
    }

    /// Decodes a message to a client that asked for words. Padding and upper-case digits are not accepted.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut verdicts = [Verdict::Welcome, Verdict::Refused].into_iter();
        if let Some(verdict) = verdicts.find(|verdict| bytes == verdict.sentence().as_bytes()) {
            return Some(Self::Verdict(verdict, Dialect::Words));
        }
        match bytes.strip_prefix(NEW_CHALLENGE.as_bytes()) {
            Some(digits) => Challenge::from_lower_digits(digits).map(Self::NewChallenge),
            None => Challenge::from_lower_digits(bytes).map(Self::Challenge),
        }
    }
}

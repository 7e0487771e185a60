//! Messages ⇄ bytes, and every size and limit of the exchange.

use crate::challenge::{CHALLENGE_LEN, Challenge};
use crate::credentials::{NAME_MAX, NameError, Username};
use crate::dialect::{Dialect, REQUEST_LEN};
use crate::proof::{DIGEST_LEN, Digest, RAW_DIGEST_LEN};
use std::fmt;

/// The longest message that a client may send, in bytes. Receive buffers are one byte longer, so that a longer
/// message is seen to be one and is dropped, never cut to a valid length.
pub const MESSAGE_MAX: usize = 128;
/// The longest message that a server sends, in bytes.
pub const REPLY_MAX: usize = NEW_CHALLENGE.len() + CHALLENGE_LEN;

const NEW_CHALLENGE: &str = "New challenge ";
const WELCOME: &str = "Welcome to our service.";
const REFUSED: &str = "User authorization failed.";

const ANSWER_MIN: usize = "u:".len() + DIGEST_LEN;
const ECHO_LEN: usize = ":".len() + CHALLENGE_LEN;

// A reply is never longer than the message that caused it, so that no server can be made to amplify.
const _: () = assert!(CHALLENGE_LEN <= REQUEST_LEN);
const _: () = assert!(WELCOME.len() <= ANSWER_MIN && REFUSED.len() <= ANSWER_MIN);
const _: () = assert!(REPLY_MAX <= ANSWER_MIN + ECHO_LEN);
const _: () = assert!(NAME_MAX + ":".len() + DIGEST_LEN + ECHO_LEN <= MESSAGE_MAX);

/// Whether somebody knows their password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They do, and may log in.
    Welcome,
    /// They do not, or may not; the server does not say which.
    Refused,
}

impl Verdict {
    /// The server's sentence, as printed and as sent.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Welcome => WELCOME,
            Self::Refused => REFUSED,
        }
    }

    fn letter(self) -> &'static str {
        match self {
            Self::Welcome => "Y",
            Self::Refused => "N",
        }
    }
}

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// It asks for a challenge.
    Request(Dialect),
    /// It answers one.
    Answer(Answer<'a>),
}

/// A client's answer to a challenge: `name:digest[:challenge]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// A valid user name, known or not.
    pub name: &'a str,
    /// What the client says MD5(name ‖ password ‖ challenge) is.
    pub digest: Digest,
    /// The challenge, carried back.
    pub echo: Option<Challenge>,
}

/// The bytes of one message from our own client, kept in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message(Bytes<MESSAGE_MAX>);

impl Message {
    /// The request for a challenge.
    #[must_use]
    pub fn request(dialect: Dialect) -> Self {
        Self(Bytes::concat([dialect.request()]))
    }

    /// The answer to a challenge, which it carries back.
    #[must_use]
    pub fn answer(name: &Username, digest: Digest, challenge: Challenge) -> Self {
        let parts = [name.as_str().as_bytes(), b":", &digest.digits(), b":", &challenge.digits()];
        Self(Bytes::concat(parts))
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Why bytes are no message. The peer is never told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Longer than [`MESSAGE_MAX`].
    TooLong,
    /// Neither a request nor anything with a colon.
    NotAMessage,
    /// The user name breaks a rule.
    Name(NameError),
    /// What follows the name is not a digest, or more than a digest and a challenge.
    Digest,
    /// What follows the digest is not a challenge.
    Echo,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("longer than any message"),
            Self::NotAMessage => f.write_str("neither a request nor an answer"),
            Self::Name(it) => write!(f, "the user name {it}"),
            Self::Digest => f.write_str("no digest after the user name"),
            Self::Echo => f.write_str("no challenge after the digest"),
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
    match Dialect::requested_by(text) {
        Some(dialect) => Ok(ClientMessage::Request(dialect)),
        None => decode_answer(text).map(ClientMessage::Answer),
    }
}

/// What stands where an answer has its name.
pub fn name_in(datagram: &[u8]) -> Option<&str> {
    let colon = datagram.iter().position(|byte| *byte == b':')?;
    str::from_utf8(datagram.get(..colon)?).ok()
}

fn decode_answer(text: &[u8]) -> Result<Answer<'_>, Malformed> {
    match decode_prefix(text)? {
        Some((answer, Encoding::Digits, rest)) => Ok(Answer { echo: decode_echo(rest)?, ..answer }),
        Some((_, Encoding::Raw, _)) => Err(Malformed::Digest),
        None if text.contains(&b':') => Err(Malformed::Digest),
        None => Err(Malformed::NotAMessage),
    }
}

/// How a digest is spelled in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// 32 hexadecimal digits, in either case.
    Digits,
    /// Its 16 bytes, as the first clients send it over TCP.
    Raw,
}

/// Decodes `name:digest` at the front of some bytes, and gives the bytes after it; `None` while it is not whole.
pub(crate) fn decode_prefix(bytes: &[u8]) -> Result<Option<(Answer<'_>, Encoding, &[u8])>, Malformed> {
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else {
        return if bytes.len() > NAME_MAX { Err(NameError::TooLong.into()) } else { Ok(None) };
    };
    let (name, rest) = bytes.split_at(colon);
    let name = Username::check(name)?;
    let answer = |digest| Answer { name, digest, echo: None };
    let rest = rest.strip_prefix(b":").unwrap_or_default();
    let digits = rest.split_at_checked(DIGEST_LEN);
    if let Some((digits, rest)) = digits
        && let Some(digest) = Digest::from_digits(digits)
    {
        return Ok(Some((answer(digest), Encoding::Digits, rest)));
    }
    match rest.split_first_chunk::<RAW_DIGEST_LEN>() {
        Some((raw, rest)) if !raw.iter().all(u8::is_ascii_hexdigit) => {
            Ok(Some((answer(Digest::from_raw(*raw)), Encoding::Raw, rest)))
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

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// The challenge that was asked for.
    Challenge(Challenge),
    /// The challenge carried back is not one of ours, or no longer; here is one that is.
    NewChallenge(Challenge),
    /// The end.
    Verdict(Verdict, Dialect),
}

impl ServerMessage {
    /// The bytes to send, without terminator.
    #[must_use]
    pub fn encode(self) -> Reply {
        Reply(match self {
            Self::Challenge(challenge) => Bytes::concat([&challenge.digits()]),
            Self::NewChallenge(challenge) => Bytes::concat([NEW_CHALLENGE.as_bytes(), &challenge.digits()]),
            Self::Verdict(verdict, Dialect::Words) => Bytes::concat([verdict.sentence().as_bytes()]),
            Self::Verdict(verdict, Dialect::Letters) => Bytes::concat([verdict.letter().as_bytes()]),
        })
    }

    /// Decodes what a server says to a client that asked for words. Exact: no padding, lower-case digits.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes == WELCOME.as_bytes() {
            return Some(Self::Verdict(Verdict::Welcome, Dialect::Words));
        }
        if bytes == REFUSED.as_bytes() {
            return Some(Self::Verdict(Verdict::Refused, Dialect::Words));
        }
        match bytes.strip_prefix(NEW_CHALLENGE.as_bytes()) {
            Some(digits) => Challenge::from_lower_digits(digits).map(Self::NewChallenge),
            None => Challenge::from_lower_digits(bytes).map(Self::Challenge),
        }
    }
}

/// The bytes of one message from a server, kept in place: there is no allocation for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply(Bytes<REPLY_MAX>);

impl AsRef<[u8]> for Reply {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Up to `N` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Bytes<N> {
    /// The parts in a row; what does not fit is left out, and the sizes above see to it that all fits.
    fn concat<const P: usize>(parts: [&[u8]; P]) -> Self {
        let mut bytes = [0; N];
        let mut len = 0;
        for part in parts {
            if let Some(place) = bytes.get_mut(len..len + part.len()) {
                place.copy_from_slice(part);
                len += part.len();
            }
        }
        Self { bytes, len }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "userone:f82160d527af37de4ba8ac9f59a8ca30";

    fn answer(text: &str) -> Result<Answer<'_>, Malformed> {
        match decode(text.as_bytes())? {
            ClientMessage::Answer(answer) => Ok(answer),
            ClientMessage::Request(dialect) => panic!("a request in {dialect:?}"),
        }
    }

    #[test]
    fn each_spelling_of_the_request_asks_for_its_form() {
        for (text, dialect) in [
            ("Authentication Request", Dialect::Words),
            ("authentication request", Dialect::Words),
            ("Authentication request", Dialect::Letters),
        ] {
            for padding in ["", "\0", "\r\n", " \n\0\0"] {
                let padded = format!("{text}{padding}");
                assert_eq!(decode(padded.as_bytes()), Ok(ClientMessage::Request(dialect)), "{padded:?}");
            }
        }
    }

    #[test]
    fn no_other_spelling_is_a_request() {
        for text in
            ["AUTHENTICATION REQUEST", "authentication Request", " Authentication Request", "", "\0\r\n "]
        {
            assert_eq!(decode(text.as_bytes()), Err(Malformed::NotAMessage), "{text:?}");
        }
    }

    #[test]
    fn an_answer_is_a_name_and_a_digest_in_either_case() {
        let lower = answer(ANSWER).unwrap();
        assert_eq!((lower.name, lower.echo), ("userone", None));
        assert_eq!(answer("userone:F82160D527AF37DE4BA8AC9F59A8CA30\r\n"), Ok(lower));
    }

    #[test]
    fn an_answer_may_carry_the_challenge_back() {
        let echoed = answer(&format!("{ANSWER}:5bf76b8a82f5f462")).map(|answer| answer.echo);
        assert_eq!(echoed, Ok(Challenge::from_digits(b"5bf76b8a82f5f462")));
    }

    #[test]
    fn an_answer_with_anything_else_in_it_is_malformed() {
        let cases = [
            ("userone".to_owned(), Malformed::NotAMessage),
            (format!(":{}", "0".repeat(32)), Malformed::Name(NameError::Empty)),
            (format!(" {ANSWER}"), Malformed::Name(NameError::OuterSpace)),
            (format!("user\u{7}one:{}", "0".repeat(32)), Malformed::Name(NameError::Control)),
            (format!("{}:{}", "u".repeat(65), "0".repeat(32)), Malformed::Name(NameError::TooLong)),
            ("userone:".to_owned(), Malformed::Digest),
            (format!("userone:{}", "0".repeat(31)), Malformed::Digest),
            (format!("userone:{}", "g".repeat(32)), Malformed::Digest),
            (format!("userone::{}", "0".repeat(32)), Malformed::Digest),
            (format!("{ANSWER}0"), Malformed::Echo),
            (format!("{ANSWER}:"), Malformed::Echo),
            (format!("{ANSWER}:5bf76b8a82f5f46"), Malformed::Echo),
            (format!("{ANSWER}:5bf76b8a82f5f4621"), Malformed::Echo),
            (format!("{ANSWER}:+bf76b8a82f5f462"), Malformed::Echo),
        ];
        for (text, reason) in cases {
            assert_eq!(answer(&text), Err(reason), "{text:?}");
        }
        assert_eq!(decode(b"\xff\xfe:00000000000000000000000000000000"), Err(NameError::NotUtf8.into()));
    }

    #[test]
    fn a_message_one_byte_over_the_limit_is_refused_and_not_cut() {
        let mut datagram = ANSWER.as_bytes().to_vec();
        datagram.resize(MESSAGE_MAX, 0);
        assert!(decode(&datagram).is_ok());
        datagram.push(0);
        assert_eq!(decode(&datagram), Err(Malformed::TooLong));
        assert_eq!(decode(&[b'a'; 65_507]), Err(Malformed::TooLong));
    }

    #[test]
    fn a_client_reads_back_what_a_server_writes_in_words() {
        let challenge = Challenge::from_digits(b"00000000000000ff").unwrap();
        for message in [
            ServerMessage::Challenge(challenge),
            ServerMessage::NewChallenge(challenge),
            ServerMessage::Verdict(Verdict::Welcome, Dialect::Words),
            ServerMessage::Verdict(Verdict::Refused, Dialect::Words),
        ] {
            assert_eq!(ServerMessage::decode(message.encode().as_ref()), Some(message));
        }
    }

    #[test]
    fn letters_are_one_byte() {
        assert_eq!(ServerMessage::Verdict(Verdict::Welcome, Dialect::Letters).encode().as_ref(), b"Y");
        assert_eq!(ServerMessage::Verdict(Verdict::Refused, Dialect::Letters).encode().as_ref(), b"N");
    }

    #[test]
    fn a_client_ignores_all_else() {
        for bytes in [
            &b""[..],
            b"5bf76b8a82f5f46",
            b"5bf76b8a82f5f4620",
            b"5BF76B8A82F5F462",
            b"New challenge 5bf76b8a82f5f46",
            b"new challenge 5bf76b8a82f5f462",
            b"Welcome to our service",
            b"Welcome to our service.\n",
            b"Y",
        ] {
            assert_eq!(ServerMessage::decode(bytes), None, "{bytes:?}");
        }
    }
}

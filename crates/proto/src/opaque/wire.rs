//! Messages ⇄ bytes. Each kind has one length, the same over UDP and TCP. Numbers are big-endian.
//!
//! ```text
//! head       0   6 ff "lmi", version 1, kind
//!
//! REQUEST    6  26 zeros                   BEGIN    6   8 challenge          FINISH   6   1 length of name
//! CHALLENGE  6   8 challenge                       14   1 length of name              7  64 name, then zeros
//! AGAIN      6   8 new challenge                   15  64 name, then zeros           71  64 KE3
//! VERDICT    6   1 0 refused, 1 welcome            79  96 KE1                       135 176 state, as offered
//!            7  32 tag                            175 351 zeros
//!                                         OFFER    6  16 first half of the client's nonce in KE1
//!                                                 22   8 stretching
//!                                                 30 320 KE2
//!                                                350 176 state, sealed
//! ```
//!
//! KE1, KE2 and KE3 are those of RFC 9807, section 6. No UTF-8 begins with 0xFF, so no bytes are a message of the other
//! mechanism, too. A reply is never longer than its cause.

mod fields;

use crate::challenge::Challenge;
use crate::credentials::NAME_MAX;
use crate::dialect::Verdict;
use crate::opaque::session::{KE3_LEN, TAG_LEN, verdict_byte};
use crate::opaque::stretching::STRETCHING_LEN;
use crate::wire::Malformed;
use fields::Fields;

/// The bytes with which each message begins, in front of its kind.
pub const MAGIC: [u8; 5] = *b"\xfflmi\x01";
const HEAD_LEN: usize = MAGIC.len() + 1;
const CHALLENGE_LEN: usize = 8;
/// Bytes of KE1: blinded element 32, nonce 32, public key 32.
pub const KE1_LEN: usize = 96;
/// Where the client's nonce begins in KE1.
const KE1_NONCE_AT: usize = 32;
/// Bytes of KE2: evaluated element 32, masking nonce 32, masked response 128, nonce 32, public key 32, MAC 64.
pub const KE2_LEN: usize = 320;
/// Bytes of the state that a server seals for itself: nonce 24, body 136, tag 16.
pub const STATE_LEN: usize = 176;
/// Bytes of the client's nonce that an OFFER repeats.
pub const ECHO_LEN: usize = 16;

/// Bytes of a REQUEST.
pub const REQUEST_LEN: usize = 32;
/// Bytes of a CHALLENGE, and of an AGAIN.
pub const CHALLENGE_MESSAGE_LEN: usize = HEAD_LEN + CHALLENGE_LEN;
/// Bytes of a BEGIN.
pub const BEGIN_LEN: usize = OFFER_LEN;
/// Bytes of an OFFER.
pub const OFFER_LEN: usize = HEAD_LEN + ECHO_LEN + STRETCHING_LEN + KE2_LEN + STATE_LEN;
/// Bytes of a FINISH.
pub const FINISH_LEN: usize = HEAD_LEN + 1 + NAME_MAX + KE3_LEN + STATE_LEN;
/// Bytes of a VERDICT.
pub const VERDICT_LEN: usize = HEAD_LEN + 1 + TAG_LEN;
/// The longest message that a client sends, and the longest that a server does.
pub const MESSAGE_MAX: usize = BEGIN_LEN;

/// KE1 of a BEGIN ends here; zeros follow.
const BEGIN_END: usize = HEAD_LEN + CHALLENGE_LEN + 1 + NAME_MAX + KE1_LEN;

// A reply is never longer than the message that caused it.
const _: () = assert!(CHALLENGE_MESSAGE_LEN <= REQUEST_LEN && REQUEST_LEN <= OFFER_LEN);
const _: () = assert!(OFFER_LEN <= BEGIN_LEN && CHALLENGE_MESSAGE_LEN <= FINISH_LEN);
const _: () = assert!(VERDICT_LEN <= FINISH_LEN);
const _: () = assert!(BEGIN_LEN == 526 && FINISH_LEN == 311 && BEGIN_END == 175);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    Challenge,
    Begin,
    Offer,
    Finish,
    Verdict,
    Again,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Request, Self::Challenge, Self::Begin, Self::Offer, Self::Finish, Self::Verdict, Self::Again];

    fn len(self) -> usize {
        match self {
            Self::Request => REQUEST_LEN,
            Self::Challenge | Self::Again => CHALLENGE_MESSAGE_LEN,
            Self::Begin => BEGIN_LEN,
            Self::Offer => OFFER_LEN,
            Self::Finish => FINISH_LEN,
            Self::Verdict => VERDICT_LEN,
        }
    }
}

/// A message from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// It asks for a challenge.
    Request,
    /// It begins a login.
    Begin(Begin<'a>),
    /// It ends one.
    Finish(Finish<'a>),
}

/// The first message of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin<'a> {
    /// The challenge that the client was given.
    pub challenge: Challenge,
    /// A valid user name, known or not.
    pub name: &'a str,
    /// KE1 of RFC 9807.
    pub ke1: &'a [u8; KE1_LEN],
}

/// The last message of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish<'a> {
    /// The name of the BEGIN.
    pub name: &'a str,
    /// KE3 of RFC 9807. Zeros say that the offer did not verify: the password is wrong, or the user unknown.
    pub ke3: &'a [u8; KE3_LEN],
    /// The state of the OFFER.
    pub state: &'a [u8; STATE_LEN],
}

/// A message from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// The reply to a REQUEST.
    Challenge(Challenge),
    /// The reply to a BEGIN.
    Offer(Offer<'a>),
    /// The reply to a FINISH.
    Verdict {
        /// What it says.
        verdict: Verdict,
        /// That it is from the server which has the record.
        tag: &'a [u8; TAG_LEN],
    },
    /// The reply to a BEGIN or FINISH that the server cannot use: another challenge, for another BEGIN.
    Again(Challenge),
}

/// The server's part of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The first half of the client's nonce.
    pub echo: &'a [u8; ECHO_LEN],
    /// How to stretch the password.
    pub stretching: &'a [u8; STRETCHING_LEN],
    /// KE2 of RFC 9807.
    pub ke2: &'a [u8; KE2_LEN],
    /// What the FINISH carries back.
    pub state: &'a [u8; STATE_LEN],
}

/// Whether these bytes are, or begin, a message of this mechanism and of no other.
#[must_use]
pub fn is_opaque(bytes: &[u8]) -> bool {
    bytes.first() == MAGIC.first()
}

/// The length of the message from a client at the front of the bytes of a connection; `None` while that cannot be
/// known.
///
/// # Errors
/// [`Malformed::NotAMessage`]: no message of a client begins so.
pub fn client_message_len(front: &[u8]) -> Result<Option<usize>, Malformed> {
    message_len(front, &[Kind::Request, Kind::Begin, Kind::Finish])
}

/// The same for messages from a server.
///
/// # Errors
/// [`Malformed::NotAMessage`]: no message of a server begins so.
pub fn server_message_len(front: &[u8]) -> Result<Option<usize>, Malformed> {
    message_len(front, &[Kind::Challenge, Kind::Offer, Kind::Verdict, Kind::Again])
}

fn message_len(front: &[u8], kinds: &[Kind]) -> Result<Option<usize>, Malformed> {
    let known = front.len().min(MAGIC.len());
    if front.get(..known) != MAGIC.get(..known) {
        return Err(Malformed::NotAMessage);
    }
    let Some(kind) = front.get(MAGIC.len()) else { return Ok(None) };
    let kind = kinds.iter().find(|it| **it as u8 == *kind).ok_or(Malformed::NotAMessage)?;
    Ok(Some(kind.len()))
}

/// Decodes a message from a client.
///
/// # Errors
/// [`Malformed`] says what is wrong.
pub fn decode_from_client(bytes: &[u8]) -> Result<ClientMessage<'_>, Malformed> {
    let (kind, mut fields) = Fields::of(bytes)?;
    match kind {
        Kind::Request => {
            fields.zeros(REQUEST_LEN - HEAD_LEN)?;
            Ok(ClientMessage::Request)
        }
        Kind::Begin => {
            let challenge = fields.challenge()?;
            let (name, ke1) = (fields.name()?, fields.take()?);
            fields.zeros(BEGIN_LEN - BEGIN_END)?;
            Ok(ClientMessage::Begin(Begin { challenge, name, ke1 }))
        }
        Kind::Finish => {
            let name = fields.name()?;
            Ok(ClientMessage::Finish(Finish { name, ke3: fields.take()?, state: fields.take()? }))
        }
        Kind::Challenge | Kind::Offer | Kind::Verdict | Kind::Again => Err(Malformed::NotAMessage),
    }
}

/// The name in a BEGIN or FINISH of the right length; `None` if there is none. The rest is not checked.
#[must_use]
pub fn name_in(datagram: &[u8]) -> Option<&str> {
    let (kind, mut fields) = Fields::of(datagram).ok()?;
    match kind {
        Kind::Begin => fields.challenge().and_then(|_| fields.name()).ok(),
        Kind::Finish => fields.name().ok(),
        Kind::Request | Kind::Challenge | Kind::Offer | Kind::Verdict | Kind::Again => None,
    }
}

impl<'a> ServerMessage<'a> {
    /// Decodes a message to a client; `None` if it is none.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (kind, mut fields) = Fields::of(bytes).ok()?;
        match kind {
            Kind::Challenge => fields.challenge().ok().map(Self::Challenge),
            Kind::Again => fields.challenge().ok().map(Self::Again),
            Kind::Offer => {
                let (echo, stretching) = (fields.take().ok()?, fields.take().ok()?);
                let (ke2, state) = (fields.take().ok()?, fields.take().ok()?);
                Some(Self::Offer(Offer { echo, stretching, ke2, state }))
            }
            Kind::Verdict => {
                let [byte] = fields.take::<1>().ok()?;
                let mut verdicts = [Verdict::Refused, Verdict::Welcome].into_iter();
                let verdict = verdicts.find(|verdict| verdict_byte(*verdict) == *byte)?;
                Some(Self::Verdict { verdict, tag: fields.take().ok()? })
            }
            Kind::Request | Kind::Begin | Kind::Finish => None,
        }
    }

    /// Appends the bytes to send. With room for [`MESSAGE_MAX`] bytes that allocates nothing.
    pub fn append_to(&self, reply: &mut Vec<u8>) {
        let kind = match self {
            Self::Challenge(_) => Kind::Challenge,
            Self::Offer(_) => Kind::Offer,
            Self::Verdict { .. } => Kind::Verdict,
            Self::Again(_) => Kind::Again,
        };
        reply.extend_from_slice(&head(kind));
        match self {
            Self::Challenge(challenge) | Self::Again(challenge) => {
                reply.extend_from_slice(&challenge.bits().to_be_bytes());
            }
            Self::Offer(Offer { echo, stretching, ke2, state }) => {
                for part in [echo.as_slice(), stretching.as_slice(), ke2.as_slice(), state.as_slice()] {
                    reply.extend_from_slice(part);
                }
            }
            Self::Verdict { verdict, tag } => {
                reply.push(verdict_byte(*verdict));
                reply.extend_from_slice(*tag);
            }
        }
    }
}

impl Begin<'_> {
    /// The bytes to send.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; BEGIN_LEN] {
        let Self { challenge, name, ke1 } = self;
        let (len, name) = padded(name);
        concat([&head(Kind::Begin), &challenge.bits().to_be_bytes(), &len, &name, ke1.as_slice()])
    }
}

/// The first half of the client's nonce in KE1, which the OFFER repeats.
#[must_use]
pub fn echo(ke1: &[u8; KE1_LEN]) -> [u8; ECHO_LEN] {
    ke1.get(KE1_NONCE_AT..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default()
}

impl Finish<'_> {
    /// The bytes to send.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; FINISH_LEN] {
        let Self { name, ke3, state } = self;
        let (len, name) = padded(name);
        concat([&head(Kind::Finish), &len, &name, ke3.as_slice(), state.as_slice()])
    }
}

/// The bytes of a REQUEST.
#[must_use]
pub fn request() -> [u8; REQUEST_LEN] {
    concat([head(Kind::Request).as_slice()])
}

fn head(kind: Kind) -> [u8; HEAD_LEN] {
    concat([MAGIC.as_slice(), &[kind as u8]])
}

/// A name as it stands in a message. A valid one is not longer than its field.
fn padded(name: &str) -> ([u8; 1], [u8; NAME_MAX]) {
    ([name.len() as u8], concat([name.as_bytes()]))
}

/// Parts, one after the other, and zeros after them. One that does not fit is left out; the sizes above guarantee that
/// all fit.
pub(crate) fn concat<const P: usize, const N: usize>(parts: [&[u8]; P]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut room = bytes.as_mut_slice();
    for part in parts {
        let Some((slot, rest)) = room.split_at_mut_checked(part.len()) else { break };
        slot.copy_from_slice(part);
        room = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: Challenge = Challenge::from_random(0x0123_4567_89ab_cdef);

    fn begin() -> [u8; BEGIN_LEN] {
        Begin { challenge: CHALLENGE, name: "zoë", ke1: &[7; KE1_LEN] }.to_bytes()
    }

    fn finish() -> [u8; FINISH_LEN] {
        Finish { name: "zoë", ke3: &[8; KE3_LEN], state: &[9; STATE_LEN] }.to_bytes()
    }

    #[test]
    fn messages_of_clients_stand_where_the_specification_says() {
        assert_eq!(request(), *b"\xfflmi\x01\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        let begin = begin();
        assert_eq!(begin[..14], *b"\xfflmi\x01\x02\x01\x23\x45\x67\x89\xab\xcd\xef");
        assert_eq!((&begin[14..19], &begin[19..79]), (&b"\x04zo\xc3\xab"[..], &[0; 60][..]));
        assert_eq!((&begin[79..175], &begin[175..]), (&[7; 96][..], &[0; 351][..]));
        let finish = finish();
        assert_eq!((&finish[..11], &finish[11..71]), (&b"\xfflmi\x01\x04\x04zo\xc3\xab"[..], &[0; 60][..]));
        assert_eq!((&finish[71..135], &finish[135..]), (&[8; 64][..], &[9; 176][..]));
    }

    #[test]
    fn messages_of_servers_stand_where_the_specification_says() {
        let bytes = |message: ServerMessage<'_>| {
            let mut bytes = Vec::new();
            message.append_to(&mut bytes);
            assert_eq!(ServerMessage::decode(&bytes), Some(message));
            bytes
        };
        let challenge = b"\xfflmi\x01\x01\x01\x23\x45\x67\x89\xab\xcd\xef";
        assert_eq!(bytes(ServerMessage::Challenge(CHALLENGE)), challenge);
        assert_eq!(bytes(ServerMessage::Again(CHALLENGE))[5], 6);
        let verdict = bytes(ServerMessage::Verdict { verdict: Verdict::Welcome, tag: &[5; TAG_LEN] });
        assert_eq!((&verdict[..7], &verdict[7..]), (&b"\xfflmi\x01\x05\x01"[..], &[5; 32][..]));
        let offer = bytes(ServerMessage::Offer(Offer {
            echo: &[1; ECHO_LEN],
            stretching: &[2; STRETCHING_LEN],
            ke2: &[3; KE2_LEN],
            state: &[4; STATE_LEN],
        }));
        assert_eq!((&offer[..6], &offer[6..22]), (&b"\xfflmi\x01\x03"[..], &[1; 16][..]));
        assert_eq!(
            (&offer[22..30], &offer[30..350], &offer[350..]),
            (&[2; 8][..], &[3; 320][..], &[4; 176][..])
        );
    }

    #[test]
    fn a_message_is_decoded_as_it_was_encoded() {
        let begin = begin();
        let Ok(ClientMessage::Begin(decoded)) = decode_from_client(&begin) else { panic!() };
        assert_eq!((decoded.challenge, decoded.name, decoded.ke1), (CHALLENGE, "zoë", &[7; KE1_LEN]));
        let finish = finish();
        let Ok(ClientMessage::Finish(decoded)) = decode_from_client(&finish) else { panic!() };
        assert_eq!((decoded.name, decoded.ke3, decoded.state), ("zoë", &[8; KE3_LEN], &[9; STATE_LEN]));
        assert_eq!(decode_from_client(&request()), Ok(ClientMessage::Request));
        assert_eq!([&begin[..], &finish, &request()].map(name_in), [Some("zoë"), Some("zoë"), None]);
    }

    #[test]
    fn another_length_is_no_message() {
        for whole in [&begin()[..], &finish(), &request()] {
            for len in 0..whole.len() {
                assert!(decode_from_client(&whole[..len]).is_err(), "{len}");
            }
            assert_eq!(decode_from_client(&[whole, &[0]].concat()), Err(Malformed::Length));
        }
    }

    #[test]
    fn padding_that_is_not_zero_another_version_and_another_kind_are_no_message() {
        let changed = |at: usize, byte: u8| {
            let mut bytes = begin();
            bytes[at] = byte;
            decode_from_client(&bytes).unwrap_err()
        };
        assert_eq!([19, 78, 175, 525].map(|at| changed(at, 1)), [Malformed::Padding; 4]);
        assert_eq!(
            [(0, 0xfe), (3, b'I'), (4, 2), (5, 7)].map(|(at, byte)| changed(at, byte)),
            [Malformed::NotAMessage; 4]
        );
        // The kinds of servers, and one of another length.
        assert_eq!([1, 5, 6, 4].map(|kind| changed(5, kind)), [Malformed::Length; 4]);
        assert_eq!(changed(5, 3), Malformed::NotAMessage);
    }

    #[test]
    fn the_length_of_a_message_is_known_once_its_kind_is() {
        for (message, len) in [(&begin()[..], 526), (&finish(), 311), (&request(), 32)] {
            assert!((0..6).all(|front| client_message_len(&message[..front]) == Ok(None)));
            assert_eq!(client_message_len(&message[..6]), Ok(Some(len)));
            assert_eq!(server_message_len(&message[..6]), Err(Malformed::NotAMessage));
        }
        assert_eq!(client_message_len(b"\xfflmI"), Err(Malformed::NotAMessage));
        assert_eq!(server_message_len(b"\xfflmi\x01\x05"), Ok(Some(39)));
    }
}

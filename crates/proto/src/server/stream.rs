//! The server's side over TCP: one login from the bytes of a connection, however they are segmented.

use crate::challenge::Challenge;
use crate::dialect::{REQUEST_LEN, Request};
use crate::mechanism::{Mechanism, Mechanisms};
use crate::opaque::wire::{self as opaque_wire, BEGIN_LEN, Begin, ClientMessage, Finish};
use crate::origin::Origin;
use crate::server::Case;
use crate::server::desk::Desk;
use crate::server::event::{Event, Reaction};
use crate::server::opaque::OpaqueDesk;
use crate::server::penalty::Rank;
use crate::server::recent::Sighting;
use crate::transport::Transport;
use crate::users::Found;
use crate::wire::{self, Malformed, PROOF_MAX, ServerMessage};

/// Bytes of padding that may follow a request: the first clients may send a buffer of fixed size.
const PADDING_MAX: usize = 4096;
/// Bytes of a receive buffer: any message is whole, or known to be malformed, before such a buffer is full.
pub const BUFFER_LEN: usize = BEGIN_LEN;
const _: () = assert!(PROOF_MAX <= BUFFER_LEN);
/// How often a login by OPAQUE may begin again.
const AGAINS_MAX: u8 = 5;

/// A login over one connection: a request, a challenge, one answer, a verdict. By OPAQUE, three messages each.
///
/// Messages are delimited by their bytes alone, so segmentation makes no difference. The verdict follows as soon as the
/// digest is whole; bytes after the digest are not read.
pub struct LoginStream {
    challenge: Challenge,
    mechanisms: Mechanisms,
    expected: Expected,
    padding: usize,
    agains: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Request,
    Answer(Request),
    Begin,
    /// The BEGIN is here, and its guess is reserved; its offer is due.
    ToOffer(Rank),
    /// The offer was made, and its state ends in these bytes.
    Finish([u8; 16]),
    Nothing,
}

impl LoginStream {
    /// A login by one of these mechanisms, for which `challenge` will be issued: 64 bits of the system's generator,
    /// drawn for this login alone.
    #[must_use]
    pub fn new(challenge: Challenge, mechanisms: Mechanisms) -> Self {
        Self { challenge, mechanisms, expected: Expected::Request, padding: 0, agains: 0 }
    }

    /// Whether the login has ended, with a verdict or without one.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.expected == Expected::Nothing
    }

    /// Takes a message off the front of `received`, reacts to it, and appends the reply, if there is one, to `replies`.
    ///
    /// Call it until it returns `None`: the login has ended, or needs more bytes. Pass the bytes that are then left in
    /// `received` again, followed by the next ones from the connection. After [`Event::Waiting`] the next call computes
    /// an offer, which takes some 200 µs: call again after others.
    pub fn receive<'a>(
        &mut self,
        case: Case<'_>,
        opaque: &mut OpaqueDesk,
        received: &mut &'a [u8],
        replies: &mut Vec<u8>,
    ) -> Option<Reaction<'a>> {
        let is_opaque = match self.expected {
            Expected::Request => opaque_wire::is_opaque(received),
            Expected::Begin | Expected::ToOffer(_) | Expected::Finish(_) => true,
            Expected::Answer(_) | Expected::Nothing => false,
        };
        let reaction = match self.expected {
            _ if is_opaque => self.opaque(case, opaque, received, replies),
            Expected::Request => self.request(received, replies),
            Expected::Answer(request) => self.answer(request, case, received, replies),
            Expected::Begin | Expected::ToOffer(_) | Expected::Finish(_) | Expected::Nothing => Ok(None),
        };
        reaction.unwrap_or_else(|reason| {
            self.expected = Expected::Nothing;
            let mechanism = if is_opaque { Mechanism::Opaque } else { Mechanism::Md5 };
            Some(Event::Malformed(reason).by(mechanism))
        })
    }

    fn request(
        &mut self,
        received: &mut &[u8],
        replies: &mut Vec<u8>,
    ) -> Result<Option<Reaction<'static>>, Malformed> {
        let Some((text, rest)) = received.split_first_chunk::<REQUEST_LEN>() else {
            return Ok(None);
        };
        let request = Request::decode(text).ok_or(Malformed::NotAMessage)?;
        if !self.mechanisms.md5 {
            return Err(Malformed::NotServed);
        }
        *received = rest;
        self.expected = Expected::Answer(request);
        ServerMessage::Challenge(self.challenge).append_to(replies);
        Ok(Some(Event::Challenged.into()))
    }

    fn answer<'a>(
        &mut self,
        request: Request,
        case: Case<'_>,
        received: &mut &'a [u8],
        replies: &mut Vec<u8>,
    ) -> Result<Option<Reaction<'a>>, Malformed> {
        self.skip_padding(received)?;
        let Some((answer, dialect)) = wire::decode_streamed(received, request)? else {
            return Ok(None);
        };
        self.expected = Expected::Nothing;
        let desk = Desk { case, origin: Origin::Proven };
        let judge =
            |desk: &Desk<'_>, found: &Found<'_>| desk.judge(found, &answer, (dialect, self.challenge));
        Ok(Some(desk.settle(&answer, dialect, judge, |_| Sighting::First, replies)))
    }

    fn skip_padding(&mut self, received: &mut &[u8]) -> Result<(), Malformed> {
        while let Some((first, rest)) = received.split_first()
            && wire::is_padding(*first)
        {
            *received = rest;
            self.padding += 1;
        }
        if self.padding > PADDING_MAX { Err(Malformed::TooLong) } else { Ok(()) }
    }

    fn opaque<'a>(
        &mut self,
        case: Case<'_>,
        desk: &mut OpaqueDesk,
        received: &mut &'a [u8],
        replies: &mut Vec<u8>,
    ) -> Result<Option<Reaction<'a>>, Malformed> {
        let Some(len) = opaque_wire::client_message_len(received)? else { return Ok(None) };
        let Some((message, rest)) = received.split_at_checked(len) else { return Ok(None) };
        if !(self.mechanisms.opaque && case.users.has_key()) {
            return Err(Malformed::NotServed);
        }
        let reaction = match (self.expected, opaque_wire::decode_from_client(message)?) {
            (Expected::Request, ClientMessage::Request) => {
                opaque_wire::ServerMessage::Challenge(self.challenge).append_to(replies);
                self.expected = Expected::Begin;
                Event::Challenged.by(Mechanism::Opaque)
            }
            (Expected::Begin, ClientMessage::Begin(begin)) if begin.challenge == self.challenge => {
                return Ok(Some(self.begin(case, &begin)));
            }
            (Expected::Begin, ClientMessage::Begin(_)) => self.again(replies)?,
            (Expected::ToOffer(rank), ClientMessage::Begin(begin)) => {
                self.offer(case, desk, &begin, rank, replies)
            }
            (Expected::Finish(offered), ClientMessage::Finish(finish)) => {
                if finish.state.last_chunk() == Some(&offered) {
                    self.finish(case, desk, &finish, replies)?
                } else {
                    self.again(replies)?
                }
            }
            _ => return Err(Malformed::NotAMessage),
        };
        *received = rest;
        Ok(Some(reaction))
    }

    /// Leaves the BEGIN where it is until the next call, or ends the login.
    fn begin<'a>(&mut self, case: Case<'_>, begin: &Begin<'a>) -> Reaction<'a> {
        let (found, rank) = case.rank(begin.name);
        match case.reserve(Transport::Tcp, (found, rank), begin) {
            Ok(()) => {
                self.expected = Expected::ToOffer(rank);
                Event::Waiting { rank, place: None }.by(Mechanism::Opaque)
            }
            Err(event) => {
                self.expected = Expected::Nothing;
                event.by(Mechanism::Opaque)
            }
        }
    }

    /// Makes the offer, whose state alone can finish the login.
    fn offer(
        &mut self,
        case: Case<'_>,
        desk: &mut OpaqueDesk,
        begin: &Begin<'_>,
        rank: Rank,
        replies: &mut Vec<u8>,
    ) -> Reaction<'static> {
        let reaction = desk.offer(case, begin.name, begin.ke1, rank, replies);
        self.expected = match replies.last_chunk() {
            Some(offered) if !reaction.is_silent() => Expected::Finish(*offered),
            Some(_) | None => Expected::Nothing,
        };
        reaction
    }

    fn finish<'a>(
        &mut self,
        case: Case<'_>,
        desk: &OpaqueDesk,
        finish: &Finish<'a>,
        replies: &mut Vec<u8>,
    ) -> Result<Reaction<'a>, Malformed> {
        let Some(reaction) = desk.finish(case, finish, |_| Sighting::First, replies) else {
            return self.again(replies);
        };
        self.expected = Expected::Nothing;
        Ok(reaction)
    }

    /// Has the login begin again, unless it has done so too often.
    fn again(&mut self, replies: &mut Vec<u8>) -> Result<Reaction<'static>, Malformed> {
        if self.agains >= AGAINS_MAX {
            return Err(Malformed::NotAMessage);
        }
        self.agains += 1;
        self.expected = Expected::Begin;
        // Another one, since the client takes the same for a copy. What is unpredictable is the connection.
        self.challenge = Challenge::from_random(self.challenge.bits().wrapping_add(1));
        opaque_wire::ServerMessage::Again(self.challenge).append_to(replies);
        Ok(Event::Rechallenged.by(Mechanism::Opaque))
    }
}

//! The server's side over TCP: one login from the bytes of a connection, however they are segmented.

use crate::challenge::Challenge;
use crate::dialect::{REQUEST_LEN, Request};
use crate::origin::Origin;
use crate::server::desk::Desk;
use crate::server::event::{Event, Reaction};
use crate::server::penalty::Penalties;
use crate::server::recent::Sighting;
use crate::users::{Found, Users};
use crate::wire::{self, Malformed, PROOF_MAX, ServerMessage};
use crate::{Now, Peer};

/// Bytes of padding that may follow a request: the first clients may send a buffer of fixed size.
const PADDING_MAX: usize = 4096;
/// Bytes of a receive buffer: any message is whole, or known to be malformed, before such a buffer is full.
pub const BUFFER_LEN: usize = PROOF_MAX;

/// A login over one connection: a request, a challenge, one answer, a verdict.
///
/// Messages are delimited by their bytes alone, so segmentation makes no difference. The verdict follows as soon as the
/// digest is whole; bytes after the digest are not read.
pub struct LoginStream {
    challenge: Challenge,
    expected: Expected,
    padding: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Request,
    Answer(Request),
    Nothing,
}

impl LoginStream {
    /// A login for which `challenge` will be issued: 64 bits of the system's generator, drawn for this login alone.
    #[must_use]
    pub fn new(challenge: Challenge) -> Self {
        Self { challenge, expected: Expected::Request, padding: 0 }
    }

    /// Whether the login has ended, with a verdict or without one.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.expected == Expected::Nothing
    }

    /// Takes a message off the front of `received`, reacts to it, and appends the reply, if there is one, to `replies`.
    ///
    /// Call it until it returns `None`: the login has ended, or needs more bytes. Pass the bytes that are then left in
    /// `received` again, followed by the next ones from the connection.
    pub fn receive<'a>(
        &mut self,
        users: &Users,
        penalties: &Penalties,
        now: Now,
        peer: Peer,
        received: &mut &'a [u8],
        replies: &mut Vec<u8>,
    ) -> Option<Reaction<'a>> {
        let reaction = match self.expected {
            Expected::Request => self.request(received, replies),
            Expected::Answer(request) => {
                let desk = Desk { users, penalties, now, peer, origin: Origin::Proven };
                self.answer(request, desk, received, replies)
            }
            Expected::Nothing => Ok(None),
        };
        reaction.unwrap_or_else(|reason| {
            self.expected = Expected::Nothing;
            Some(Event::Malformed(reason).into())
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
        *received = rest;
        self.expected = Expected::Answer(request);
        ServerMessage::Challenge(self.challenge).append_to(replies);
        Ok(Some(Event::Challenged.into()))
    }

    fn answer<'a>(
        &mut self,
        request: Request,
        desk: Desk<'_>,
        received: &mut &'a [u8],
        replies: &mut Vec<u8>,
    ) -> Result<Option<Reaction<'a>>, Malformed> {
        self.skip_padding(received)?;
        let Some((answer, dialect)) = wire::decode_streamed(received, request)? else {
            return Ok(None);
        };
        self.expected = Expected::Nothing;
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
}

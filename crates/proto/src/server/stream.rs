//! The server's side over TCP: a connection's bytes, in any pieces, make one login.

use std::net::SocketAddr;

use crate::Now;
use crate::challenge::Challenge;
use crate::credentials::NAME_MAX;
use crate::dialect::{Dialect, REQUEST_LEN};
use crate::origin::Origin;
use crate::proof::DIGEST_LEN;
use crate::server::desk::Desk;
use crate::server::event::{Event, Reaction};
use crate::server::penalty::Penalties;
use crate::server::recent::Sighting;
use crate::users::{Found, Users};
use crate::wire::{self, Encoding, Malformed, ServerMessage};

/// Padding that may follow a request: a first client may send a buffer of fixed size.
const PADDING_MAX: usize = 4096;
/// A buffer of this size never fills up before a message in it is whole, or is seen to be malformed.
pub const BUFFER_LEN: usize = NAME_MAX + ":".len() + DIGEST_LEN;

/// One login over one connection: a request, a challenge, one answer, a verdict.
///
/// The bytes alone tell where a message ends, so it makes no difference how they are cut into segments. The verdict
/// is given as soon as the digest is whole; what follows the digest is not read.
pub struct Conversation {
    challenge: Challenge,
    expected: Expected,
    padding: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Request,
    Answer(Dialect),
    Nothing,
}

impl Conversation {
    /// A conversation in which `challenge` will be issued: 64 bits of the system's generator, for this one alone.
    #[must_use]
    pub fn new(challenge: Challenge) -> Self {
        Self { challenge, expected: Expected::Request, padding: 0 }
    }

    /// Whether the verdict has been given, or never will be.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.expected == Expected::Nothing
    }

    /// Takes what it understands off the front of `received`, and reacts to it.
    ///
    /// To be called until it gives `None`, which means that the conversation is over or wants more bytes. What it
    /// has left in `received` by then is to be given again, in front of what comes next.
    pub fn receive<'a>(
        &mut self,
        users: &Users,
        penalties: &Penalties,
        now: Now,
        peer: SocketAddr,
        received: &mut &'a [u8],
    ) -> Option<Reaction<'a>> {
        let reaction = match self.expected {
            Expected::Request => self.request(received),
            Expected::Answer(dialect) => self.answer(dialect, users, penalties, now, peer, received),
            Expected::Nothing => Ok(None),
        };
        reaction.unwrap_or_else(|reason| {
            self.expected = Expected::Nothing;
            Some(Reaction::ignore(Event::Malformed(reason)))
        })
    }

    fn request(&mut self, received: &mut &[u8]) -> Result<Option<Reaction<'static>>, Malformed> {
        let Some((text, rest)) = received.split_first_chunk::<REQUEST_LEN>() else {
            return Ok(None);
        };
        let dialect = Dialect::requested_by(text).ok_or(Malformed::NotAMessage)?;
        *received = rest;
        self.expected = Expected::Answer(dialect);
        Ok(Some(Reaction::reply(ServerMessage::Challenge(self.challenge), Event::Challenged)))
    }

    fn answer<'a>(
        &mut self,
        asked: Dialect,
        users: &Users,
        penalties: &Penalties,
        now: Now,
        peer: SocketAddr,
        received: &mut &'a [u8],
    ) -> Result<Option<Reaction<'a>>, Malformed> {
        self.skip_padding(received)?;
        let Some((answer, encoding, _)) = wire::decode_prefix(received)? else {
            return Ok(None);
        };
        let dialect = match encoding {
            Encoding::Digits => asked,
            Encoding::Raw => Dialect::Letters,
        };
        self.expected = Expected::Nothing;
        let desk = Desk { users, penalties, now, peer, origin: Origin::Proven };
        let judge =
            |desk: &Desk<'_>, found: &Found<'_>| desk.judge(found, &answer, (dialect, self.challenge));
        Ok(Some(desk.settle(&answer, dialect, judge, |_| Sighting::First)))
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

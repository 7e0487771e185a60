//! The server's side: a message in, at most one reply and exactly one event out.
//!
//! [`Server`] is the whole service over UDP. Over TCP a [`LoginStream`](crate::server::stream::LoginStream) decodes
//! the same messages from the bytes of a connection, and judges them in the same way.

mod desk;
pub mod event;
pub mod fleet;
pub mod keyring;
pub mod opaque;
pub mod penalty;
pub mod recent;
pub mod stream;

use std::iter;
use std::sync::Arc;

use crate::challenge::Purpose;
use crate::dialect::Dialect;
use crate::mechanism::{Mechanism, Mechanisms};
use crate::opaque::{Binding, wire as opaque_wire};
use crate::origin::Origin;
use crate::server::desk::Desk;
use crate::server::event::{Event, Reaction};
use crate::server::keyring::OwnKeys;
use crate::server::opaque::{OfferMaker, OpaqueDatagrams, OpaqueDesk};
use crate::server::penalty::Penalties;
use crate::server::recent::{RareChallenges, Welcomes};
use crate::transport::Transport;
use crate::users::Users;
use crate::wire::{self, Answer, ClientMessage, Malformed, ServerMessage};
use crate::{Now, Peer};

/// The authentication service over UDP.
pub struct Server {
    keys: OwnKeys,
    welcomes: Welcomes,
    rare: RareChallenges,
    penalties: Arc<Penalties>,
    opaque: OpaqueDatagrams,
    /// What the operator says; absent, what the users log in by.
    mechanisms: Option<Mechanisms>,
}

/// The keys of a running server, each of 128 random bits. They are never written anywhere.
#[derive(Clone)]
pub struct Keys {
    /// The key of the challenges.
    pub challenges: [u8; 16],
    /// The key of the tables of recent logins and of recent offers.
    pub welcomes: [u8; 16],
    /// The key of the tables of failures.
    pub sources: [u8; 16],
    /// The key of the hashes that stand in the log for unknown names.
    pub names: [u8; 16],
    /// The key under which states of logins by OPAQUE are sealed, of 256 bits.
    pub states: [u8; 32],
}

/// What a worker draws for logins by OPAQUE follows from this: 256 random bits. It cannot be copied, since two workers
/// with the same would use nonces twice.
pub struct Seed(pub [u8; 32]);

/// The circumstances of a message.
#[derive(Clone, Copy)]
pub struct Case<'u> {
    /// Who may log in.
    pub users: &'u Users,
    /// Who has failed too often.
    pub penalties: &'u Penalties,
    /// When it came.
    pub now: Now,
    /// Who sent it.
    pub peer: Peer,
}

impl Keys {
    /// Keys whose bytes `fill` draws, from the system's generator.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn draw<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let [mut challenges, mut welcomes, mut sources, mut names] = [[0; 16]; 4];
        let mut states = [0; 32];
        for key in [&mut challenges, &mut welcomes, &mut sources, &mut names] {
            fill(key)?;
        }
        fill(&mut states)?;
        Ok(Self { challenges, welcomes, sources, names, states })
    }

    /// Keys that everybody knows, for tests and examples: all bytes are `byte`.
    #[must_use]
    pub fn known(byte: u8) -> Self {
        let key = [byte; 16];
        Self { challenges: key, welcomes: key, sources: key, names: key, states: [byte; 32] }
    }
}

impl Server {
    /// A server that has issued no challenge yet. All workers share the same penalties. It speaks the mechanisms by
    /// which its users log in, unless `mechanisms` says otherwise.
    #[must_use]
    pub fn new(keys: &Keys, seed: Seed, penalties: Arc<Penalties>, mechanisms: Option<Mechanisms>) -> Self {
        let desk = OpaqueDesk::new(Transport::Udp, keys, seed, Binding::none());
        Self {
            opaque: OpaqueDatagrams::new(desk, &keys.welcomes, penalties.clone()),
            mechanisms,
            keys: OwnKeys::new(keys),
            welcomes: Welcomes::new(&keys.welcomes),
            rare: RareChallenges::new(),
            penalties,
        }
    }

    /// The same for clients whose logins by OPAQUE have this binding. Offers of makers that it gave before have none.
    #[must_use]
    pub fn bound_to(mut self, binding: Binding) -> Self {
        self.opaque.maker.bind(binding);
        self
    }

    /// Reacts to a datagram from `peer`, and appends the reply, if there is one, to `reply`. None is longer than its
    /// datagram.
    pub fn datagram<'a>(
        &mut self,
        users: &Users,
        now: Now,
        peer: Peer,
        datagram: &'a [u8],
        reply: &mut Vec<u8>,
    ) -> Reaction<'a> {
        if let Err(penalty) = self.penalties.check_source(now.uptime, peer) {
            let is_opaque = opaque_wire::is_opaque(datagram);
            let mechanism = if is_opaque { Mechanism::Opaque } else { Mechanism::Md5 };
            return Event::Penalized { penalty, user: None }.by(mechanism);
        }
        let before = reply.len();
        let mechanisms = self.mechanisms.unwrap_or_else(|| users.mechanisms());
        let reaction = if opaque_wire::is_opaque(datagram) {
            if mechanisms.opaque && users.has_key() {
                self.opaque_datagram(users, now, peer, datagram, reply)
            } else {
                Event::Malformed(Malformed::NotServed).by(Mechanism::Opaque)
            }
        } else {
            match wire::decode(datagram) {
                Ok(_) if !mechanisms.md5 => Event::Malformed(Malformed::NotServed).into(),
                Ok(ClientMessage::Request(dialect)) => self.request(users, now, peer, dialect, reply),
                Ok(ClientMessage::Answer(answer)) => self.answer(users, now, peer, &answer, reply),
                Err(reason) => Event::Malformed(reason).into(),
            }
        };
        debug_assert!(reply.len() - before <= datagram.len());
        debug_assert_eq!(reaction.is_silent(), reply.len() == before);
        reaction
    }

    /// Whether a login by OPAQUE waits for its offer.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.opaque.has_waiting()
    }

    /// Computes the offer that is next, for a program without a thread that has an
    /// [`offer_maker`](Self::offer_maker), and appends it to `reply`, unless there is none to make. `None` if no login
    /// waits.
    pub fn offer(
        &mut self,
        users: &Users,
        now: Now,
        reply: &mut Vec<u8>,
    ) -> Option<(Peer, Reaction<'static>)> {
        let waiter = self.opaque.maker.next(now)?;
        let reaction = self.opaque.maker.offer(users, now, &waiter, reply);
        self.opaque.maker.leave(&waiter);
        Some((waiter.peer, reaction))
    }

    /// What makes the offers to the logins that wait, for a thread of its own, so that no other datagram waits.
    #[must_use]
    pub fn offer_maker(&self, seed: Seed) -> OfferMaker {
        self.opaque.offer_maker(seed)
    }

    fn opaque_datagram<'a>(
        &mut self,
        users: &Users,
        now: Now,
        peer: Peer,
        datagram: &'a [u8],
        reply: &mut Vec<u8>,
    ) -> Reaction<'a> {
        let case = Case { users, penalties: &self.penalties, now, peer };
        let keys = self.keys.or_shared(users, now);
        let again = |reply: &mut Vec<u8>| {
            opaque_wire::ServerMessage::Again(keys.issue_opaque(peer)).append_to(reply);
            Event::Rechallenged.by(Mechanism::Opaque)
        };
        match opaque_wire::decode_from_client(datagram) {
            Ok(opaque_wire::ClientMessage::Request) => {
                opaque_wire::ServerMessage::Challenge(keys.issue_opaque(peer)).append_to(reply);
                Event::Challenged.by(Mechanism::Opaque)
            }
            Ok(opaque_wire::ClientMessage::Begin(begin)) => {
                if keys.is_live_opaque(peer, begin.challenge) {
                    self.opaque.begin(case, keys.epoch(), &begin, reply)
                } else {
                    again(reply)
                }
            }
            Ok(opaque_wire::ClientMessage::Finish(finish)) => {
                let judged = self.opaque.finish(case, &finish, reply);
                judged.unwrap_or_else(|| again(reply))
            }
            Err(reason) => Event::Malformed(reason).by(Mechanism::Opaque),
        }
    }

    fn request(
        &mut self,
        users: &Users,
        now: Now,
        peer: Peer,
        dialect: Dialect,
        reply: &mut Vec<u8>,
    ) -> Reaction<'static> {
        let challenge = self.keys.or_shared(users, now).issue(peer, Purpose::Request(dialect));
        if dialect.is_rare() {
            self.rare.note(challenge, now.uptime);
        }
        ServerMessage::Challenge(challenge).append_to(reply);
        Event::Challenged.into()
    }

    fn answer<'a>(
        &mut self,
        users: &Users,
        now: Now,
        peer: Peer,
        answer: &Answer<'a>,
        reply: &mut Vec<u8>,
    ) -> Reaction<'a> {
        let Some(echo) = answer.echo else {
            return self.unproven_answer(users, now, peer, answer, reply);
        };
        let keys = self.keys.or_shared(users, now);
        let Some(purpose) = keys.redeem(peer, echo) else {
            ServerMessage::NewChallenge(keys.issue(peer, Purpose::Renewal)).append_to(reply);
            return Event::Rechallenged.into();
        };
        let case = Case { users, penalties: &self.penalties, now, peer };
        let desk = Desk { case, origin: Origin::Proven };
        let dialect = purpose.dialect();
        let sight = |challenge| match purpose {
            Purpose::Request(_) => self.welcomes.note(challenge, iter::empty(), answer.name),
            // If an answer to an expired challenge is doubled, its sender may be given several new challenges.
            Purpose::Renewal => {
                let renewals = keys.live(peer, purpose);
                self.welcomes.note(challenge, renewals, answer.name)
            }
        };
        desk.settle(answer, dialect, |desk, found| desk.judge(found, answer, (dialect, echo)), sight, reply)
    }

    /// An answer that does not say which challenge it is for is tried with each that the peer may have been given.
    fn unproven_answer<'a>(
        &mut self,
        users: &Users,
        now: Now,
        peer: Peer,
        answer: &Answer<'a>,
        reply: &mut Vec<u8>,
    ) -> Reaction<'a> {
        let keys = self.keys.or_shared(users, now);
        let live =
            |dialect| keys.live(peer, Purpose::Request(dialect)).map(move |challenge| (dialect, challenge));
        // If no rare dialect was asked for lately, no challenge for one needs to be tried. Servers that share keys do
        // not know what the others were asked for.
        let any_rare = keys.are_shared() || self.rare.any_live(now.uptime);
        let rare_dialects = || Dialect::ALL.into_iter().filter(|dialect| any_rare && dialect.is_rare());
        let rare = || rare_dialects().flat_map(live);
        let asked = rare().find(|(_, challenge)| self.rare.contains(*challenge));
        let dialect = asked.map_or(Dialect::Words, |(dialect, _)| dialect);
        let case = Case { users, penalties: &self.penalties, now, peer };
        let desk = Desk { case, origin: Origin::Unproven };
        let challenges = live(Dialect::Words).chain(rare());
        desk.settle(
            answer,
            dialect,
            |desk, found| desk.judge_by_any(found, answer, challenges),
            |challenge| self.welcomes.note(challenge, iter::empty(), answer.name),
            reply,
        )
    }
}

//! The server's side of OPAQUE, cheapest step first.
//!
//! ```text
//! BEGIN   its challenge? ── no ──► AGAIN
//!         offered before? ── yes ─► the same OFFER
//!         a place to wait?  a guess left? ── no ──► nothing
//!         … waits, since what follows takes as long as some fifty logins by MD5 …
//!         record, or the fake one ──► KE2 ──► OFFER, with the state sealed
//!
//! FINISH  opens, not too old? ── no ──► AGAIN
//!         right, and still admitted? ──► VERDICT
//! ```
//!
//! Unknown, disabled and expired users, and those who may not log in from there, take one path: their offer is made
//! with a fake record, so that no password fits it.

mod offers;
mod seal;
mod waiting;

use std::hash::Hasher;
use std::iter;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use siphasher::sip::SipHasher24;
use subtle::Choice;

use crate::challenge::Challenge;
use crate::mechanism::Mechanism;
use crate::opaque::Binding;
use crate::opaque::exchange::{NotAnElement, ServerExchange, UserPart};
use crate::opaque::session::KE3_LEN;
use crate::opaque::wire::{Begin, Finish, MESSAGE_MAX, Offer, ServerMessage};
use crate::origin::Origin;
use crate::server::event::{Event, Reaction, Reason, Refusal};
use crate::server::penalty::{Penalties, Rank};
use crate::server::recent::{Sighting, Welcomes};
use crate::server::{Case, Seed};
use crate::transport::Transport;
use crate::users::{Found, PasswordAge, Users};
use crate::wire::{Malformed, Verdict};
use crate::{Now, Peer};
use offers::Offers;
use seal::{Owner, Seal};
pub use waiting::PLACES;
use waiting::{Waiter, Waiting};

/// Bytes of the ring of offers and the places to wait, for each UDP worker.
pub const BYTES: usize = Offers::BYTES + Waiting::BYTES;

/// What a worker needs for offers and verdicts, over either transport.
pub struct OpaqueDesk {
    seal: Seal,
    random: ChaCha20Rng,
    binding: Binding,
    transport: Transport,
}

impl<'u> Case<'u> {
    /// Looks for the user of a BEGIN, and tells the order in which the login is served.
    pub(crate) fn rank<'a>(self, name: &'a str) -> (Found<'a>, Rank)
    where
        'u: 'a,
    {
        let found = self.users.find(name, Mechanism::Opaque);
        (found, self.penalties.rank(self.now.uptime, self.peer, &found))
    }

    /// Debits the guess of a BEGIN, or says why it is ignored.
    pub(crate) fn reserve<'a>(
        &self,
        (found, rank): (Found<'_>, Rank),
        begin: &Begin<'a>,
    ) -> Result<(), Event<'a>> {
        let reserved = self.penalties.reserve(self.now.uptime, self.peer, &found, rank, begin.ke1);
        reserved.map_err(|penalty| {
            let user = bool::from(found.is_known).then_some(begin.name);
            Event::Penalized { penalty, user }
        })
    }
}

impl OpaqueDesk {
    /// The key is that under which the workers of a door seal states: 256 random bits.
    #[must_use]
    pub fn new(transport: Transport, key: &[u8; 32], Seed(seed): Seed, binding: Binding) -> Self {
        Self { seal: Seal::new(key), random: ChaCha20Rng::from_seed(seed), binding, transport }
    }

    /// Computes an offer, and appends it to `reply`. Two thirds of the work of a login are here.
    pub(crate) fn offer(
        &mut self,
        case: Case<'_>,
        begin: &Begin<'_>,
        rank: Rank,
        reply: &mut Vec<u8>,
    ) -> Reaction<'static> {
        let Case { users, penalties, now, peer } = case;
        let Some(opaque) = users.opaque() else {
            return Event::Malformed(Malformed::NotServed).by(Mechanism::Opaque);
        };
        let found = penalties.offered(now.uptime, users.find(begin.name, Mechanism::Opaque), rank);
        let is_admitted = found.admit(PasswordAge::Present, now.unix_s, peer.ip()).is_ok();
        let (stretching, record) = found.opaque_part(opaque, Choice::from(u8::from(is_admitted)));
        let mut exchange = |record| {
            let user = UserPart { name: begin.name, record, stretching: &stretching };
            ServerExchange::new(&opaque.key, &user, begin.ke1, &self.binding, &mut self.random)
        };
        // Silence about a damaged record would tell that there is such a user.
        let exchanged = match exchange(&record) {
            Err(NotAnElement::Record) => exchange(&opaque.fake),
            exchanged => exchanged,
        };
        let Ok(ServerExchange { ke2, pending }) = exchanged else {
            return Event::Malformed(Malformed::Element).by(Mechanism::Opaque);
        };
        let owner = Owner { transport: self.transport, peer, name: begin.name };
        let state = self.seal.seal(owner, now.uptime, rank, &pending, &mut self.random);
        let offer = Offer { echo: &begin.echo(), stretching: &stretching, ke2: &ke2, state: &state };
        ServerMessage::Offer(offer).append_to(reply);
        Event::Offered.by(Mechanism::Opaque)
    }

    /// Judges a FINISH, counts the result, and appends the verdict to `reply`. `sight` says whether the login was
    /// counted before. `None` if the state is not one of this server's and this peer's, or too old.
    pub(crate) fn finish<'a>(
        &self,
        case: Case<'_>,
        finish: &Finish<'a>,
        sight: impl FnOnce(Challenge) -> Sighting,
        reply: &mut Vec<u8>,
    ) -> Option<Reaction<'a>> {
        let Case { users, penalties, now, peer } = case;
        let owner = Owner { transport: self.transport, peer, name: finish.name };
        let (rank, pending) = self.seal.open(owner, now.uptime, finish.state)?;
        let found = users.find(finish.name, Mechanism::Opaque);
        let admitted = found.admit(PasswordAge::Present, now.unix_s, peer.ip());
        let is_right = bool::from(pending.is_right(finish.ke3) & found.is_known);
        let verdict = if is_right && admitted.is_ok() { Verdict::Welcome } else { Verdict::Refused };
        let tag = pending.session.verdict_tag(verdict, finish.ke3);
        ServerMessage::Verdict { verdict, tag: &tag }.append_to(reply);
        Some(match verdict {
            Verdict::Welcome => {
                let sighting = sight(login_number(finish.ke3));
                if sighting == Sighting::First {
                    penalties.welcomed_guess(now.uptime, peer, &found, rank);
                }
                let password = PasswordAge::Present;
                let event = Event::Welcomed { user: finish.name, sighting, password };
                let session = (sighting == Sighting::First).then_some(pending.session);
                Reaction { session, ..event.by(Mechanism::Opaque) }
            }
            Verdict::Refused => {
                let reason = match admitted {
                    _ if !bool::from(found.is_known) => Reason::UnknownUser,
                    Ok(()) if penalties.offered(now.uptime, found, rank).is_refused_unseen() => {
                        Reason::TriedTooOften
                    }
                    Ok(()) => Reason::WrongPassword,
                    Err(denial) => Reason::Denied(denial),
                };
                let refusal = Refusal { name: finish.name, reason, origin: Origin::Proven };
                Event::Refused(refusal).by(Mechanism::Opaque)
            }
        })
    }
}

/// Identifies a login among those that are remembered. No two have the same KE3, since the server drew a nonce for it.
fn login_number(ke3: &[u8; KE3_LEN]) -> Challenge {
    Challenge::from_random(u64::from_ne_bytes(ke3.first_chunk().copied().unwrap_or_default()))
}

/// OPAQUE over UDP, for one worker.
pub(crate) struct OpaqueDatagrams {
    desk: OpaqueDesk,
    offers: Offers,
    waiting: Waiting,
    keyed: SipHasher24,
}

impl OpaqueDatagrams {
    /// `key` is for the hashes of messages.
    pub(crate) fn new(desk: OpaqueDesk, key: &[u8; 16]) -> Self {
        Self { desk, offers: Offers::new(), waiting: Waiting::new(), keyed: SipHasher24::new_with_key(key) }
    }

    /// Whether a login waits for its offer.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Reacts to a BEGIN with a challenge that the peer was given: with the offer that it got before, or with nothing
    /// now, and an offer later.
    pub(crate) fn begin<'a>(
        &mut self,
        case: Case<'_>,
        begin: &Begin<'a>,
        reply: &mut Vec<u8>,
    ) -> Reaction<'a> {
        let number = self.number(case.peer, begin);
        if let Some(offer) = self.offers.of(number, case.now.uptime) {
            reply.extend_from_slice(offer);
            return Event::Offered.by(Mechanism::Opaque);
        }
        let (found, rank) = case.rank(begin.name);
        // Without a place no guess is spent, and the client sends it again.
        let Some(place) = self.waiting.place_for(case.peer, rank) else {
            return Event::Crowded.by(Mechanism::Opaque);
        };
        match case.reserve((found, rank), begin) {
            Ok(()) => {
                self.waiting.put(place, case.peer, rank, number, begin, case.now.uptime);
                Event::Waiting { rank, place: Some(place) }.by(Mechanism::Opaque)
            }
            Err(event) => event.by(Mechanism::Opaque),
        }
    }

    /// Computes the offer of the login that is next, and gives its place and peer.
    pub(crate) fn offer(
        &mut self,
        users: &Users,
        penalties: &Penalties,
        now: Now,
        reply: &mut Vec<u8>,
    ) -> Option<(usize, Peer, Reaction<'static>)> {
        let (place, waiter) = self.waiting.next(now.uptime)?;
        let Waiter { peer, begin: number, rank, ke1, .. } = waiter;
        let begin = Begin { challenge: Challenge::from_random(0), name: waiter.name(), ke1: &ke1 };
        let before = reply.len();
        let reaction = self.desk.offer(Case { users, penalties, now, peer }, &begin, rank, reply);
        self.offers.note(number, reply.get(before..).unwrap_or_default(), now.uptime);
        debug_assert!(reply.len() - before <= MESSAGE_MAX);
        Some((place, peer, reaction))
    }

    /// Judges a FINISH; `None` if its state cannot be used.
    pub(crate) fn finish<'a>(
        &self,
        case: Case<'_>,
        finish: &Finish<'a>,
        welcomes: &mut Welcomes,
        reply: &mut Vec<u8>,
    ) -> Option<Reaction<'a>> {
        let sight = |login| welcomes.note(login, iter::empty(), finish.name);
        self.desk.finish(case, finish, sight, reply)
    }

    /// Identifies a BEGIN among those that are remembered. Never 0, which marks a free slot. The challenge is left out:
    /// a client may begin again with another, and the guess is the same.
    fn number(&self, peer: Peer, begin: &Begin<'_>) -> u64 {
        let mut keyed = self.keyed;
        keyed.write(&peer.mark());
        keyed.write(begin.ke1);
        keyed.write(begin.name.as_bytes());
        keyed.finish() | 1
    }
}

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

mod datagrams;
mod offers;
pub(crate) mod seal;
mod waiting;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use subtle::Choice;

use crate::challenge::Challenge;
use crate::mechanism::Mechanism;
use crate::opaque::Binding;
use crate::opaque::exchange::{NotAnElement, ServerExchange, UserPart};
use crate::opaque::session::KE3_LEN;
use crate::opaque::wire::{Begin, Finish, KE1_LEN, Offer, ServerMessage, echo};
use crate::origin::Origin;
use crate::server::event::{Event, Reaction, Reason, Refusal};
use crate::server::keyring::{KeysAt, OwnKeys};
use crate::server::penalty::Rank;
use crate::server::recent::Sighting;
use crate::server::{Case, Keys, Seed};
use crate::transport::Transport;
use crate::users::{Denial, Found, PasswordAge};
use crate::wire::{Malformed, Verdict};
pub(crate) use datagrams::OpaqueDatagrams;
pub use datagrams::{BYTES, OfferMaker};
use seal::{Offered, Owner, Sealer};
pub use waiting::{PLACES, Place, Waiter};

/// What a worker needs for offers and verdicts, over either transport.
pub struct OpaqueDesk {
    keys: OwnKeys,
    sealer: Sealer,
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

    /// Debits the guess of a BEGIN, or says why it is ignored. Datagrams are sent again, so over UDP the same KE1 is
    /// one guess. Over TCP each BEGIN is one, since no two have the same challenge.
    pub(crate) fn reserve<'a>(
        &self,
        transport: Transport,
        (found, rank): (Found<'_>, Rank),
        begin: &Begin<'a>,
    ) -> Result<(), Event<'a>> {
        let challenge = match transport {
            Transport::Udp => None,
            Transport::Tcp => Some(begin.challenge),
        };
        let reserved = self.penalties.reserve(self.now.uptime, self.peer, &found, rank, begin.ke1, challenge);
        reserved.map_err(|penalty| {
            let user = bool::from(found.is_known).then_some(begin.name);
            Event::Penalized { penalty, user }
        })
    }
}

impl OpaqueDesk {
    /// The keys are those of all workers of a door.
    #[must_use]
    pub fn new(transport: Transport, keys: &Keys, Seed(seed): Seed, binding: Binding) -> Self {
        let mut random = ChaCha20Rng::from_seed(seed);
        let sealer = Sealer::from_random(random.next_u64());
        Self { keys: OwnKeys::new(keys), sealer, random, binding, transport }
    }

    /// Another one for the same logins, which draws other numbers.
    fn with_seed(&self, Seed(seed): Seed) -> Self {
        Self { keys: self.keys.clone(), random: ChaCha20Rng::from_seed(seed), ..*self }
    }

    /// Computes an offer, and appends it to `reply`. Two thirds of the work of a login are here.
    pub(crate) fn offer(
        &mut self,
        case: Case<'_>,
        name: &str,
        ke1: &[u8; KE1_LEN],
        rank: Rank,
        reply: &mut Vec<u8>,
    ) -> Reaction<'static> {
        let Case { users, penalties, now, peer } = case;
        let Some(opaque) = users.opaque() else {
            return Event::Malformed(Malformed::NotServed).by(Mechanism::Opaque);
        };
        let found = penalties.offered(now.uptime, users.find(name, Mechanism::Opaque), rank);
        let admitted = found.admit(PasswordAge::Present, now.unix_s, peer.ip());
        let (stretching, record) = found.opaque_part(opaque, Choice::from(u8::from(admitted.is_ok())));
        let mut exchange = |record| {
            let user = UserPart { name, record, stretching: &stretching };
            ServerExchange::new(&opaque.key, &user, ke1, &self.binding, &mut self.random)
        };
        // Silence about a damaged record would tell that there is such a user.
        let exchanged = match exchange(&record) {
            Err(NotAnElement::Record) => exchange(&opaque.fake),
            exchanged => exchanged,
        };
        let Ok(ServerExchange { ke2, pending }) = exchanged else {
            return Event::Malformed(Malformed::Element).by(Mechanism::Opaque);
        };
        let owner = Owner { transport: self.transport, peer, name };
        let keys = keys_of(&self.keys, self.transport, case);
        let offered = Offered { rank, fake: why_fake(&found, admitted) };
        let state = keys.seal(owner, self.sealer, offered, &pending, &mut self.random);
        let offer = Offer { echo: &echo(ke1), stretching: &stretching, ke2: &ke2, state: &state };
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
        let keys = keys_of(&self.keys, self.transport, case);
        let (sealed, pending) = keys.open(owner, finish.state)?;
        let Offered { rank, fake } = sealed.offered;
        let found = users.find(finish.name, Mechanism::Opaque);
        let fits = pending.is_right(finish.ke3);
        // A look at the user's conditions takes longer the more there are. So for a wrong KE3 there is none, and no
        // other step that depends on the reason.
        let refused = if bool::from(fits & found.may_enter()) && fake.is_none() {
            found.admit(PasswordAge::Present, now.unix_s, peer.ip()).err().map(Reason::Denied)
        } else {
            let since = match (found.is_suspended(), fits.into()) {
                (true, _) => Reason::Suspended,
                (false, true) => Reason::UnknownUser,
                (false, false) => Reason::WrongPassword,
            };
            Some(fake.unwrap_or(since))
        };
        let verdict = if refused.is_none() { Verdict::Welcome } else { Verdict::Refused };
        let tag = pending.session.verdict_tag(verdict, finish.ke3);
        ServerMessage::Verdict { verdict, tag: &tag }.append_to(reply);
        if let Some(reason) = refused {
            let refusal = Refusal { name: finish.name, reason, origin: Origin::Proven };
            return Some(Event::Refused(refusal).by(Mechanism::Opaque));
        }
        let sighting = sight(login_number(finish.ke3));
        if sighting == Sighting::First {
            // It is debited where the offer was made, and a repeated FINISH may reach another worker or server.
            if sealed.sealer == self.sealer {
                penalties.give_back_guess(now.uptime, peer, &found, rank);
            }
            penalties.exempt(now.uptime, peer, &found);
        }
        let event = Event::Welcomed { user: finish.name, sighting, password: PasswordAge::Present };
        let session = (sighting == Sighting::First).then_some(pending.session);
        Some(Reaction { session, ..event.by(Mechanism::Opaque) })
    }
}

/// Why an offer to a user is made with the fake record, if it is.
fn why_fake(found: &Found<'_>, admitted: Result<(), Denial>) -> Option<Reason> {
    match (found.is_known.into(), found.is_suspended(), admitted, found.is_refused_unseen()) {
        (false, ..) => Some(Reason::UnknownUser),
        (true, true, ..) => Some(Reason::Suspended),
        (true, false, Err(denial), _) => Some(Reason::NotAdmitted(denial)),
        (true, false, Ok(()), true) => Some(Reason::TriedTooOften),
        (true, false, Ok(()), false) => None,
    }
}

/// The keys of sealed states. Over TCP a login ends on the connection on which it began, and so at the same server.
fn keys_of<'k>(own: &'k OwnKeys, transport: Transport, case: Case<'k>) -> KeysAt<'k> {
    match transport {
        Transport::Udp => own.or_shared(case.users, case.now),
        Transport::Tcp => own.at(case.now.uptime),
    }
}

/// Identifies a login among those that are remembered. No two have the same KE3, since the server drew a nonce for it.
fn login_number(ke3: &[u8; KE3_LEN]) -> Challenge {
    Challenge::from_random(u64::from_ne_bytes(ke3.first_chunk().copied().unwrap_or_default()))
}

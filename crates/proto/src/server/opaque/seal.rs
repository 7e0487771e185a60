//! What a server must know of a login when its FINISH comes, sealed into the OFFER, so that it keeps nothing itself.
//!
//! ```text
//! nonce 24 | body: rank, sealer, reason and tick 8, session key 64, expected KE3 64 | tag 16      XChaCha20-Poly1305
//! ```
//!
//! The associated data names transport, peer and user, so that a state is of no use to anybody else.

use std::ops::RangeInclusive;

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{Key, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::Peer;
use crate::credentials::NAME_MAX;
use crate::opaque::RngCore;
use crate::opaque::exchange::Pending;
use crate::opaque::session::{KE3_LEN, SESSION_KEY_LEN};
use crate::opaque::wire::{STATE_LEN, concat};
use crate::server::event::Reason;
use crate::server::penalty::Rank;
use crate::transport::Transport;
use crate::users::Denial;

const NONCE_LEN: usize = 24;
const TICK_LEN: usize = 8;
const BODY_LEN: usize = TICK_LEN + SESSION_KEY_LEN + KE3_LEN;
const TAG_LEN: usize = 16;
const _: () = assert!(NONCE_LEN + BODY_LEN + TAG_LEN == STATE_LEN);

/// What else is in the eight bytes of the tick: in the highest bit whether the source was known, in the next ones by
/// which worker a state was sealed, and then why the offer was made with the fake record.
const KNOWN: u64 = 1 << 63;
const SEALER_SHIFT: u32 = 40;
const REASON_SHIFT: u32 = 37;
const TICK_MASK: u64 = (1 << REASON_SHIFT) - 1;
/// Ticks in which a state is good, including the one in which it was sealed: so long may a FINISH take.
pub(crate) const LIFE_TICKS: u64 = 33;
/// The bytes of a sealed state.
pub(crate) type State = [u8; STATE_LEN];

const PURPOSE: &[u8; 15] = b"letmein state 1";
const TRANSPORT_AT: usize = PURPOSE.len();
const PEER_AT: usize = TRANSPORT_AT + 1;
const NAME_AT: usize = PEER_AT + 18;

/// The key under which states are sealed. It has no `Debug`, so that it is never shown.
#[derive(Clone)]
pub(crate) struct Seal(XChaCha20Poly1305);

/// Tells the workers apart that share keys, of one server or of several: 23 bits that each draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealer(u32);

impl Sealer {
    /// Takes as many of these random bits as it needs.
    pub(crate) const fn from_random(bits: u64) -> Self {
        Self((bits >> (SEALER_SHIFT + 1)) as u32)
    }
}

/// What was known of a login when its offer was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offered {
    /// In which order it was served.
    pub(crate) rank: Rank,
    /// Why the offer was made with the fake record, if it was.
    pub(crate) fake: Option<Reason>,
}

/// When a state was sealed, by whom, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) tick: u64,
    pub(crate) sealer: Sealer,
    pub(crate) offered: Offered,
}

impl Sealed {
    fn to_word(self) -> u64 {
        let rank = if self.offered.rank == Rank::Known { KNOWN } else { 0 };
        (self.tick & TICK_MASK)
            | number_of(self.offered.fake) << REASON_SHIFT
            | u64::from(self.sealer.0) << SEALER_SHIFT
            | rank
    }

    fn from_word(word: u64) -> Self {
        Self {
            tick: word & TICK_MASK,
            sealer: Sealer(((word & !KNOWN) >> SEALER_SHIFT) as u32),
            offered: Offered {
                rank: if word & KNOWN == 0 { Rank::Stranger } else { Rank::Known },
                fake: reason_of(word >> REASON_SHIFT),
            },
        }
    }
}

/// The number of a reason, in three bits. 0 is for an offer that was made with the user's record.
fn number_of(fake: Option<Reason>) -> u64 {
    match fake {
        None => 0,
        Some(Reason::UnknownUser) => 1,
        Some(Reason::Suspended) => 2,
        Some(Reason::TriedTooOften) => 3,
        Some(Reason::NotAdmitted(Denial::Disabled)) => 4,
        Some(Reason::NotAdmitted(Denial::Expired)) => 5,
        Some(Reason::NotAdmitted(Denial::NotFromHere)) => 6,
        // No offer is made with the fake record for these.
        Some(Reason::WrongPassword | Reason::NotAdmitted(Denial::OldPassword) | Reason::Denied(_)) => 7,
    }
}

/// The reason of a number, of which the lowest three bits count.
fn reason_of(number: u64) -> Option<Reason> {
    match number % 8 {
        0 => None,
        1 => Some(Reason::UnknownUser),
        2 => Some(Reason::Suspended),
        3 => Some(Reason::TriedTooOften),
        4 => Some(Reason::NotAdmitted(Denial::Disabled)),
        5 => Some(Reason::NotAdmitted(Denial::Expired)),
        6 => Some(Reason::NotAdmitted(Denial::NotFromHere)),
        _ => Some(Reason::WrongPassword),
    }
}

/// For whom a state is sealed.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) transport: Transport,
    pub(crate) peer: Peer,
    pub(crate) name: &'a str,
}

impl Seal {
    /// The key is 256 random bits.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(Key::from_slice(key)))
    }

    /// Seals a login that an offer was made for.
    pub(crate) fn seal(
        &self,
        owner: Owner<'_>,
        sealed: Sealed,
        pending: &Pending,
        random: &mut impl RngCore,
    ) -> State {
        let mut state = [0; STATE_LEN];
        let (nonce, rest) = state.split_at_mut(NONCE_LEN);
        random.fill_bytes(nonce);
        let (body, tag) = rest.split_at_mut(BODY_LEN);
        let (tick_bytes, keys) = body.split_at_mut(TICK_LEN);
        tick_bytes.copy_from_slice(&sealed.to_word().to_be_bytes());
        let (session, expected) = keys.split_at_mut(SESSION_KEY_LEN);
        session.copy_from_slice(pending.session.expose());
        expected.copy_from_slice(&*pending.expected);
        // A body of this length can always be sealed.
        let sealed = self.0.encrypt_in_place_detached(XNonce::from_slice(nonce), owner.data().bytes(), body);
        debug_assert!(sealed.is_ok());
        tag.copy_from_slice(&sealed.unwrap_or_default());
        state
    }

    /// Opens a state that was sealed for this owner under this key, in one of these ticks.
    pub(crate) fn open(
        &self,
        owner: Owner<'_>,
        ticks: &RangeInclusive<u64>,
        state: &State,
    ) -> Option<(Sealed, Pending)> {
        let (nonce, rest) = state.split_first_chunk::<NONCE_LEN>()?;
        let (body, tag) = rest.split_first_chunk::<BODY_LEN>()?;
        let mut body = Zeroizing::new(*body);
        let (nonce, tag) = (XNonce::from_slice(nonce), Tag::from_slice(tag));
        self.0.decrypt_in_place_detached(nonce, owner.data().bytes(), &mut *body, tag).ok()?;
        let (tick, keys) = body.split_first_chunk()?;
        let (session, expected) = keys.split_first_chunk()?;
        let sealed = Sealed::from_word(u64::from_be_bytes(*tick));
        ticks.contains(&sealed.tick).then_some((sealed, Pending::new(session, expected.first_chunk()?)))
    }
}

/// The associated data of a state.
struct Data {
    bytes: [u8; NAME_AT + NAME_MAX],
    len: usize,
}

impl Data {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Owner<'_> {
    fn data(self) -> Data {
        let transport = match self.transport {
            Transport::Udp => b"u",
            Transport::Tcp => b"t",
        };
        let bytes = concat([PURPOSE.as_slice(), transport, &self.peer.mark(), self.name.as_bytes()]);
        Data { bytes, len: NAME_AT + self.name.len() }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const SEALED: Sealed = sealed(Some(Reason::NotAdmitted(Denial::NotFromHere)));

    const fn sealed(fake: Option<Reason>) -> Sealed {
        Sealed { tick: 100, sealer: Sealer(0x7f_ffff), offered: Offered { rank: Rank::Known, fake } }
    }

    fn owner(port: u16, transport: Transport, name: &str) -> Owner<'_> {
        Owner { transport, peer: SocketAddr::from(([192, 0, 2, 1], port)).into(), name }
    }

    fn is_opened(owner: Owner<'_>, ticks: RangeInclusive<u64>, state: &State) -> bool {
        let opened = Seal::new(&[1; 32]).open(owner, &ticks, state);
        opened.is_some_and(|(sealed, pending)| {
            assert_eq!(sealed, SEALED);
            *pending.session.expose() == [2; SESSION_KEY_LEN] && *pending.expected == [3; KE3_LEN]
        })
    }

    #[test]
    fn each_reason_for_a_fake_record_has_a_number() {
        for number in 0..8 {
            let sealed = sealed(reason_of(number));
            assert_eq!(
                (number_of(sealed.offered.fake), Sealed::from_word(sealed.to_word())),
                (number, sealed)
            );
        }
    }

    #[test]
    fn a_state_is_opened_by_its_key_for_its_owner_in_its_tick() {
        let pending = Pending::new(&[2; SESSION_KEY_LEN], &[3; KE3_LEN]);
        let alice = owner(5000, Transport::Udp, "alice");
        let mut random = ChaCha20Rng::from_seed([4; 32]);
        let state = Seal::new(&[1; 32]).seal(alice, SEALED, &pending, &mut random);
        let opened_in =
            [67..=99, 68..=100, 100..=132, 101..=133].map(|ticks| is_opened(alice, ticks, &state));
        assert_eq!(opened_in, [false, true, true, false]);
        for other in [
            owner(5001, Transport::Udp, "alice"),
            owner(5000, Transport::Tcp, "alice"),
            owner(5000, Transport::Udp, "alic"),
        ] {
            assert!(!is_opened(other, 100..=100, &state));
        }
        for bit in 0..8 * STATE_LEN {
            let mut other = state;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_opened(alice, 100..=100, &other), "{bit}");
        }
    }
}

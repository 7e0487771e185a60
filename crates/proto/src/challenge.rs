//! The challenge: 64 bits that no peer can predict.
//!
//! Over UDP nothing is stored for a peer. A challenge is a keyed hash of the peer, the purpose and the time:
//!
//! ```text
//! challenge = SipHash-2-4(key, address ‖ port ‖ purpose ‖ tick)
//! ```
//!
//! so a flood of requests costs no memory, a doubled request is harmless, any worker can redeem the challenges of
//! another, and a restart, which draws a new key, voids all challenges.

use std::fmt;
use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::Peer;
use crate::dialect::Dialect;
use crate::hex::{from_hex, to_hex};

/// Hexadecimal digits of a challenge.
pub const CHALLENGE_LEN: usize = 16;
/// Ticks in which a challenge is valid, including the tick in which it was issued.
pub const LIFE_TICKS: u64 = 16;
/// The length of a tick.
pub const TICK: Duration = Duration::from_secs(1);

/// 64 bits, written as 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Challenge(u64);

impl Challenge {
    /// A challenge of 64 random bits.
    #[must_use]
    pub const fn from_random(bits: u64) -> Self {
        Self(bits)
    }

    /// Decodes 16 hexadecimal digits in either case, as servers do; `None` for other bytes.
    #[must_use]
    pub fn from_digits(digits: &[u8]) -> Option<Self> {
        from_hex(digits).map(u64::from_be_bytes).map(Self)
    }

    /// Decodes 16 lower-case hexadecimal digits, as clients do, since these bytes go into their digest; `None` for
    /// others.
    #[must_use]
    pub fn from_lower_digits(digits: &[u8]) -> Option<Self> {
        Self::from_digits(digits).filter(|challenge| challenge.digits() == digits)
    }

    /// The bytes that go over the wire and into the digest.
    #[must_use]
    pub fn digits(self) -> [u8; CHALLENGE_LEN] {
        to_hex(self.0.to_be_bytes())
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The message for which a challenge is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A request for a verdict in this dialect.
    Request(Dialect),
    /// An answer to a challenge that this server did not issue, or that has expired.
    Renewal,
}

impl Purpose {
    /// The dialect of the verdict. Challenges are renewed only for clients of this project, which all ask for words.
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Request(dialect) => dialect,
            Self::Renewal => Dialect::Words,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Request(dialect) => dialect.mark(),
            Self::Renewal => 2,
        }
    }
}

/// Issues and redeems challenges without storing any. It has no `Debug`, so that the key is never shown.
#[derive(Clone)]
pub struct Challenges {
    keyed: SipHasher24,
}

impl Challenges {
    /// The key is 128 random bits.
    #[must_use]
    pub fn new(key: &[u8; 16]) -> Self {
        Self { keyed: SipHasher24::new_with_key(key) }
    }

    /// The challenge for a peer at `uptime`. It is the same throughout a tick.
    #[must_use]
    pub fn issue(&self, peer: Peer, purpose: Purpose, uptime: Duration) -> Challenge {
        self.of(peer, purpose).at(tick(uptime))
    }

    /// The challenges that this peer may still answer, newest first.
    pub fn live(
        &self,
        peer: Peer,
        purpose: Purpose,
        uptime: Duration,
    ) -> impl Iterator<Item = Challenge> + Clone + use<> {
        let of_peer = self.of(peer, purpose);
        live_ticks(uptime).map(move |tick| of_peer.at(tick))
    }

    /// The challenge for a peer who is to begin a login by OPAQUE.
    pub(crate) fn issue_opaque(&self, peer: Peer, uptime: Duration) -> Challenge {
        self.marked(peer, OPAQUE).at(tick(uptime))
    }

    /// Whether a challenge for OPAQUE was issued to this peer, and has not expired.
    pub(crate) fn is_live_opaque(&self, peer: Peer, uptime: Duration, challenge: Challenge) -> bool {
        let of_peer = self.marked(peer, OPAQUE);
        live_ticks(uptime).any(|tick| of_peer.at(tick) == challenge)
    }

    /// The purpose of a challenge; `None` if it was not issued to this peer, or has expired.
    #[must_use]
    pub fn redeem(&self, peer: Peer, uptime: Duration, challenge: Challenge) -> Option<Purpose> {
        let requests = Dialect::ALL.into_iter().map(Purpose::Request);
        requests
            .chain([Purpose::Renewal])
            .find(|purpose| self.live(peer, *purpose, uptime).any(|live| live == challenge))
    }

    fn of(&self, peer: Peer, purpose: Purpose) -> PeerChallenges {
        self.marked(peer, purpose.byte())
    }

    fn marked(&self, peer: Peer, purpose: u8) -> PeerChallenges {
        let mut keyed = self.keyed;
        keyed.write(&peer.mark());
        keyed.write(&[purpose]);
        PeerChallenges(keyed)
    }
}

/// The purpose byte of challenges for OPAQUE, besides those of [`Purpose`].
const OPAQUE: u8 = 3;

/// The ticks whose challenges may still be answered, newest first.
fn live_ticks(uptime: Duration) -> impl Iterator<Item = u64> + Clone {
    let newest = tick(uptime);
    (newest.saturating_sub(LIFE_TICKS - 1)..=newest).rev()
}

#[derive(Clone)]
struct PeerChallenges(SipHasher24);

impl PeerChallenges {
    fn at(&self, tick: u64) -> Challenge {
        let mut keyed = self.0;
        keyed.write_u64(tick);
        Challenge(keyed.finish())
    }
}

fn tick(uptime: Duration) -> u64 {
    uptime.as_secs() / TICK.as_secs()
}

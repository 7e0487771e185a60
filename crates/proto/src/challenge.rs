//! The challenge: 64 bits that no peer can predict.
//!
//! Over UDP nothing is stored for a peer. A challenge is a keyed hash of the peer, the purpose and the time:
//!
//! ```text
//! challenge = SipHash-2-4(key, address ‖ port ‖ purpose ‖ tick)
//! ```
//!
//! so a flood of requests costs no memory, a doubled request is harmless, and any worker can redeem the challenges of
//! another. A restart draws a new key, which voids all challenges, unless the key is one that several servers share.

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

    pub(crate) fn mark(self) -> u8 {
        match self {
            Self::Request(dialect) => dialect.mark(),
            Self::Renewal => 2,
        }
    }
}

/// The challenges of a key, none of which is stored. It has no `Debug`, so that the key is never shown.
#[derive(Clone)]
pub(crate) struct Challenges {
    keyed: SipHasher24,
}

impl Challenges {
    /// The key is 128 random bits.
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self { keyed: SipHasher24::new_with_key(key) }
    }

    /// The challenges for a peer, of which `mark` tells the purpose.
    pub(crate) fn of(&self, peer: Peer, mark: u8) -> PeerChallenges {
        let mut keyed = self.keyed;
        keyed.write(&peer.mark());
        keyed.write(&[mark]);
        PeerChallenges(keyed)
    }
}

/// The mark of challenges for OPAQUE, besides those of [`Purpose`].
pub(crate) const OPAQUE_MARK: u8 = 3;

/// The challenges for a peer and a purpose.
#[derive(Clone)]
pub(crate) struct PeerChallenges(SipHasher24);

impl PeerChallenges {
    /// The one of a tick.
    pub(crate) fn at(&self, tick: u64) -> Challenge {
        let mut keyed = self.0;
        keyed.write_u64(tick);
        Challenge(keyed.finish())
    }
}

/// The tick at an uptime.
pub(crate) fn tick(uptime: Duration) -> u64 {
    uptime.as_secs() / TICK.as_secs()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn a_million_challenges_show_no_bias_in_any_bit_and_no_repeat() {
        const COUNT: u32 = 1_000_000;
        let challenges = Challenges::new(b"0123456789abcdef");
        let mark = Purpose::Request(Dialect::Words).mark();
        let mut ones = [0_u32; 64];
        let mut seen = HashSet::with_capacity(COUNT as usize);
        for number in 0..COUNT {
            // Neighbours in every part of what is hashed.
            let [a, b] = [number % 100, number / 100 % 100].map(|part| part as u8);
            let peer = SocketAddr::from(([10, 0, a, b], 5000 + (number / 10_000 % 10) as u16)).into();
            let challenge = challenges.of(peer, mark).at((number / 100_000).into());
            let bits = u64::from_str_radix(&challenge.to_string(), 16).unwrap();
            assert!(seen.insert(bits), "{challenge} came twice");
            for (bit, ones) in ones.iter_mut().enumerate() {
                *ones += (bits >> bit & 1) as u32;
            }
        }
        // Five standard deviations: a fair bit is beyond them in one run of 1.7 million, and these are always the same.
        let deviation = 5.0 * f64::from(COUNT).sqrt() / 2.0;
        for (bit, ones) in ones.into_iter().enumerate() {
            assert!(
                (f64::from(ones) - f64::from(COUNT) / 2.0).abs() < deviation,
                "bit {bit} is set {ones} times"
            );
        }
    }
}

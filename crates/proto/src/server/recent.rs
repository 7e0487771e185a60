//! What a UDP server remembers of recent logins: two tables of fixed size, neither of which a stranger can grow.

use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::challenge::{Challenge, LIFE_TICKS, TICK};

/// Whether a login is counted or has been already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// A new login.
    First,
    /// The same answer again: the verdict was lost, or the answer was doubled.
    Repeat,
}

/// Sets of the table of welcomes; 8 of 8 bytes each make 512 KiB.
const SETS: usize = 8192;
/// Entries of a set, which is one cache line.
const WAYS: usize = 8;

/// The most recent successful logins, so that a repeated answer counts once.
///
/// An entry is a keyed hash of (challenge, name). Only the holder of a valid password adds one; when a set is full
/// the oldest in it gives way, and a repeat that comes later still is welcomed just the same, but counted again.
pub struct Welcomes {
    keyed: SipHasher24,
    sets: Box<[[u64; WAYS]]>,
}

impl Welcomes {
    /// Logins that are remembered.
    pub const PLACES: usize = SETS * WAYS;
    /// Bytes of the table.
    pub const BYTES: usize = Self::PLACES * size_of::<u64>();

    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self { keyed: SipHasher24::new_with_key(key), sets: vec![[0; WAYS]; SETS].into() }
    }

    /// Notes a successful login by a challenge, unless one by it, or by any of the `others`, has been noted.
    pub(crate) fn note(
        &mut self,
        challenge: Challenge,
        mut others: impl Iterator<Item = Challenge>,
        name: &str,
    ) -> Sighting {
        let login = self.login(challenge, name);
        if self.contains(login) || others.any(|other| self.contains(self.login(other, name))) {
            return Sighting::Repeat;
        }
        if let Some(set) = self.sets.get_mut(Self::set(login)) {
            set.rotate_right(1);
            set[0] = login;
        }
        Sighting::First
    }

    fn contains(&self, login: u64) -> bool {
        self.sets.get(Self::set(login)).is_some_and(|set| set.contains(&login))
    }

    /// Never 0, which marks an entry that is free.
    fn login(&self, challenge: Challenge, name: &str) -> u64 {
        let mut keyed = self.keyed;
        keyed.write(&challenge.digits());
        keyed.write(name.as_bytes());
        keyed.finish() | 1
    }

    fn set(login: u64) -> usize {
        (login >> 1) as usize % SETS
    }
}

/// Entries of the table of letter challenges; of 16 bytes each, they make 64 KiB.
const LETTER_CHALLENGES: usize = 4096;

/// The latest challenges that were asked for in the letter dialect.
///
/// An answer that does not carry its challenge back, and fits none, does not tell which dialect its sender speaks:
/// this does. A stranger can only push entries out, and then a first client reads its refusal in words. The right
/// answers of such clients do not depend on it.
pub struct LetterChallenges {
    issued: Box<[Option<Challenge>]>,
    last_issued: Option<Duration>,
}

impl LetterChallenges {
    /// Challenges that are remembered.
    pub const PLACES: usize = LETTER_CHALLENGES;
    /// Bytes of the table.
    pub const BYTES: usize = Self::PLACES * size_of::<Option<Challenge>>();

    pub(crate) fn new() -> Self {
        Self { issued: vec![None; LETTER_CHALLENGES].into(), last_issued: None }
    }

    pub(crate) fn note(&mut self, challenge: Challenge, uptime: Duration) {
        self.last_issued = Some(uptime);
        if let Some(slot) = self.issued.get_mut(Self::slot(challenge)) {
            *slot = Some(challenge);
        }
    }

    /// Whether any of them may still be answered. Mostly none: first clients are rare.
    pub(crate) fn any_live(&self, uptime: Duration) -> bool {
        self.last_issued.is_some_and(|last| uptime.saturating_sub(last) <= TICK * LIFE_TICKS as u32)
    }

    pub(crate) fn contains(&self, challenge: Challenge) -> bool {
        self.issued.get(Self::slot(challenge)) == Some(&Some(challenge))
    }

    /// A challenge is a keyed hash already.
    fn slot(challenge: Challenge) -> usize {
        challenge.bits() as usize % LETTER_CHALLENGES
    }
}

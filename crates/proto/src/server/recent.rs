//! A UDP server's memory of recent logins: two tables of fixed size.

use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::challenge::{Challenge, LIFE_TICKS, TICK};

/// Whether a login was counted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// A new login.
    First,
    /// The same answer again, since its verdict was lost or the answer was doubled.
    Repeat,
}

/// Buckets of the table of welcomes: 512 KiB.
const BUCKETS: usize = 8192;
/// Slots of a bucket, which is one cache line.
const WAYS: usize = 8;

/// The most recent successful logins, so that a repeated answer counts once.
///
/// A slot holds a keyed hash of (challenge, name). Only a right answer adds one. When a bucket is full its oldest is
/// evicted, and a repeat of that login is welcomed all the same, but counted again.
pub struct Welcomes {
    keyed: SipHasher24,
    buckets: Box<[[u64; WAYS]]>,
}

impl Welcomes {
    /// The number of logins that are remembered.
    pub const CAPACITY: usize = BUCKETS * WAYS;
    /// The size of the table in bytes.
    pub const BYTES: usize = Self::CAPACITY * size_of::<u64>();

    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self { keyed: SipHasher24::new_with_key(key), buckets: vec![[0; WAYS]; BUCKETS].into() }
    }

    /// Notes a login by a challenge, unless one by the same challenge or by any of the `others` was noted before.
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
        if let Some(bucket) = self.buckets.get_mut(Self::bucket(login)) {
            bucket.rotate_right(1);
            bucket[0] = login;
        }
        Sighting::First
    }

    fn contains(&self, login: u64) -> bool {
        self.buckets.get(Self::bucket(login)).is_some_and(|bucket| bucket.contains(&login))
    }

    /// Never 0, which marks a free slot.
    fn login(&self, challenge: Challenge, name: &str) -> u64 {
        let mut keyed = self.keyed;
        keyed.write(&challenge.digits());
        keyed.write(name.as_bytes());
        keyed.finish() | 1
    }

    fn bucket(login: u64) -> usize {
        (login >> 1) as usize % BUCKETS
    }
}

/// Slots of the table of rare challenges: 64 KiB, at 16 bytes each.
const RARE_CHALLENGES: usize = 4096;

/// The latest challenges for rare dialects.
///
/// A wrong answer that does not carry its challenge back does not tell the dialect of its sender, but this table does.
/// A flood can only evict entries, and then such a client is refused in words. Welcomes do not depend on the table.
pub struct RareChallenges {
    issued: Box<[Option<Challenge>]>,
    last_issued: Option<Duration>,
}

impl RareChallenges {
    /// The number of challenges that are remembered.
    pub const CAPACITY: usize = RARE_CHALLENGES;
    /// The size of the table in bytes.
    pub const BYTES: usize = Self::CAPACITY * size_of::<Option<Challenge>>();

    pub(crate) fn new() -> Self {
        Self { issued: vec![None; RARE_CHALLENGES].into(), last_issued: None }
    }

    pub(crate) fn note(&mut self, challenge: Challenge, uptime: Duration) {
        self.last_issued = Some(uptime);
        if let Some(slot) = self.issued.get_mut(Self::slot(challenge)) {
            *slot = Some(challenge);
        }
    }

    /// Whether any of them may still be answered. That is seldom so.
    pub(crate) fn any_live(&self, uptime: Duration) -> bool {
        self.last_issued.is_some_and(|last| uptime.saturating_sub(last) <= TICK * LIFE_TICKS as u32)
    }

    pub(crate) fn contains(&self, challenge: Challenge) -> bool {
        self.issued.get(Self::slot(challenge)) == Some(&Some(challenge))
    }

    // A challenge is a keyed hash itself, so its bits are spread evenly.
    fn slot(challenge: Challenge) -> usize {
        challenge.bits() as usize % RARE_CHALLENGES
    }
}

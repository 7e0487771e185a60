//! The proof of a password: MD5(name ‖ password ‖ challenge), and its comparison in constant time.

use std::fmt;
use std::hint::black_box;

use md5::block_api::compress;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::challenge::{CHALLENGE_LEN, Challenge};
use crate::credentials::{NAME_MAX, PASSWORD_MAX, Password, Username};
use crate::hex::{from_hex, to_hex};
use crate::lanes::{LANES, LaneStates};

/// Hexadecimal digits of a digest.
pub const DIGEST_LEN: usize = 32;
/// Bytes of a digest.
pub(crate) const RAW_DIGEST_LEN: usize = 16;
const MD5_BLOCK: usize = 64;
/// MD5 appends a byte and the length in eight (RFC 1321, section 3).
const MD5_TRAILER: usize = 9;
/// The state before the first block (RFC 1321, section 3.3).
const MD5_START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
const BLOCKS_MAX: usize = (NAME_MAX + PASSWORD_MAX + CHALLENGE_LEN + MD5_TRAILER).div_ceil(MD5_BLOCK);

/// An MD5 digest, 16 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Digest([u8; 16]);

impl Digest {
    /// Decodes 32 hexadecimal digits in either case; `None` for other bytes.
    #[must_use]
    pub fn from_digits(digits: &[u8]) -> Option<Self> {
        from_hex(digits).map(Self)
    }

    /// A digest of 16 bytes, as the first clients send it over TCP.
    #[must_use]
    pub fn from_raw(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn from_state(state: [u32; 4]) -> Self {
        let mut bytes = [0; 16];
        for (chunk, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state) {
            *chunk = word.to_le_bytes();
        }
        Self(bytes)
    }

    /// 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn digits(self) -> [u8; DIGEST_LEN] {
        to_hex(self.0)
    }
}

impl ConstantTimeEq for Digest {
    fn ct_eq(&self, other: &Self) -> Choice {
        u128::from_ne_bytes(self.0).ct_eq(&u128::from_ne_bytes(other.0))
    }
}

/// Compares in constant time.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Digest {}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.digits()))
    }
}

/// name ‖ password: a digest without its challenge. Wiped when dropped.
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// The secret of a user, as name ‖ password.
    #[must_use]
    pub fn new(name: &Username, password: &Password) -> Self {
        Self(Zeroizing::new([name.as_str().as_bytes(), password.expose()].concat().into()))
    }

    /// A secret of zeros, which is no user's.
    pub fn decoy() -> Self {
        Self(Zeroizing::new(Box::new([0; 16])))
    }

    /// Borrows the secret.
    #[must_use]
    pub fn as_ref(&self) -> SecretRef<'_> {
        SecretRef::new(&self.0, &[])
    }

    /// MD5(name ‖ password ‖ challenge).
    #[must_use]
    pub fn digest(&self, challenge: Challenge) -> Digest {
        self.as_ref().digest(challenge)
    }
}

/// A borrowed [`Secret`].
#[derive(Clone, Copy)]
pub struct SecretRef<'a> {
    name: &'a [u8],
    password: &'a [u8],
}

impl<'a> SecretRef<'a> {
    /// Only the concatenation of the two matters.
    pub(crate) fn new(name: &'a [u8], password: &'a [u8]) -> Self {
        Self { name, password }
    }

    /// Copies the secret; the copy is wiped when dropped.
    #[must_use]
    pub fn to_owned(self) -> Secret {
        Secret(Zeroizing::new([self.name, self.password].concat().into()))
    }

    fn len(self) -> usize {
        self.name.len() + self.password.len()
    }

    /// MD5(name ‖ password ‖ challenge).
    #[must_use]
    pub fn digest(self, challenge: Challenge) -> Digest {
        self.digest_in(self.blocks(), challenge)
    }

    /// The digest, after the work of `blocks` MD5 blocks, at least as many as it takes: so the time of an answer tells
    /// neither the length of a password nor whether the user is known.
    fn digest_in(self, blocks: BlockCount, challenge: Challenge) -> Digest {
        let padded = self.padded(challenge);
        let (message, rest) = padded.split_at(self.blocks().0);
        let mut state = MD5_START;
        compress(&mut state, message);
        let mut waste = state;
        compress(&mut waste, rest.get(..blocks.0.saturating_sub(message.len())).unwrap_or_default());
        black_box(waste);
        Digest::from_state(state)
    }

    /// Whether a digest is that of the secret and the challenge, after the work of `blocks`.
    pub(crate) fn has_digest(self, digest: Digest, blocks: BlockCount, challenge: Challenge) -> Choice {
        digest.ct_eq(&self.digest_in(blocks, challenge))
    }

    /// Prepares to try a digest with many challenges, each after the work of `blocks`.
    pub(crate) fn trials(self, digest: Digest, blocks: BlockCount) -> Trials {
        let messages = [self.padded(Challenge::from_random(0)); LANES];
        Trials { digest, messages, challenge_at: self.len(), own_blocks: self.blocks(), blocks }
    }

    /// The message as MD5 pads it (RFC 1321, sections 3.1 and 3.2): a bit, zeros, and the length in bits.
    fn padded(self, challenge: Challenge) -> Padded {
        let mut blocks = [[0; MD5_BLOCK]; BLOCKS_MAX];
        let mut room = blocks.as_flattened_mut();
        for part in [self.name, self.password, &challenge.digits(), &[0x80]] {
            // The longest name and password fit.
            let Some((slot, rest)) = room.split_at_mut_checked(part.len()) else { break };
            slot.copy_from_slice(part);
            room = rest;
        }
        let bits = 8 * (self.len() + CHALLENGE_LEN) as u64;
        if let Some(length) = blocks.get_mut(self.blocks().0 - 1).and_then(|last| last.last_chunk_mut()) {
            *length = bits.to_le_bytes();
        }
        blocks
    }

    pub(crate) fn blocks(self) -> BlockCount {
        BlockCount((self.len() + CHALLENGE_LEN + MD5_TRAILER).div_ceil(MD5_BLOCK))
    }
}

/// The longest padded message.
type Padded = [[u8; MD5_BLOCK]; BLOCKS_MAX];

/// A digest, and one secret to try it with for several challenges at a time.
pub(crate) struct Trials {
    digest: Digest,
    messages: [Padded; LANES],
    challenge_at: usize,
    own_blocks: BlockCount,
    blocks: BlockCount,
}

impl Trials {
    /// Whether the digest is that of the secret and each of these challenges, after the work that
    /// [`SecretRef::has_digest`] does for one.
    pub(crate) fn fits(&mut self, challenges: [Challenge; LANES]) -> [Choice; LANES] {
        self.digests(challenges).map(|digest| self.digest.ct_eq(&digest))
    }

    fn digests(&mut self, challenges: [Challenge; LANES]) -> [Digest; LANES] {
        let range = self.challenge_at..self.challenge_at + CHALLENGE_LEN;
        for (message, challenge) in self.messages.iter_mut().zip(challenges) {
            if let Some(digits) = message.as_flattened_mut().get_mut(range.clone()) {
                digits.copy_from_slice(&challenge.digits());
            }
        }
        let mut state = LaneStates::start(MD5_START);
        let mut digests = state;
        for number in 0..self.blocks.max(self.own_blocks).0 {
            state.compress(
                self.messages.each_ref().map(|message| message.get(number).unwrap_or(&[0; MD5_BLOCK])),
            );
            if number + 1 == self.own_blocks.0 {
                digests = state;
            }
        }
        black_box(state);
        digests.each().map(Digest::from_state)
    }
}

/// A number of MD5 blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockCount(usize);

impl BlockCount {
    /// The fewest that a digest takes.
    pub(crate) const ONE: Self = Self(1);

    /// The most bytes of a name and a password, together, that fit in this many blocks.
    pub(crate) fn room(self) -> usize {
        self.0 * MD5_BLOCK - CHALLENGE_LEN - MD5_TRAILER
    }
}

#[cfg(test)]
mod tests {
    use md5::Digest as _;

    use super::*;

    fn secret(name: &str, password: &str) -> Secret {
        Secret::new(&name.parse().unwrap(), &Password::new(password).unwrap())
    }

    /// Over every length of message there can be.
    #[test]
    fn digests_are_those_of_another_implementation() {
        let challenge = Challenge::from_digits(b"0123456789abcdef").unwrap();
        for len in 0..=PASSWORD_MAX {
            for name in ["u", "a name of its own", &"u".repeat(NAME_MAX)] {
                let password = "p".repeat(len);
                let whole = md5::Md5::digest(format!("{name}{password}{challenge}"));
                assert_eq!(
                    secret(name, &password).digest(challenge),
                    Digest::from_raw(whole.into()),
                    "{len}"
                );
            }
        }
    }

    #[test]
    fn a_digest_in_more_blocks_is_the_same_digest() {
        let challenge = Challenge::from_digits(b"0123456789abcdef").unwrap();
        let short = secret("userone", "passwordone");
        for blocks in 0..=BLOCKS_MAX {
            assert_eq!(short.as_ref().digest_in(BlockCount(blocks), challenge), short.digest(challenge));
        }
    }

    #[test]
    fn digests_of_several_challenges_are_those_of_each() {
        let challenges =
            std::array::from_fn(|lane| Challenge::from_random(lane as u64 * 0x0123_4567_89ab_cdef));
        for password in ["", "passwordone", &"p".repeat(39), &"p".repeat(PASSWORD_MAX)] {
            let secret = secret("userone", password);
            for blocks in 0..=BLOCKS_MAX {
                let mut trials = secret.as_ref().trials(secret.digest(challenges[0]), BlockCount(blocks));
                for challenges in [challenges, [Challenge::from_random(7); LANES]] {
                    assert_eq!(
                        trials.digests(challenges),
                        challenges.map(|challenge| secret.digest(challenge))
                    );
                }
            }
        }
    }

    #[test]
    fn blocks_are_counted_as_md5_counts_them() {
        assert_eq!(Secret::decoy().as_ref().blocks(), BlockCount(1));
        assert_eq!(secret("u", &"p".repeat(38)).as_ref().blocks(), BlockCount(1));
        assert_eq!(secret("u", &"p".repeat(39)).as_ref().blocks(), BlockCount(2));
        assert_eq!(secret(&"u".repeat(64), &"p".repeat(128)).as_ref().blocks(), BlockCount(BLOCKS_MAX));
    }

    #[test]
    fn a_digest_is_equal_only_to_itself() {
        let digest = Digest::from_digits(b"f82160d527af37de4ba8ac9f59a8ca30").unwrap();
        assert_eq!(digest, Digest::from_digits(&digest.digits()).unwrap());
        for bit in 0..128 {
            let mut other = digest;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(digest, other);
        }
    }
}

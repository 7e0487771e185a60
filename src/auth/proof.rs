//! The proof of a password: MD5(name ‖ password ‖ challenge), and its comparison in constant time.

use std::fmt;
use std::hint::black_box;

use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::auth::challenge::Challenge;
use crate::auth::wire::{CHALLENGE_LEN, DIGEST_LEN, from_hex, to_hex};
use crate::users::{NAME_MAX, PASSWORD_MAX, Password, Username};

const MD5_BLOCK: usize = 64;
/// MD5 appends a byte and the length in eight (RFC 1321, section 3).
const MD5_TRAILER: usize = 9;
const BLOCKS_MAX: usize = (NAME_MAX + PASSWORD_MAX + CHALLENGE_LEN + MD5_TRAILER).div_ceil(MD5_BLOCK);

/// An MD5 digest, 16 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Digest([u8; 16]);

impl Digest {
    /// Reads 32 hexadecimal digits in either case.
    #[must_use]
    pub fn from_digits(digits: &[u8]) -> Option<Self> {
        from_hex(digits).map(Self)
    }

    /// The digest in its raw form, as the first clients send it over TCP.
    #[must_use]
    pub fn from_raw(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn digits(self) -> [u8; DIGEST_LEN] {
        to_hex(self.0)
    }
}

/// In constant time.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.digits()))
    }
}

/// What a digest is made of before the challenge is known: name ‖ password.
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// The secret of a user.
    #[must_use]
    pub fn new(name: &Username, password: &Password) -> Self {
        Self(Zeroizing::new([name.as_str().as_bytes(), password.expose()].concat().into()))
    }

    /// Stands in for the secret of a user who is not known.
    pub(crate) fn decoy() -> Self {
        Self(Zeroizing::default())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// MD5(name ‖ password ‖ challenge).
    #[must_use]
    pub fn digest(&self, challenge: Challenge) -> Digest {
        let md5 = Md5::new_with_prefix(&self.0[..]).chain_update(challenge.digits());
        Digest(md5.finalize().into())
    }

    /// The digest, after as much work as a message of `blocks` MD5 blocks takes: the time of an answer does not
    /// tell whether its user has a long password, or is known at all.
    pub(crate) fn digest_in(&self, blocks: Blocks, challenge: Challenge) -> Digest {
        let more = blocks.0.saturating_sub(self.blocks().0);
        if let Some(all_but_one) = more.checked_sub(1) {
            let filler = [0; (BLOCKS_MAX - 1) * MD5_BLOCK];
            black_box(Md5::digest(black_box(filler.get(..all_but_one * MD5_BLOCK).unwrap_or_default())));
        }
        self.digest(challenge)
    }

    pub(crate) fn blocks(&self) -> Blocks {
        Blocks((self.0.len() + CHALLENGE_LEN + MD5_TRAILER).div_ceil(MD5_BLOCK))
    }
}

/// A number of MD5 blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Blocks(usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, password: &str) -> Secret {
        Secret::new(&name.parse().unwrap(), &Password::new(password).unwrap())
    }

    #[test]
    fn a_digest_in_more_blocks_is_the_same_digest() {
        let challenge = Challenge::from_digits(b"0123456789abcdef").unwrap();
        let short = secret("userone", "passwordone");
        for blocks in 0..=BLOCKS_MAX {
            assert_eq!(short.digest_in(Blocks(blocks), challenge), short.digest(challenge));
        }
    }

    #[test]
    fn blocks_are_counted_as_md5_counts_them() {
        assert_eq!(Secret::decoy().blocks(), Blocks(1));
        assert_eq!(secret("u", &"p".repeat(38)).blocks(), Blocks(1));
        assert_eq!(secret("u", &"p".repeat(39)).blocks(), Blocks(2));
        assert_eq!(secret(&"u".repeat(64), &"p".repeat(128)).blocks(), Blocks(BLOCKS_MAX));
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

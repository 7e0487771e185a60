//! The key of a server: without it nobody can make, use or guess at a record.

use std::fmt;

use hkdf::Hkdf;
use opaque_ke::ServerSetup;
use sha2::{Digest as _, Sha512};
use zeroize::{Zeroize, Zeroizing};

use crate::opaque::record::{RECORD_LEN, RecordBytes};
use crate::opaque::suite::Suite;
use crate::opaque::{CryptoRng, RngCore};

/// Bytes of a key: the seed of the OPRF, 64; the private key, 32; the public key of the fake record, 32.
pub const KEY_LEN: usize = 128;
const SEED_LEN: usize = 64;
const MASKING_KEY_LEN: usize = 64;
const PUBLIC_KEY_LEN: usize = 32;

/// The key of a server. It has no `Debug`, so that it is never shown.
#[derive(Clone)]
pub struct ServerKey {
    pub(crate) setup: ServerSetup<Suite>,
}

/// The first 8 bytes of the SHA-512 of a key's public half. A record names the key that it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 8]);

/// Bytes that are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAKey;

impl fmt::Display for NotAKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the bytes of a key")
    }
}

impl std::error::Error for NotAKey {}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl ServerKey {
    /// Draws a key.
    pub fn generate(random: &mut (impl CryptoRng + RngCore)) -> Self {
        Self { setup: ServerSetup::new(random) }
    }

    /// Decodes a key that was encoded by [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`NotAKey`]
    pub fn from_bytes(bytes: &[u8; KEY_LEN]) -> Result<Self, NotAKey> {
        ServerSetup::deserialize(bytes).map(|setup| Self { setup }).map_err(|_| NotAKey)
    }

    /// Encodes the key, to be kept in a file that nobody else can read.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; KEY_LEN]> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        let mut serialized = self.setup.serialize();
        bytes.copy_from_slice(&serialized);
        serialized.zeroize();
        bytes
    }

    /// What records say of the key that they belong to.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let digest = Sha512::digest(self.setup.keypair().public().serialize());
        KeyId(digest.first_chunk().copied().unwrap_or_default())
    }

    /// The fake record for unknown names (RFC 9807, section 6.3.2.2): a random public key and masking key, and an
    /// envelope of zeros. It goes with the key, so that a server says the same of an unknown name after a restart.
    pub(crate) fn fake_record(&self) -> RecordBytes {
        let key = self.to_bytes();
        let mut record = [0; RECORD_LEN];
        let (public_key, rest) = record.split_at_mut(PUBLIC_KEY_LEN);
        if let Some(last) = key.last_chunk::<PUBLIC_KEY_LEN>() {
            public_key.copy_from_slice(last);
        }
        if let Some(masking_key) = rest.first_chunk_mut::<MASKING_KEY_LEN>() {
            self.derive(b"letmein fake masking key", masking_key);
        }
        record
    }

    /// The key of the hash by which an unknown name is given the stretching of some user.
    pub(crate) fn stretching_key(&self) -> [u8; 16] {
        let mut key = [0; 16];
        self.derive(b"letmein stretching", &mut key);
        key
    }

    /// What goes into the keys of states that several servers share, so that nobody opens one without this key.
    pub(crate) fn state_salt(&self) -> Zeroizing<[u8; 32]> {
        let mut salt = Zeroizing::new([0; 32]);
        self.derive(b"letmein cluster states", &mut *salt);
        salt
    }

    /// Bytes that follow from the seed of the OPRF.
    fn derive(&self, purpose: &[u8], output: &mut [u8]) {
        let key = self.to_bytes();
        let seed = key.get(..SEED_LEN).unwrap_or_default();
        // As long as the seed is a digest, and the output no longer than many of them, this cannot fail.
        let expanded = Hkdf::<Sha512>::from_prk(seed).map(|hkdf| hkdf.expand(purpose, output));
        debug_assert!(matches!(expanded, Ok(Ok(()))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::from_hex;

    /// Of the first of the recorded logins.
    const KEY: &[u8; 2 * KEY_LEN] = b"\
        8d48dcfeedff7efd134ee5475a0b4ad13525bd25105dcedf0e49f330e989716316e66f3ea2356cd2d0e3ede979ea1518\
        34612f80fd43933ca37f48318d14a1ecfe66838086e3a217431444a54322a9a99bc46d142dba0cd1ce31da197b7e4e00\
        da619d91d4787c451437b4f048db1a92ecd2ce4bea74e01f5e7f1d6f2237122a";

    /// Computed with Python's `hmac`. If they change, a server says something else of unknown names than the version
    /// before it, and opens no state of servers that share its keys.
    #[test]
    fn what_follows_from_a_key_is_the_same_in_each_version() {
        let key = from_hex::<KEY_LEN>(KEY).unwrap();
        let masking_key: [u8; MASKING_KEY_LEN] = from_hex(
            b"df63a5b85fc2b1b65ecdefd715ff4338ad80957fcbd44988be62d8bbf8f9a1e0\
            24d47aeb2bc968eb83f48ef52b2a9132132304361732cd8c47c281f7403a42a7",
        )
        .unwrap();
        let record = [&key[KEY_LEN - PUBLIC_KEY_LEN..], &masking_key, &[0; 96]].concat();
        let stretching_key = from_hex(b"dc5834449015210683cc2d444b21b509").unwrap();
        let salt = from_hex(b"5f9d1fffd4f9d91ed5e39abe9a6c1bf1b64f34ab59b2299282bbcbe2d20ac559").unwrap();
        let key = ServerKey::from_bytes(&key).unwrap();
        assert_eq!(key.fake_record(), *record);
        assert_eq!(key.stretching_key(), stretching_key);
        assert_eq!(*key.state_salt(), salt);
    }
}

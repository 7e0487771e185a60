//! The record of a user: what a server keeps in place of a password.

use std::fmt;

use opaque_ke::ServerRegistration;

use crate::opaque::key::KeyId;
use crate::opaque::stretching::{STRETCHING_LEN, Stretching};
use crate::opaque::suite::Suite;

/// Bytes of the RegistrationRecord of RFC 9807, section 5.2: client public key 32, masking key 64, envelope 96.
pub const RECORD_LEN: usize = 192;

pub(crate) type RecordBytes = [u8; RECORD_LEN];

/// Bytes of a record beside its user: the stretching, and the RegistrationRecord.
pub(crate) const STORED_LEN: usize = STRETCHING_LEN + RECORD_LEN;

/// A user's record. With the key of its server it allows to guess the password; by itself it does not. It is no secret
/// of the kind that `Debug` must not show, but nobody needs to read it.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// How the user's client stretches the password.
    pub stretching: Stretching,
    /// The key that it belongs to.
    pub key: KeyId,
    bytes: RecordBytes,
}

impl Record {
    /// Puts a record together.
    #[must_use]
    pub fn new(stretching: Stretching, key: KeyId, bytes: [u8; RECORD_LEN]) -> Self {
        Self { stretching, key, bytes }
    }

    /// Whether the client's public key in it is one, which takes some 7 µs. Damage to the rest shows in no way but
    /// that the right password is refused, so a server that loads a million records does not ask.
    #[must_use]
    pub fn has_public_key(&self) -> bool {
        ServerRegistration::<Suite>::deserialize(&self.bytes).is_ok()
    }

    /// The RegistrationRecord of RFC 9807.
    #[must_use]
    pub fn bytes(&self) -> &[u8; RECORD_LEN] {
        &self.bytes
    }

    pub(crate) fn stored(&self) -> [u8; STORED_LEN] {
        stored(self.stretching, &self.bytes)
    }
}

/// A record as it stands beside its user.
pub(crate) fn stored(stretching: Stretching, record: &RecordBytes) -> [u8; STORED_LEN] {
    let mut stored = [0; STORED_LEN];
    let (front, back) = stored.split_at_mut(STRETCHING_LEN);
    front.copy_from_slice(&stretching.to_bytes());
    back.copy_from_slice(record);
    stored
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stretching, key, .. } = self;
        f.debug_struct("Record").field("stretching", stretching).field("key", key).finish_non_exhaustive()
    }
}

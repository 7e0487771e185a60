//! The suite of RFC 9807 that is spoken here, and what an exchange is bound to.

use opaque_ke::key_exchange::tripledh::TripleDh;
use opaque_ke::{CipherSuite, Identifiers, Ristretto255};
use sha2::Sha512;
use std::fmt;
use zeroize::Zeroizing;

use crate::credentials::{Password, Username};
use crate::opaque::stretching::{STRETCHING_LEN, Stretcher, Stretching};
use crate::opaque::wire::concat;

/// ristretto255-SHA512, HKDF-SHA-512, HMAC-SHA-512 and 3DH: the first suite that RFC 9807, section 7, recommends.
pub(crate) struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, Sha512>;
    type Ksf = Stretcher;
}

/// The identities of RFC 9807, section 4: a client has its name, and a server its public key.
pub(crate) fn identifiers(name: &[u8]) -> Identifiers<'_> {
    Identifiers { client: Some(name), server: None }
}

/// The input of the OPRF, which RFC 9807 calls the password. With the name in it, a record is of no use for another
/// user.
pub(crate) fn oprf_input(name: &Username, password: &Password) -> Zeroizing<Vec<u8>> {
    let name = name.as_str().as_bytes();
    // A name is no longer than NAME_MAX.
    let len = [name.len() as u8];
    Zeroizing::new([&len, name, password.expose()].concat())
}

/// Bytes that both ends of a login must know, such as an identifier of the connection that it is for. A login between
/// ends with different ones fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    bytes: [u8; Self::LEN_MAX],
    len: usize,
}

impl Binding {
    /// The longest binding, in bytes: that of two SHA-256 digests.
    pub const LEN_MAX: usize = 64;

    /// No bytes, as most programs have it.
    #[must_use]
    pub fn none() -> Self {
        Self { bytes: [0; Self::LEN_MAX], len: 0 }
    }

    /// Up to [`LEN_MAX`](Self::LEN_MAX) bytes.
    ///
    /// # Errors
    /// There are more.
    pub fn new(bytes: &[u8]) -> Result<Self, BindingTooLong> {
        let mut binding = Self::none();
        binding.bytes.get_mut(..bytes.len()).ok_or(BindingTooLong)?.copy_from_slice(bytes);
        binding.len = bytes.len();
        Ok(binding)
    }
}

/// A binding has more than [`Binding::LEN_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingTooLong;

impl fmt::Display for BindingTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a binding has at most {} bytes", Binding::LEN_MAX)
    }
}

impl std::error::Error for BindingTooLong {}

const CONTEXT: &[u8; 16] = b"letmein opaque 1";

/// The context of RFC 9807, section 6.4: what is spoken, how the password is stretched, and the binding.
pub(crate) struct Context {
    bytes: [u8; CONTEXT.len() + STRETCHING_LEN + Binding::LEN_MAX],
    len: usize,
}

impl Context {
    pub(crate) fn new(stretching: &[u8; STRETCHING_LEN], binding: &Binding) -> Self {
        let bytes = concat([CONTEXT.as_slice(), stretching, &binding.bytes]);
        Self { bytes, len: CONTEXT.len() + STRETCHING_LEN + binding.len }
    }

    pub(crate) fn of(stretching: Stretching, binding: &Binding) -> Self {
        Self::new(&stretching.to_bytes(), binding)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

//! The session key that both ends of a login have, and what is derived from it.

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::dialect::Verdict;

/// Bytes of a session key.
pub const SESSION_KEY_LEN: usize = 64;
/// Bytes of the MAC of the client, which is all of KE3.
pub const KE3_LEN: usize = 64;
/// Bytes of the tag of a verdict.
pub const TAG_LEN: usize = 32;

/// A key that the client and the server of one login have, and nobody else. Wiped when dropped, and never shown.
#[derive(Clone)]
pub struct SessionKey(Zeroizing<[u8; SESSION_KEY_LEN]>);

impl SessionKey {
    pub(crate) fn new(bytes: [u8; SESSION_KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The whole key: the session_key of RFC 9807. [`export`](Self::export) is for programs, which need a key for each
    /// purpose.
    #[must_use]
    pub fn expose(&self) -> &[u8; SESSION_KEY_LEN] {
        &self.0
    }

    /// `N` bytes for one purpose: HKDF-Expand (RFC 5869) with SHA-512 of this key, with "letmein export", the length of
    /// the label in one byte, the label, and the context. `label` says what they are for, and has at most 255 bytes;
    /// `context` can bind them to anything. Both ends get the same bytes.
    ///
    /// # Errors
    /// [`ExportError`]: the label is too long, or `N` is more than 16,320.
    pub fn export<const N: usize>(
        &self,
        label: &str,
        context: &[u8],
    ) -> Result<Zeroizing<[u8; N]>, ExportError> {
        let len = u8::try_from(label.len()).map_err(|_| ExportError::LabelTooLong)?;
        let mut output = Zeroizing::new([0; N]);
        self.expand(&[b"letmein export", &[len], label.as_bytes(), context], &mut *output)
            .map_err(|_| ExportError::OutputTooLong)?;
        Ok(output)
    }

    /// The tag by which the client knows that a verdict is its server's.
    #[must_use]
    pub fn verdict_tag(&self, verdict: Verdict, ke3: &[u8; KE3_LEN]) -> [u8; TAG_LEN] {
        let mut key = Zeroizing::new([0; 32]);
        // This many bytes can always be expanded, and any key is one for HMAC.
        let _ = self.expand(&[b"letmein verdict"], &mut *key);
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*key) else { return [0; TAG_LEN] };
        mac.update(&[verdict_byte(verdict)]);
        mac.update(ke3);
        mac.finalize().into_bytes().into()
    }

    /// Whether a tag is that of a verdict, in constant time.
    pub(crate) fn is_verdict_tag(&self, tag: &[u8; TAG_LEN], verdict: Verdict, ke3: &[u8; KE3_LEN]) -> bool {
        self.verdict_tag(verdict, ke3).ct_eq(tag).into()
    }

    fn expand(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), hkdf::InvalidLength> {
        // A session key is as long as a digest of SHA-512, so it is a key for HKDF.
        Hkdf::<Sha512>::from_prk(&*self.0).map_err(|_| hkdf::InvalidLength)?.expand_multi_info(info, output)
    }
}

/// 0 refused, 1 welcome.
pub(crate) fn verdict_byte(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Refused => 0,
        Verdict::Welcome => 1,
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

/// Why no bytes can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportError {
    /// The label has more than 255 bytes.
    LabelTooLong,
    /// More bytes than 255 digests of SHA-512 are asked for.
    OutputTooLong,
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LabelTooLong => "the label has more than 255 bytes",
            Self::OutputTooLong => "more than 16320 bytes cannot be exported",
        })
    }
}

impl std::error::Error for ExportError {}

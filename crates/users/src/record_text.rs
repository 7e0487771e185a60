//! A record of OPAQUE as it is in a users file, so that it can be recognized and needs no escapes.
//!
//! ```text
//! $opaque-3dh$v=1$argon2id,m=65536,t=3,p=1$1f2e3d4c5b6a7988$<192 bytes in base64url, without padding>
//!             version, stretching or none, id of the key, RegistrationRecord of RFC 9807, section 5.2
//! ```

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use proto::opaque::key::KeyId;
use proto::opaque::record::{RECORD_LEN, Record};
use proto::opaque::stretching::{Stretching, StretchingError};

/// How the text of a record begins, whatever its version.
pub const RECORD_START: &str = "$opaque-3dh$";
const VERSION: &str = "v=1";
const NO_STRETCHING: &str = "none";
const ARGON2ID: &str = "argon2id,";

/// Why a text is no record. It shows nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordTextError {
    /// It begins in another way.
    #[error("does not begin with {RECORD_START}: write password = \"…\" for a password")]
    Start,
    /// It is newer than this program.
    #[error("has a version that this program does not know: install a newer letmein, or set a new password")]
    Version,
    /// Nobody stretches passwords like that.
    #[error("{0}: set a new password")]
    Stretching(#[from] StretchingTextError),
    /// Something is missing or was changed.
    #[error("is damaged: take it from a backup, or set a new password")]
    Damaged,
}

/// Why a text is no stretching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StretchingTextError {
    /// It is none of those that are known.
    #[error("has a stretching that is neither none nor argon2id,m=KIB,t=PASSES,p=LANES")]
    Unknown,
    /// It is out of range.
    #[error("has a stretching that no client accepts: {0}")]
    OutOfRange(#[from] StretchingError),
}

/// A record as text.
#[must_use]
pub fn record_text(record: &Record) -> String {
    let bytes = BASE64_URL_SAFE_NO_PAD.encode(record.bytes());
    format!("{RECORD_START}{VERSION}${}${}${bytes}", record.stretching, record.key)
}

/// Parses the text of a record, in the one form that it has.
///
/// # Errors
/// Why it is none, as a sentence without its subject.
pub fn parse_record(text: &str) -> Result<Record, RecordTextError> {
    let parts = text.strip_prefix(RECORD_START).ok_or(RecordTextError::Start)?;
    let (version, parts) = parts.split_once('$').ok_or(RecordTextError::Damaged)?;
    if version != VERSION {
        return Err(RecordTextError::Version);
    }
    let (stretching, parts) = parts.split_once('$').ok_or(RecordTextError::Damaged)?;
    let stretching = parse_stretching(stretching)?;
    let (key, bytes) = parts.split_once('$').ok_or(RecordTextError::Damaged)?;
    let key = parse_key_id(key).ok_or(RecordTextError::Damaged)?;
    let mut decoded = [0; RECORD_LEN];
    if BASE64_URL_SAFE_NO_PAD.decode_slice(bytes, &mut decoded) != Ok(RECORD_LEN) {
        return Err(RecordTextError::Damaged);
    }
    Ok(Record::new(stretching, key, decoded))
}

/// Parses a stretching: `none`, or `argon2id,m=65536,t=3,p=1`, which is KiB, passes and lanes.
///
/// # Errors
/// Why it is none, as a sentence without its subject.
pub fn parse_stretching(text: &str) -> Result<Stretching, StretchingTextError> {
    if text == NO_STRETCHING {
        return Ok(Stretching::NONE);
    }
    let (memory_kib, passes, lanes) = parameters(text).ok_or(StretchingTextError::Unknown)?;
    let stretching = Stretching::new(memory_kib, passes, lanes)?;
    // Each stretching has one text, so that two records with equal texts differ in nothing.
    if stretching.to_string() == text { Ok(stretching) } else { Err(StretchingTextError::Unknown) }
}

fn parameters(text: &str) -> Option<(u32, u16, u8)> {
    let (memory, rest) = text.strip_prefix(ARGON2ID)?.strip_prefix("m=")?.split_once(",t=")?;
    let (passes, lanes) = rest.split_once(",p=")?;
    Some((memory.parse().ok()?, passes.parse().ok()?, lanes.parse().ok()?))
}

/// Sixteen lower-case hexadecimal digits.
fn parse_key_id(text: &str) -> Option<KeyId> {
    let is_text = text.len() == 16 && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    is_text.then(|| u64::from_str_radix(text, 16).ok().map(|id| KeyId(id.to_be_bytes())))?
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use proto::credentials::Password;
    use proto::opaque::key::ServerKey;
    use proto::opaque::registration::register;

    use super::*;

    fn record(stretching: Stretching) -> Record {
        let mut random = ChaCha20Rng::from_seed([1; 32]);
        let key = ServerKey::generate(&mut random);
        let password = Password::new("her password").unwrap();
        let made =
            register(&key, &"alice".parse().unwrap(), &password, Stretching::NONE, &mut random).unwrap();
        Record::new(stretching, key.id(), *made.bytes())
    }

    #[test]
    fn a_record_is_the_same_after_it_was_written_and_read() {
        let other = Stretching::new(8, 16, 1).unwrap();
        for stretching in [Stretching::DEFAULT, Stretching::LIGHT, Stretching::NONE, other] {
            let record = record(stretching);
            let text = record_text(&record);
            assert_eq!(parse_record(&text), Ok(record), "{text}");
        }
        let text = record_text(&record(Stretching::DEFAULT));
        assert!(text.starts_with("$opaque-3dh$v=1$argon2id,m=65536,t=3,p=1$") && text.len() == 314, "{text}");
    }

    #[test]
    fn each_flaw_of_a_record_has_its_own_reason() {
        const RANGE: RecordTextError =
            RecordTextError::Stretching(StretchingTextError::OutOfRange(StretchingError::TooMuch));
        const UNKNOWN: RecordTextError = RecordTextError::Stretching(StretchingTextError::Unknown);
        let text = record_text(&record(Stretching::DEFAULT));
        let id = record(Stretching::DEFAULT).key.to_string();
        for (old, new, error) in [
            ("$opaque-3dh$", "$2y$", RecordTextError::Start),
            ("$v=1$", "$v=2$", RecordTextError::Version),
            ("$argon2id,", "$argon2i,", UNKNOWN),
            ("$argon2id,m=65536", "$none,m=65536", UNKNOWN),
            ("m=65536", "m=065536", UNKNOWN),
            ("t=3", "t=+3", UNKNOWN),
            ("t=3", "t=17", RANGE),
            ("m=65536", "m=262145", RANGE),
            (&id, &id[1..], RecordTextError::Damaged),
            (&id, &id.to_uppercase(), RecordTextError::Damaged),
            (&text[text.len() - 1..], "", RecordTextError::Damaged),
            (&text[text.len() - 256..], &"=".repeat(256), RecordTextError::Damaged),
        ] {
            let cut = text.rfind(old).unwrap();
            let wrong = [&text[..cut], new, &text[cut + old.len()..]].concat();
            assert_eq!(parse_record(&wrong), Err(error), "{wrong}");
        }
        assert_eq!(parse_record(&format!("{text}A")), Err(RecordTextError::Damaged));
        assert_eq!(parse_record(&format!("{text}\n")), Err(RecordTextError::Damaged));
    }
}

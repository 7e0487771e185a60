//! The key of a server as it is in its file: one line, `letmein-opaque-key-1:` and 128 bytes in base64url.

use base64ct::{Base64UrlUnpadded, Encoding};
use zeroize::Zeroizing;

use proto::opaque::key::{KEY_LEN, ServerKey};

const START: &str = "letmein-opaque-key-";
const VERSION: &str = "1:";
/// Characters of base64url.
const ENCODED_LEN: usize = (KEY_LEN * 4).div_ceil(3);

/// Why a text is no key. It shows nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// It begins in another way.
    #[error("this is no key file, whose only line begins with {START}1: name the right one with --key-file")]
    Start,
    /// It is newer than this program.
    #[error("the key has a version that this program does not know: install a newer letmein")]
    Version,
    /// Something is missing or was changed.
    #[error(
        "the key is damaged: take the file from a backup; without it all users with a record need new passwords"
    )]
    Damaged,
}

/// A key as the text of its file.
#[must_use]
pub fn key_text(key: &ServerKey) -> Zeroizing<String> {
    let mut encoded = Zeroizing::new([0; ENCODED_LEN]);
    let bytes = key.to_bytes();
    // The buffer has the right size.
    let encoded = Base64UrlUnpadded::encode(&*bytes, &mut *encoded).unwrap_or_default();
    // One allocation of the right size: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(START.len() + VERSION.len() + ENCODED_LEN + 1));
    [START, VERSION, encoded, "\n"].into_iter().for_each(|part| text.push_str(part));
    text
}

/// Parses the text of a key file. The end of the line may be missing.
///
/// # Errors
/// Why it is none.
pub fn parse_key(text: &str) -> Result<ServerKey, KeyTextError> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let versioned = line.strip_prefix(START).ok_or(KeyTextError::Start)?;
    let encoded = versioned.strip_prefix(VERSION).ok_or(KeyTextError::Version)?;
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    let len = Base64UrlUnpadded::decode(encoded, &mut *bytes).map(<[u8]>::len);
    if len != Ok(KEY_LEN) {
        return Err(KeyTextError::Damaged);
    }
    ServerKey::from_bytes(&bytes).map_err(|_| KeyTextError::Damaged)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn key() -> ServerKey {
        ServerKey::generate(&mut ChaCha20Rng::from_seed([1; 32]))
    }

    #[test]
    fn a_key_is_the_same_after_it_was_written_and_read() {
        let text = key_text(&key());
        assert_eq!((text.len(), text.capacity()), (193, 193));
        let line = text.trim_end();
        for text in [&**text, line, &format!("{line}\r\n")] {
            assert_eq!(parse_key(text).ok().map(|key| key.to_bytes()), Some(key().to_bytes()));
        }
    }

    #[test]
    fn each_flaw_of_a_key_has_its_own_reason() {
        let text = key_text(&key());
        let line = text.trim_end();
        for (wrong, error) in [
            ("", KeyTextError::Start),
            ("[users]\n", KeyTextError::Start),
            (&line.replace("key-1:", "key-2:"), KeyTextError::Version),
            ("letmein-opaque-key-1:", KeyTextError::Damaged),
            (&line[..line.len() - 1], KeyTextError::Damaged),
            (&format!("{line}A"), KeyTextError::Damaged),
            (&format!("{line}\n\n"), KeyTextError::Damaged),
            (&format!("letmein-opaque-key-1:{}", "_".repeat(171)), KeyTextError::Damaged),
        ] {
            assert_eq!(parse_key(wrong).err(), Some(error), "{wrong}");
        }
    }
}

//! The framed exchange: each text has its length in front, and is answered without its first 10 characters.
//!
//! ```text
//! | length: 4 bytes, big-endian | text: `length` bytes of UTF-8 |
//! ```

use std::fmt;

/// The size in bytes of the length in front of a text.
pub const LENGTH_LEN: usize = 4;
/// The default limit of a text: 16 MiB.
pub const MESSAGE_MAX: usize = 16 << 20;
/// Characters that are missing in an answer.
const LEFT_OUT: usize = 10;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The length is above the limit.
    TooLong {
        /// The length in front of the message, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The message is not UTF-8.
    NotUtf8,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, max } => write!(f, "a message of {len} bytes is longer than {max}"),
            Self::NotUtf8 => f.write_str("a message is not UTF-8"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Takes the message at the front of `received`; `None` while it is not whole.
///
/// # Errors
/// [`FrameError`] says why the bytes are not a message.
pub fn decode<'a>(received: &mut &'a [u8], message_max: usize) -> Result<Option<&'a str>, FrameError> {
    let Some((length, rest)) = received.split_first_chunk::<LENGTH_LEN>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes(*length) as usize;
    if len > message_max {
        return Err(FrameError::TooLong { len, max: message_max });
    }
    let Some((text, rest)) = rest.split_at_checked(len) else {
        return Ok(None);
    };
    *received = rest;
    str::from_utf8(text).map(Some).map_err(|_| FrameError::NotUtf8)
}

/// Appends a text with its length in front to `out`.
///
/// # Errors
/// [`FrameError::TooLong`] for a text of 4 GiB or more; nothing is then appended.
pub fn encode(text: &str, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let too_long = |_| FrameError::TooLong { len: text.len(), max: u32::MAX as usize };
    out.extend_from_slice(&u32::try_from(text.len()).map_err(too_long)?.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Takes the message at the front of `received`, and appends its answer to `replies`; `None` while it is not whole.
///
/// # Errors
/// [`FrameError`] says why the bytes are not a message.
pub fn exchange<'a>(
    received: &mut &'a [u8],
    message_max: usize,
    replies: &mut Vec<u8>,
) -> Result<Option<&'a str>, FrameError> {
    let text = decode(received, message_max)?;
    if let Some(text) = text {
        encode(answer(text), replies)?;
    }
    Ok(text)
}

/// The text without its first 10 characters.
#[must_use]
pub fn answer(text: &str) -> &str {
    let start = text.char_indices().nth(LEFT_OUT).map_or(text.len(), |(start, _)| start);
    text.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text, &mut out).unwrap();
        out
    }

    #[test]
    fn an_answer_leaves_out_ten_characters_and_not_ten_bytes() {
        for (text, rest) in [
            ("Four score and seven years ago", " and seven years ago"),
            ("ten chars.", ""),
            ("ten chars.!", "!"),
            ("short", ""),
            ("", ""),
            ("ääääääääääöü", "öü"),
            ("123456789🦀x", "x"),
            ("1234567890🦀", "🦀"),
        ] {
            assert_eq!(answer(text), rest, "{text}");
        }
    }

    #[test]
    fn the_specifications_example_is_framed_byte_for_byte() {
        let text = "Four score and seven years ago";
        assert_eq!(frame(text), [b"\0\0\0\x1e", text.as_bytes()].concat());
        assert_eq!(frame(answer(text)), [b"\0\0\0\x14", " and seven years ago".as_bytes()].concat());
    }

    #[test]
    fn a_message_is_taken_only_when_it_is_whole() {
        let (first, second) = (frame("grüß dich"), frame(""));
        let both = [&first[..], &second].concat();
        for end in 0..first.len() {
            assert_eq!(decode(&mut &both[..end], MESSAGE_MAX), Ok(None), "{end} bytes");
        }
        let mut received = &both[..];
        assert_eq!(decode(&mut received, MESSAGE_MAX), Ok(Some("grüß dich")));
        assert_eq!(decode(&mut received, MESSAGE_MAX), Ok(Some("")));
        assert_eq!(decode(&mut received, MESSAGE_MAX), Ok(None));
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_its_message_comes() {
        assert_eq!(decode(&mut &b"\0\0\0\x05"[..], 4), Err(FrameError::TooLong { len: 5, max: 4 }));
        assert_eq!(
            decode(&mut &b"\xff\xff\xff\xff"[..], MESSAGE_MAX),
            Err(FrameError::TooLong { len: u32::MAX as usize, max: MESSAGE_MAX })
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        assert_eq!(decode(&mut &b"\0\0\0\x02\xc3\x28"[..], MESSAGE_MAX), Err(FrameError::NotUtf8));
    }
}

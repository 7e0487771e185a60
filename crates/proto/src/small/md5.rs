//! The MD5 exchange: a message is answered with the hexadecimal digits of its digest.

use md5::{Digest as _, Md5};

use crate::hex::to_hex;

/// The length of an answer, in bytes.
pub const ANSWER_LEN: usize = 32;

/// The longest message over TCP, where messages have no length of their own: 1 MiB.
pub const STREAM_MESSAGE_MAX: usize = 1 << 20;

/// The 32 lower-case hexadecimal digits of the MD5 of `message`.
#[must_use]
pub fn answer(message: &[u8]) -> [u8; ANSWER_LEN] {
    to_hex::<16, ANSWER_LEN>(Md5::digest(message).into())
}

/// Whether a datagram is 32 lower-case hexadecimal digits.
#[must_use]
pub fn is_answer(datagram: &[u8]) -> bool {
    datagram.len() == ANSWER_LEN && datagram.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths at which MD5 pads differently, and the longest datagram; digests by another program (md5sum).
    #[test]
    fn messages_of_every_kind_of_length_have_their_known_digests() {
        for (message, digest) in [
            (vec![], "d41d8cd98f00b204e9800998ecf8427e"),
            (b"a".to_vec(), "0cc175b9c0f1b6a831c399e269772661"),
            (b"Hello, Server! Please hash this message.".to_vec(), "1df1eb001708d60aa5b8c2f33d99f529"),
            (b"Hello, server!".to_vec(), "a6c043d6d080c3679e9781f6d176c537"),
            (vec![b'a'; 55], "ef1772b6dff9a122358552954ad0df65"),
            (vec![b'a'; 56], "3b0c8ac703f828b04c6c197006d17218"),
            (vec![b'a'; 63], "b06521f39153d618550606be297466d5"),
            (vec![b'a'; 64], "014842d480b571495a4a0363793f7367"),
            (vec![b'a'; 65], "c743a45e0d2e6a95cb859adae0248435"),
            (vec![b'a'; 65_507], "2af170b3e98b80cf2ffc080903a43bd9"),
        ] {
            assert_eq!(answer(&message), digest.as_bytes(), "{} bytes", message.len());
        }
    }

    #[test]
    fn only_32_lower_case_digits_are_taken_for_an_answer() {
        assert!(is_answer(&answer(b"x")));
        for other in
            ["", "0123456789abcdef", "0123456789ABCDEF0123456789ABCDEF", "g123456789abcdef0123456789abcdef"]
        {
            assert!(!is_answer(other.as_bytes()), "{other}");
        }
    }
}

//! The hello exchange: a message is answered with `Hello ` in front of it.

/// The start of every answer.
pub const GREETING: &[u8] = b"Hello ";

/// Appends `Hello ` and the message to `reply`.
pub fn answer(message: &[u8], reply: &mut Vec<u8>) {
    reply.extend_from_slice(GREETING);
    reply.extend_from_slice(message);
}

/// Whether a datagram is the answer of this service to an answer of this service.
#[must_use]
pub fn is_answer_to_an_answer(datagram: &[u8]) -> bool {
    datagram.strip_prefix(GREETING).is_some_and(|rest| rest.starts_with(GREETING))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_to(message: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        answer(message, &mut reply);
        reply
    }

    #[test]
    fn a_message_is_greeted_whatever_its_bytes() {
        assert_eq!(said_to(b"Hello, server!"), b"Hello Hello, server!");
        assert_eq!(said_to(b"\0\xff"), b"Hello \0\xff");
    }

    #[test]
    fn an_answer_to_an_answer_is_known() {
        assert!(is_answer_to_an_answer(&said_to(&said_to(b"x"))));
        assert!(!is_answer_to_an_answer(&said_to(b"x")));
        assert!(!is_answer_to_an_answer(b"Hello Hello, server!"));
    }
}

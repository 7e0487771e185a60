use super::*;

const ANSWER: &str = "userone:f82160d527af37de4ba8ac9f59a8ca30";

fn answer(text: &str) -> Result<Answer<'_>, Malformed> {
    match decode(text.as_bytes())? {
        ClientMessage::Answer(answer) => Ok(answer),
        ClientMessage::Request(dialect) => panic!("a request in {dialect:?}"),
    }
}

#[test]
fn each_spelling_of_the_request_asks_for_its_form() {
    for (text, dialect) in [
        ("Authentication Request", Dialect::Words),
        ("authentication request", Dialect::Words),
        ("Authentication request", Dialect::Letters),
    ] {
        for padding in ["", "\0", "\r\n", " \n\0\0"] {
            let padded = format!("{text}{padding}");
            assert_eq!(decode(padded.as_bytes()), Ok(ClientMessage::Request(dialect)), "{padded:?}");
        }
    }
}

#[test]
fn no_other_spelling_is_a_request() {
    for text in ["AUTHENTICATION REQUEST", "authentication Request", " Authentication Request", "", "\0\r\n "]
    {
        assert_eq!(decode(text.as_bytes()), Err(Malformed::NotAMessage), "{text:?}");
    }
}

#[test]
fn an_answer_is_a_name_and_a_digest_in_either_case() {
    let lower = answer(ANSWER).unwrap();
    assert_eq!((lower.name, lower.echo), ("userone", None));
    assert_eq!(answer("userone:F82160D527AF37DE4BA8AC9F59A8CA30\r\n"), Ok(lower));
}

#[test]
fn an_answer_may_carry_the_challenge_back() {
    let echoed = answer(&format!("{ANSWER}:5bf76b8a82f5f462")).map(|answer| answer.echo);
    assert_eq!(echoed, Ok(Challenge::from_digits(b"5bf76b8a82f5f462")));
}

#[test]
fn an_answer_with_anything_else_in_it_is_malformed() {
    let cases = [
        ("userone".to_owned(), Malformed::NotAMessage),
        (format!(":{}", "0".repeat(32)), Malformed::Name(NameError::Empty)),
        (format!(" {ANSWER}"), Malformed::Name(NameError::OuterSpace)),
        (format!("user\u{7}one:{}", "0".repeat(32)), Malformed::Name(NameError::Control)),
        (format!("{}:{}", "u".repeat(65), "0".repeat(32)), Malformed::Name(NameError::TooLong)),
        ("userone:".to_owned(), Malformed::Digest),
        (format!("userone:{}", "0".repeat(31)), Malformed::Digest),
        (format!("userone:{}", "g".repeat(32)), Malformed::Digest),
        (format!("userone::{}", "0".repeat(32)), Malformed::Digest),
        (format!("{ANSWER}0"), Malformed::Echo),
        (format!("{ANSWER}:"), Malformed::Echo),
        (format!("{ANSWER}:5bf76b8a82f5f46"), Malformed::Echo),
        (format!("{ANSWER}:5bf76b8a82f5f4621"), Malformed::Echo),
        (format!("{ANSWER}:+bf76b8a82f5f462"), Malformed::Echo),
    ];
    for (text, reason) in cases {
        assert_eq!(answer(&text), Err(reason), "{text:?}");
    }
    assert_eq!(decode(b"\xff\xfe:00000000000000000000000000000000"), Err(NameError::NotUtf8.into()));
}

#[test]
fn a_message_one_byte_over_the_limit_is_refused_and_not_cut() {
    let mut datagram = ANSWER.as_bytes().to_vec();
    datagram.resize(MESSAGE_MAX, 0);
    assert!(decode(&datagram).is_ok());
    datagram.push(0);
    assert_eq!(decode(&datagram), Err(Malformed::TooLong));
    assert_eq!(decode(&[b'a'; 65_507]), Err(Malformed::TooLong));
}

fn written(message: ServerMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.append_to(&mut bytes);
    bytes
}

#[test]
fn a_client_reads_back_what_a_server_writes_in_words() {
    let challenge = Challenge::from_digits(b"00000000000000ff").unwrap();
    for message in [
        ServerMessage::Challenge(challenge),
        ServerMessage::NewChallenge(challenge),
        ServerMessage::Verdict(Verdict::Welcome, Dialect::Words),
        ServerMessage::Verdict(Verdict::Refused, Dialect::Words),
    ] {
        assert_eq!(ServerMessage::decode(&written(message)), Some(message));
    }
}

#[test]
fn letters_are_one_byte() {
    assert_eq!(written(ServerMessage::Verdict(Verdict::Welcome, Dialect::Letters)), b"Y");
    assert_eq!(written(ServerMessage::Verdict(Verdict::Refused, Dialect::Letters)), b"N");
}

#[test]
fn a_client_ignores_all_else() {
    for bytes in [
        &b""[..],
        b"5bf76b8a82f5f46",
        b"5bf76b8a82f5f4620",
        b"5BF76B8A82F5F462",
        b"New challenge 5bf76b8a82f5f46",
        b"new challenge 5bf76b8a82f5f462",
        b"Welcome to our service",
        b"Welcome to our service.\n",
        b"Y",
    ] {
        assert_eq!(ServerMessage::decode(bytes), None, "{bytes:?}");
    }
}

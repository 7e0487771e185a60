//! Logins over TCP: the same bytes, however they are segmented.

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::mechanism::Mechanisms;
use letmein_auth_proto::server::Case;
use letmein_auth_proto::server::stream::{BUFFER_LEN, LoginStream};
use letmein_auth_proto::users::Users;

use crate::{at, digest, echoing_answer, opaque_desk, peer, penalties, plain_answer, sample_users, users};

const CHALLENGE: &str = "5bf76b8a82f5f462";

fn challenge() -> Challenge {
    Challenge::from_digits(CHALLENGE.as_bytes()).unwrap()
}

/// Plays a connection whose bytes come in these pieces; gives all replies, and whether the login has ended.
fn play<'a>(users: &Users, pieces: impl IntoIterator<Item = &'a [u8]>) -> (String, bool) {
    let (mut conversation, penalties) = (LoginStream::new(challenge(), Mechanisms::ALL), penalties());
    let mut desk = opaque_desk();
    let case = Case { users, penalties: &penalties, now: at(0.0), peer: peer("192.0.2.1:5000") };
    let (mut said_back, mut buffer) = (Vec::new(), Vec::new());
    for byte in pieces.into_iter().flat_map(|piece| piece.chunks(BUFFER_LEN)) {
        buffer.extend_from_slice(byte);
        let mut received = &buffer[..];
        while conversation.receive(case, &mut desk, &mut received, &mut said_back).is_some() {}
        buffer = received.to_vec();
        assert!(conversation.is_over() || buffer.len() < BUFFER_LEN, "no room for more");
    }
    (String::from_utf8(said_back).unwrap(), conversation.is_over())
}

/// All kinds of logins: the bytes of the client, and the reply after the challenge.
fn conversations() -> Vec<(Vec<u8>, &'static str)> {
    let words = b"Authentication Request".to_vec();
    let letters = b"Authentication request".to_vec();
    let right = plain_answer("userone", "passwordone", challenge()).into_bytes();
    let wrong = plain_answer("userone", "wrong", challenge()).into_bytes();
    let echoing = echoing_answer("userone", "passwordone", challenge()).into_bytes();
    let other_echo = [&right[..], b":0000000000000000"].concat();
    let raw = |password| {
        let digest = digest("userone", password, challenge()).digits();
        let hex = str::from_utf8(&digest).unwrap();
        let byte = |index: usize| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap();
        [b"userone:".to_vec(), (0..16).map(byte).collect()].concat()
    };
    let welcome = "Welcome to our service.";
    let refused = "User authorization failed.";
    vec![
        ([&words[..], &right].concat(), welcome),
        ([&words[..], &wrong].concat(), refused),
        ([&words[..], &echoing].concat(), welcome),
        ([&words[..], &other_echo].concat(), welcome),
        ([&words[..], b"\r\n\0 \0", &right, b"\r\n"].concat(), welcome),
        ([&words[..], &[0; 4096], &right].concat(), welcome),
        ([&words[..], &right, &wrong].concat(), welcome),
        ([b"authentication request", &right[..], &[b'x'; 255]].concat(), welcome),
        ([&letters[..], &right].concat(), "Y"),
        ([&letters[..], &wrong].concat(), "N"),
        ([&words[..], &raw("passwordone")].concat(), "Y"),
        ([&words[..], &raw("wrong")].concat(), "N"),
        ([&letters[..], &raw("passwordone")].concat(), "Y"),
    ]
}

#[test]
fn a_login_is_the_same_whole_byte_by_byte_and_cut_in_two_anywhere() {
    let users = sample_users();
    for (said, verdict) in conversations() {
        let expected = (format!("{CHALLENGE}{verdict}"), true);
        assert_eq!(play(&users, [&said[..]]), expected);
        assert_eq!(play(&users, said.chunks(1)), expected);
        for cut in 1..said.len().min(200) {
            let (head, tail) = said.split_at(cut);
            assert_eq!(play(&users, [head, tail]), expected, "cut at {cut}");
        }
    }
}

#[test]
fn a_login_cut_off_anywhere_before_its_end_has_no_verdict() {
    let users = sample_users();
    let said =
        [&b"Authentication Request"[..], plain_answer("userone", "passwordone", challenge()).as_bytes()]
            .concat();
    for end in 0..said.len() {
        let expected = if end < 22 { "" } else { CHALLENGE };
        assert_eq!(play(&users, [&said[..end]]), (expected.to_owned(), false), "cut off at {end}");
    }
}

#[test]
fn nonsense_ends_a_conversation_without_a_word() {
    let users = sample_users();
    let request = |answer: &[u8]| [b"Authentication Request", answer].concat();
    for (said, told) in [
        (b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec(), ""),
        (b"AUTHENTICATION REQUEST".to_vec(), ""),
        (request(&[b'u'; 65]), CHALLENGE),
        (request(b":0123456789abcdef0123456789abcdef"), CHALLENGE),
        (request(b"user\x1bone:0123456789abcdef0123456789abcdef"), CHALLENGE),
        (request(b"\xff\xfe:0123456789abcdef0123456789abcdef"), CHALLENGE),
        (request(b"userone:0123456789abcdef0123456789abcdeg"), CHALLENGE),
        (request(&[0; 4097]), CHALLENGE),
    ] {
        assert_eq!(play(&users, [&said[..]]), (told.to_owned(), true), "{said:?}");
        assert_eq!(play(&users, said.chunks(1)), (told.to_owned(), true), "{said:?}");
    }
}

#[test]
fn the_longest_name_and_password_fit() {
    let (name, password) = ("ü".repeat(32), "p".repeat(128));
    let users = users(&format!("\"{name}\" = \"{password}\""));
    let answer = plain_answer(&name, &password, challenge());
    let said = [&b"Authentication Request"[..], answer.as_bytes()].concat();
    assert_eq!(play(&users, [&said[..]]), (format!("{CHALLENGE}Welcome to our service."), true));
}

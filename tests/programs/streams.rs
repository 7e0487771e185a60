//! Bytes over TCP, in the pieces and dialects that clients send them in.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use proto::transport::Transport;
use socket2::{Domain, Socket, Type};

use crate::peers::{
    OLD_REQUEST, PATIENCE, REFUSED, REQUEST, WELCOME, answer, digest, echoing_answer, tcp_peer, uninterrupted,
};
use crate::running::{SAMPLES, Server, welcome};

/// Connections from one source, at most.
const PER_SOURCE_MAX: usize = 512;

pub(crate) fn challenge(stream: &mut TcpStream) -> [u8; 16] {
    let mut digits = [0; 16];
    stream.read_exact(&mut digits).unwrap();
    digits
}

/// All that comes until the server ends the connection in good order.
pub(crate) fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Sends a request, and what `reply` makes of the challenge; gives what comes then.
fn converse(server: &Server, request: &[u8], reply: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut stream = tcp_peer(server);
    stream.write_all(request).unwrap();
    let challenge = challenge(&mut stream);
    stream.write_all(&reply(&challenge)).unwrap();
    rest(&mut stream)
}

fn right(challenge: &[u8]) -> Vec<u8> {
    answer("userone", "passwordone", challenge)
}

fn wrong(challenge: &[u8]) -> Vec<u8> {
    answer("userone", "wrong", challenge)
}

#[test]
fn an_answer_may_carry_the_challenge_back_or_not() {
    let server = Server::tcp();
    for request in [REQUEST, b"authentication request"] {
        assert_eq!(converse(&server, request, right), WELCOME);
        assert_eq!(converse(&server, request, wrong), REFUSED);
        let echoing = |challenge: &[u8]| echoing_answer("userone", "passwordone", challenge);
        assert_eq!(converse(&server, request, echoing), WELCOME);
    }
}

#[test]
fn a_login_may_come_a_byte_at_a_time() {
    let server = Server::tcp();
    let mut stream = tcp_peer(&server);
    let dribble = |mut stream: &TcpStream, bytes: &[u8]| {
        bytes.iter().for_each(|byte| stream.write_all(&[*byte]).unwrap());
    };
    dribble(&stream, REQUEST);
    let challenge = challenge(&mut stream);
    dribble(&stream, &right(&challenge));
    assert_eq!(rest(&mut stream), WELCOME);
}

#[test]
fn a_request_and_a_guess_in_one_segment_get_a_challenge_and_a_refusal() {
    let server = Server::tcp();
    let mut stream = tcp_peer(&server);
    stream.write_all(&[REQUEST, &wrong(b"0123456789abcdef")].concat()).unwrap();
    challenge(&mut stream);
    assert_eq!(rest(&mut stream), REFUSED);
}

#[test]
fn padding_around_messages_is_skipped() {
    let server = Server::tcp();
    for padding in [&b"\r\n\0"[..], b"\n", &[0; 4096]] {
        assert_eq!(converse(&server, &[REQUEST, padding].concat(), right), WELCOME);
        let padded = |challenge: &[u8]| [&right(challenge), padding].concat();
        assert_eq!(converse(&server, REQUEST, padded), WELCOME);
    }
}

#[test]
fn a_client_that_has_ended_its_sending_side_still_reads_the_verdict() {
    let server = Server::tcp();
    let mut stream = tcp_peer(&server);
    stream.write_all(REQUEST).unwrap();
    let challenge = challenge(&mut stream);
    stream.write_all(&right(&challenge)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut stream), WELCOME);
}

#[test]
fn a_client_that_goes_on_talking_still_reads_the_whole_verdict() {
    let server = Server::tcp();
    for (reply, verdict) in [(right as fn(&[u8]) -> _, WELCOME), (wrong, REFUSED)] {
        let talkative = |challenge: &[u8]| [reply(challenge), vec![b'x'; 255]].concat();
        assert_eq!(converse(&server, REQUEST, talkative), verdict);
    }
}

#[test]
fn a_login_cut_off_at_any_byte_does_not_disturb_the_next() {
    let server = Server::tcp();
    for cut in 0..=REQUEST.len() + echoing_answer("userone", "p", b"0123456789abcdef").len() {
        let mut stream = tcp_peer(&server);
        let (request, after) = (cut.min(REQUEST.len()), cut.saturating_sub(REQUEST.len()));
        stream.write_all(&REQUEST[..request]).unwrap();
        if after > 0 {
            let answer = echoing_answer("userone", "passwordone", &challenge(&mut stream));
            stream.write_all(&answer[..after]).unwrap();
        }
        drop(stream);
        assert_eq!(converse(&server, REQUEST, right), WELCOME, "after {cut} bytes");
    }
}

#[test]
fn a_raw_digest_is_answered_in_letters() {
    let server = Server::tcp();
    for request in [REQUEST, OLD_REQUEST] {
        for (password, letter) in [("passwordone", b"Y"), ("wrong", b"N")] {
            let raw = |challenge: &[u8]| {
                let digest = u128::from_str_radix(&digest("userone", password, challenge), 16).unwrap();
                [&b"userone:"[..], &digest.to_be_bytes()].concat()
            };
            assert_eq!(converse(&server, request, raw), letter);
        }
    }
}

#[test]
fn the_old_request_is_answered_in_letters() {
    let server = Server::tcp();
    assert_eq!(converse(&server, OLD_REQUEST, right), b"Y");
    assert_eq!(converse(&server, OLD_REQUEST, wrong), b"N");
}

/// The server ends the connection, in good order or by a reset, without a byte.
fn assert_closed(mut stream: TcpStream, why: &str) {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{why}");
    }
    assert_eq!(bytes, b"", "{why}");
}

#[test]
fn a_connection_that_begins_with_no_request_is_closed() {
    let server = Server::tcp();
    for text in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "AUTHENTICATION REQUEST",
        " Authentication Request",
        "userone:00000000000000000000000000000000",
        &"x".repeat(65_536),
    ] {
        let mut stream = tcp_peer(&server);
        // The server may have closed before all of it is written.
        let _ = stream.write_all(text.as_bytes());
        assert_closed(stream, text.get(..40).unwrap_or(text));
    }
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
}

#[test]
fn a_connection_that_goes_on_with_no_answer_is_closed() {
    let server = Server::tcp();
    for text in [
        "x".repeat(65),
        "u".repeat(65) + ":00000000000000000000000000000000",
        ":00000000000000000000000000000000".into(),
        "user\x07one:00000000000000000000000000000000".into(),
        "userone:0000000000000000000000000000000g".into(),
        "\0".repeat(4097),
    ] {
        let mut stream = tcp_peer(&server);
        stream.write_all(REQUEST).unwrap();
        challenge(&mut stream);
        let _ = stream.write_all(text.as_bytes());
        assert_closed(stream, &text);
    }
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
}

#[test]
fn a_connection_that_ends_early_is_closed_without_a_verdict() {
    let server = Server::tcp();
    for text in ["", "Authentication Reques", "GET / HTTP/1.0\r\n\r\n"] {
        let mut stream = tcp_peer(&server);
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_closed(stream, text);
    }
}

#[test]
fn one_answer_is_all_that_a_connection_gets() {
    let server = Server::tcp();
    let twice = |challenge: &[u8]| [wrong(challenge), b"\n".to_vec(), right(challenge)].concat();
    assert_eq!(converse(&server, REQUEST, twice), REFUSED);
}

#[test]
fn silent_connections_keep_no_other_source_out() {
    // One worker, which takes them in the order in which they come.
    let server = Server::start(Transport::Tcp, &["127.0.0.1:0", "--users", SAMPLES, "--workers", "1"]);
    let silent: Vec<_> = (0..PER_SOURCE_MAX + 88).map(|_| tcp_peer(&server)).collect();
    let mut other = connect_from([127, 0, 0, 2], server.address);
    other.write_all(REQUEST).unwrap();
    let challenge = challenge(&mut other);
    other.write_all(&right(&challenge)).unwrap();
    assert_eq!(rest(&mut other), WELCOME);
    // The others came first, so by now each of them is admitted or turned away.
    assert_eq!(silent.iter().filter(|stream| is_open(stream)).count(), PER_SOURCE_MAX);
}

fn connect_from(source: [u8; 4], server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

pub(crate) fn is_open(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    uninterrupted(|| stream.read(&mut [0])).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

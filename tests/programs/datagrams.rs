//! Bytes over UDP, in the dialects that clients send them in, and silence for all else.

use std::io::ErrorKind;

use crate::peers::{
    OLD_REQUEST, REFUSED, REQUEST, WELCOME, answer, ask, echoing_answer, udp_peer, uninterrupted,
};
use crate::running::Server;

#[test]
fn the_old_request_is_answered_in_letters() {
    let server = Server::udp();
    for (name, password, letter) in
        [("userone", "passwordone", b"Y"), ("userone", "wrong", b"N"), ("nobody", "", b"N")]
    {
        let peer = udp_peer(&server);
        let challenge = ask(&peer, OLD_REQUEST);
        assert_eq!(ask(&peer, &answer(name, password, &challenge)), letter, "{name}");
    }
}

#[test]
fn an_answer_may_carry_the_challenge_back_or_not() {
    let server = Server::udp();
    for request in [REQUEST, b"authentication request", b"Authentication Request\r\n\0"] {
        for (password, verdict) in [("passwordone", WELCOME), ("wrong", REFUSED)] {
            for answer in [answer, echoing_answer] {
                let peer = udp_peer(&server);
                let challenge = ask(&peer, request);
                assert_eq!(ask(&peer, &answer("userone", password, &challenge)), verdict);
            }
        }
    }
}

#[test]
fn an_answer_that_is_repeated_gets_its_verdict_again() {
    let server = Server::udp();
    for (password, verdict) in [("passwordone", WELCOME), ("wrong", REFUSED)] {
        let peer = udp_peer(&server);
        let answer = echoing_answer("userone", password, &ask(&peer, REQUEST));
        for _ in 0..3 {
            assert_eq!(ask(&peer, &answer), verdict);
        }
    }
}

#[test]
fn an_answer_to_a_challenge_that_is_none_of_ours_gets_a_new_one_which_is_good() {
    let server = Server::udp();
    let peer = udp_peer(&server);
    let reply = ask(&peer, &echoing_answer("userone", "passwordone", b"0123456789abcdef"));
    let challenge = reply.strip_prefix(b"New challenge ").expect("a new challenge");
    assert_eq!(ask(&peer, &echoing_answer("userone", "passwordone", challenge)), WELCOME);
}

#[test]
fn a_challenge_is_good_for_the_port_it_was_sent_to_alone() {
    let server = Server::udp();
    let [asker, other] = [(); 2].map(|()| udp_peer(&server));
    let challenge = ask(&asker, REQUEST);
    assert_eq!(ask(&other, &answer("userone", "passwordone", &challenge)), REFUSED);
    let reply = ask(&other, &echoing_answer("userone", "passwordone", &challenge));
    assert!(reply.starts_with(b"New challenge "));
    assert_eq!(ask(&asker, &answer("userone", "passwordone", &challenge)), WELCOME);
}

#[test]
fn malformed_oversized_and_empty_datagrams_get_silence() {
    let server = Server::udp();
    let answer = |name: &str| format!("{name}:00000000000000000000000000000000").into_bytes();
    let padded = |len: usize| [REQUEST, &vec![0; len - REQUEST.len()]].concat();
    for datagram in [
        vec![],
        b"\0".to_vec(),
        b"AUTHENTICATION REQUEST".to_vec(),
        b"Authentication Reques".to_vec(),
        b" Authentication Request".to_vec(),
        b"userone".to_vec(),
        b"userone:".to_vec(),
        b"userone:0000000000000000000000000000000g".to_vec(),
        b"userone:000000000000000000000000000000000".to_vec(),
        b"userone:00000000000000000000000000000000:0123".to_vec(),
        answer(""),
        answer(" userone"),
        answer("user\x07one"),
        answer(&"u".repeat(65)),
        vec![0xff; 64],
        padded(129),
        padded(65_507),
    ] {
        assert_silence(&server, &datagram);
    }
}

/// The reply to a request after it comes first, and the verdict next, with nothing before, between or behind.
fn assert_silence(server: &Server, datagram: &[u8]) {
    let shown = String::from_utf8_lossy(&datagram[..datagram.len().min(80)]);
    let peer = udp_peer(server);
    assert_eq!(peer.send(datagram).unwrap(), datagram.len());
    let challenge = ask(&peer, REQUEST);
    assert_eq!(challenge.len(), 16, "{shown:?}");
    assert_eq!(ask(&peer, &answer("userone", "passwordone", &challenge)), WELCOME, "{shown:?}");
    peer.set_nonblocking(true).unwrap();
    assert_eq!(
        uninterrupted(|| peer.recv(&mut [0; 256])).unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "{shown:?}"
    );
}

#[test]
fn the_longest_datagram_that_is_a_message_is_answered() {
    let server = Server::udp();
    let request = [REQUEST, &[0; 128 - REQUEST.len()]].concat();
    assert_eq!(ask(&udp_peer(&server), &request).len(), 16);
}

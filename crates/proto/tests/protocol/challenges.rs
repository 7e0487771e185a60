//! Challenges over UDP: the peers and the time for which they are valid.

use letmein_auth_proto::challenge::{Challenge, LIFE_TICKS};
use letmein_auth_proto::dialect::Dialect;
use letmein_auth_proto::server::Server;
use letmein_auth_proto::server::event::Event;
use letmein_auth_proto::wire::{ServerMessage, Verdict};

use crate::{at, echoing_answer, peer, plain_answer, sample_users, server};

const CLIENT: &str = "192.0.2.1:5000";

/// Asks for a challenge.
fn challenge(server: &mut Server, client: &str, uptime_s: f64) -> Challenge {
    match said_back(server, client, uptime_s, "Authentication Request") {
        Some(ServerMessage::Challenge(challenge)) => challenge,
        other => panic!("{other:?} is no challenge"),
    }
}

/// Sends a datagram, and gives the reply.
fn said_back(server: &mut Server, client: &str, uptime_s: f64, datagram: &str) -> Option<ServerMessage> {
    let users = sample_users();
    let mut reply = Vec::new();
    server.datagram(&users, at(uptime_s), peer(client), datagram.as_bytes(), &mut reply);
    ServerMessage::decode(&reply)
}

const WELCOME: Option<ServerMessage> = Some(ServerMessage::Verdict(Verdict::Welcome, Dialect::Words));
const REFUSED: Option<ServerMessage> = Some(ServerMessage::Verdict(Verdict::Refused, Dialect::Words));

fn is_renewal(message: Option<ServerMessage>) -> bool {
    matches!(message, Some(ServerMessage::NewChallenge(_)))
}

#[test]
fn a_challenge_is_good_for_16_ticks_and_no_longer() {
    let mut server = server(1);
    let issued = challenge(&mut server, CLIENT, 100.0);
    let echoing = echoing_answer("userone", "passwordone", issued);
    let plain = plain_answer("userone", "passwordone", issued);
    for answer in [&echoing, &plain] {
        for uptime_s in [100.0, 100.99, 101.0, 115.99] {
            assert_eq!(said_back(&mut server, CLIENT, uptime_s, answer), WELCOME, "{uptime_s}");
        }
    }
    assert_eq!(LIFE_TICKS, 16);
    assert!(is_renewal(said_back(&mut server, CLIENT, 116.0, &echoing)));
    assert_eq!(said_back(&mut server, CLIENT, 116.0, &plain), REFUSED);
}

#[test]
fn a_challenge_issued_to_one_peer_is_refused_from_another() {
    let mut server = server(1);
    let issued = challenge(&mut server, CLIENT, 0.0);
    for other in ["192.0.2.1:5001", "192.0.2.2:5000", "[2001:db8::1]:5000"] {
        let echoing = echoing_answer("userone", "passwordone", issued);
        assert!(is_renewal(said_back(&mut server, other, 0.0, &echoing)), "{other}");
        let plain = plain_answer("userone", "passwordone", issued);
        assert_eq!(said_back(&mut server, other, 0.0, &plain), REFUSED, "{other}");
    }
}

#[test]
fn a_v4_peer_is_the_same_when_a_dual_stack_socket_shows_it_as_v4_mapped() {
    let mut server = server(1);
    let issued = challenge(&mut server, CLIENT, 0.0);
    let answer = echoing_answer("userone", "passwordone", issued);
    assert_eq!(said_back(&mut server, "[::ffff:192.0.2.1]:5000", 0.0, &answer), WELCOME);
}

#[test]
fn a_restart_voids_every_challenge_and_any_worker_redeems_what_another_issued() {
    let (mut before, mut worker, mut after) = (server(1), server(1), server(2));
    let issued = challenge(&mut before, CLIENT, 50.0);
    let answer = echoing_answer("userone", "passwordone", issued);
    assert_eq!(said_back(&mut worker, CLIENT, 51.0, &answer), WELCOME);
    assert!(is_renewal(said_back(&mut after, CLIENT, 1.0, &answer)));
    assert_eq!(said_back(&mut after, CLIENT, 1.0, &plain_answer("userone", "passwordone", issued)), REFUSED);
}

#[test]
fn a_renewed_challenge_is_as_good_as_any() {
    let mut server = server(1);
    let made_up = Challenge::from_random(7);
    let answer = echoing_answer("userone", "passwordone", made_up);
    let Some(ServerMessage::NewChallenge(renewed)) = said_back(&mut server, CLIENT, 3.0, &answer) else {
        panic!("the challenge was not renewed");
    };
    assert_eq!(
        said_back(&mut server, CLIENT, 3.0, &echoing_answer("userone", "passwordone", renewed)),
        WELCOME
    );
    assert_eq!(said_back(&mut server, CLIENT, 3.0, &echoing_answer("userone", "wrong", renewed)), REFUSED);
}

#[test]
fn no_digest_is_computed_for_a_challenge_that_is_not_ours() {
    let mut server = server(1);
    let users = sample_users();
    let answer = echoing_answer("userone", "passwordone", Challenge::from_random(7));
    let reaction = server.datagram(&users, at(3.0), peer(CLIENT), answer.as_bytes(), &mut Vec::new());
    assert_eq!(reaction.event, Event::Rechallenged);
}

#[test]
fn requests_in_one_tick_get_one_challenge_and_in_another_tick_another() {
    let mut server = server(1);
    let first = challenge(&mut server, CLIENT, 7.0);
    assert_eq!(challenge(&mut server, CLIENT, 7.9), first);
    assert_ne!(challenge(&mut server, CLIENT, 8.0), first);
}

//! Challenges over UDP: the peers and the time for which they are valid.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use letmein_auth_proto::Peer;
use letmein_auth_proto::challenge::{Challenge, Challenges, LIFE_TICKS, Purpose};
use letmein_auth_proto::dialect::Dialect;
use letmein_auth_proto::server::Server;
use letmein_auth_proto::server::event::Event;
use letmein_auth_proto::wire::{ServerMessage, Verdict};

use proptest::prelude::*;

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

#[test]
fn a_million_challenges_show_no_bias_in_any_bit_and_no_repeat() {
    const COUNT: u32 = 1_000_000;
    let challenges = Challenges::new(b"0123456789abcdef");
    let purpose = Purpose::Request(Dialect::Words);
    let mut ones = [0_u32; 64];
    let mut seen = HashSet::with_capacity(COUNT as usize);
    for number in 0..COUNT {
        // Neighbours in every part of what is hashed.
        let peer =
            peer(&format!("10.0.{}.{}:{}", number % 100, number / 100 % 100, 5000 + number / 10_000 % 10));
        let uptime = Duration::from_secs((number / 100_000).into());
        let challenge = challenges.issue(peer, purpose, uptime);
        let bits = u64::from_str_radix(&challenge.to_string(), 16).unwrap();
        assert!(seen.insert(bits), "{challenge} came twice");
        for (bit, ones) in ones.iter_mut().enumerate() {
            *ones += (bits >> bit & 1) as u32;
        }
    }
    // Five standard deviations: a fair bit is beyond them in one run of 1.7 million, and these are always the same.
    let deviation = 5.0 * f64::from(COUNT).sqrt() / 2.0;
    for (bit, ones) in ones.into_iter().enumerate() {
        assert!(
            (f64::from(ones) - f64::from(COUNT) / 2.0).abs() < deviation,
            "bit {bit} is set {ones} times"
        );
    }
}

fn any_purpose() -> impl Strategy<Value = Purpose> {
    let requests = Dialect::ALL.map(Purpose::Request);
    prop::sample::select([&requests[..], &[Purpose::Renewal]].concat())
}

proptest! {
    /// Whatever the key, the time and the peer: only the peer of a challenge can redeem it, for its own purpose, for 16
    /// ticks, and under the same key.
    #[test]
    fn a_challenge_is_its_peers_and_its_times_alone(
        keys: [[u8; 16]; 2],
        peers: [(std::net::Ipv6Addr, u16); 2],
        purpose in any_purpose(),
        issued_s in LIFE_TICKS..1_000_000_000,
        later_s in 0..40_u64,
    ) {
        let [peer, other] = peers.map(|peer| Peer::from(SocketAddr::from(peer)));
        let [challenges, others] = keys.map(|key| Challenges::new(&key));
        let challenge = challenges.issue(peer, purpose, Duration::from_secs(issued_s));
        let later = Duration::from_secs(issued_s + later_s);
        let known = (later_s < LIFE_TICKS).then_some(purpose);
        prop_assert_eq!(challenges.redeem(peer, later, challenge), known);
        prop_assert_eq!(challenges.live(peer, purpose, later).any(|live| live == challenge), known.is_some());
        prop_assert_eq!(challenges.redeem(peer, Duration::from_secs(issued_s - 1), challenge), None);
        if peer.mark() != other.mark() {
            prop_assert_eq!(challenges.redeem(other, later, challenge), None);
        }
        if keys[0] != keys[1] {
            prop_assert_eq!(others.redeem(peer, later, challenge), None);
        }
        prop_assert_eq!(Challenge::from_digits(&challenge.digits()), Some(challenge));
    }
}

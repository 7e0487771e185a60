use std::time::Duration;

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::client::Step;
use letmein_auth_proto::opaque::Binding;
use letmein_auth_proto::opaque::client::Client;
use letmein_auth_proto::opaque::stretching::Stretching;
use letmein_auth_proto::opaque::wire::{ClientMessage, ServerMessage, decode_from_client};
use letmein_auth_proto::server::Seed;
use letmein_auth_proto::wire::Verdict;

use super::{users, users_with};
use crate::link::{SimulatedLogin, Simulation, Weather, opaque_client, opaque_client_bound_to};
use crate::{at, peer, server};

/// 30 % loss and 5 % duplication, 100 to 300 ms each way.
fn bad() -> Weather {
    Weather { loss: 0.3, duplication: 0.05, ..Weather::fair(0.1..=0.3) }
}

fn calm() -> Weather {
    Weather::fair(0.01..=0.01)
}

fn login(weather: &Weather, seed: u64) -> SimulatedLogin {
    Simulation::new(weather.clone(), users(), seed).opaque_login("alice", "right")
}

#[test]
fn a_login_over_a_good_network_takes_three_datagrams_and_one_offer() {
    let SimulatedLogin { outcome, counted, sent, offers } = login(&calm(), 1);
    assert_eq!((outcome, counted, sent, offers), (Ok(Verdict::Welcome), vec![1], 3, 1));
    // The fourth says that the offer does not verify, and is not waited for.
    let wrong = Simulation::new(calm(), users(), 1).opaque_login("alice", "wrong");
    assert_eq!((wrong.outcome, wrong.counted, wrong.sent), (Ok(Verdict::Refused), vec![0], 3));
}

#[test]
fn all_logins_over_a_bad_network_succeed_and_count_once() {
    for seed in 0..500 {
        let login = login(&bad(), seed);
        assert_eq!(
            (login.outcome, login.counted, login.offers),
            (Ok(Verdict::Welcome), vec![1], 1),
            "{seed}"
        );
    }
}

#[test]
fn all_logins_succeed_though_the_server_is_restarted_twice_in_their_middle() {
    let weather = Weather { restarts_s: vec![0.0..=1.0, 0.5..=1.5], ..bad() };
    for seed in 0..500 {
        let login = login(&weather, seed);
        assert_eq!(login.outcome, Ok(Verdict::Welcome), "{seed}");
        // A verdict that was lost before a restart is given again after it.
        assert!(login.counted.iter().all(|counted| *counted <= 1), "{seed}: {:?}", login.counted);
    }
}

#[test]
fn a_password_that_is_stretched_logs_in() {
    let users = users_with(Stretching::new(64, 2, 2).unwrap());
    let right = Simulation::new(calm(), &users, 1).opaque_login("alice", "right");
    let wrong = Simulation::new(calm(), &users, 1).opaque_login("alice", "wrong");
    assert_eq!([right.outcome, wrong.outcome], [Ok(Verdict::Welcome), Ok(Verdict::Refused)]);
}

/// The challenge of the BEGIN that a client says now, if it says one.
fn begins_with(client: &mut Client) -> Option<Challenge> {
    let Step::Send { bytes, .. } = client.next(Duration::ZERO) else { return None };
    match decode_from_client(bytes) {
        Ok(ClientMessage::Begin(begin)) => Some(begin.challenge),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_begins_again_five_times_and_once_for_each_challenge() {
    let mut client = opaque_client("alice", "right", Duration::MAX, 1);
    let hears = |client: &mut Client, message: ServerMessage<'_>| {
        let mut bytes = Vec::new();
        message.append_to(&mut bytes);
        client.receive(Duration::ZERO, &bytes);
    };
    let [first, fifth, sixth] = [0, 5, 6].map(Challenge::from_random);
    assert!(matches!(client.next(Duration::ZERO), Step::Send { .. }));
    hears(&mut client, ServerMessage::Challenge(first));
    assert_eq!(begins_with(&mut client), Some(first));
    for challenge in (1..=5).map(Challenge::from_random) {
        hears(&mut client, ServerMessage::Again(challenge));
        assert_eq!(begins_with(&mut client), Some(challenge));
        hears(&mut client, ServerMessage::Again(challenge));
        assert_eq!(begins_with(&mut client), None);
    }
    hears(&mut client, ServerMessage::Again(sixth));
    assert_eq!(begins_with(&mut client), None);
    let Step::WaitUntil(resend) = client.next(Duration::ZERO) else { panic!("the login goes on") };
    let Step::Send { bytes, .. } = client.next(resend) else { panic!("nothing is sent again") };
    let Ok(ClientMessage::Begin(begin)) = decode_from_client(bytes) else { panic!("no BEGIN") };
    assert_eq!(begin.challenge, fifth);
}

#[test]
fn a_login_is_welcome_only_where_the_server_has_the_same_binding() {
    let [gate, door, none] = [b"gate", b"door", &b""[..]].map(|bytes| Binding::new(bytes).unwrap());
    for (of_client, of_server, expected) in [
        (gate, gate, Verdict::Welcome),
        (gate, door, Verdict::Refused),
        (gate, none, Verdict::Refused),
        (none, gate, Verdict::Refused),
    ] {
        let mut server = server(1).bound_to(of_server);
        let mut client = opaque_client_bound_to(of_client, "alice", "right", Duration::MAX, 1);
        let outcome = loop {
            let mut reply = Vec::new();
            match client.next(Duration::ZERO) {
                Step::Send { bytes, .. } => {
                    server.datagram(users(), at(100.0), peer("192.0.2.1:5000"), bytes, &mut reply);
                }
                Step::WaitUntil(_) => panic!("a reply is missing"),
                Step::Done(outcome) => break outcome,
            }
            server.offer(users(), at(100.0), &mut reply);
            client.receive(Duration::ZERO, &reply);
        };
        assert_eq!(outcome, Ok(expected));
    }
}

#[test]
fn two_makers_of_offers_share_the_logins_that_wait_and_the_offers_made_lately() {
    let (mut server, now, peer) = (server(1), at(100.0), peer("192.0.2.1:5000"));
    let [mut maker, other] = [8, 9].map(|seed| server.offer_maker(Seed([seed; 32])));
    let mut client = opaque_client("alice", "right", Duration::MAX, 1);
    let mut offered = Vec::new();
    let outcome = loop {
        let bytes = match client.next(Duration::ZERO) {
            Step::Send { bytes, .. } => bytes.to_vec(),
            Step::WaitUntil(_) => panic!("a reply is missing"),
            Step::Done(outcome) => break outcome,
        };
        let mut reply = Vec::new();
        server.datagram(users(), now, peer, &bytes, &mut reply);
        if let Some(waiter) = maker.next(now) {
            assert!(!server.has_waiting() && other.next(now).is_none());
            maker.offer(users(), now, &waiter, &mut reply);
            server.datagram(users(), now, peer, &bytes, &mut offered);
            assert_eq!(offered, reply);
        }
        client.receive(Duration::ZERO, &reply);
    };
    assert_eq!((outcome, offered.is_empty()), (Ok(Verdict::Welcome), false));
}

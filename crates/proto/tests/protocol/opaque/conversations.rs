//! OPAQUE over TCP: the same messages, however they are segmented.

use std::time::Duration;

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::client::{Resends, Step};
use letmein_auth_proto::credentials::Password;
use letmein_auth_proto::mechanism::Mechanisms;
use letmein_auth_proto::opaque::Binding;
use letmein_auth_proto::opaque::client::Client;
use letmein_auth_proto::opaque::exchange::ClientExchange;
use letmein_auth_proto::opaque::wire::{Finish, ServerMessage, request, server_message_len};
use letmein_auth_proto::server::Case;
use letmein_auth_proto::server::penalty::{Penalties, Policy};
use letmein_auth_proto::server::stream::LoginStream;
use letmein_auth_proto::wire::Verdict;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::users;
use crate::{at, opaque_desk, peer, penalties};

/// A login over a connection whose bytes arrive in pieces of this length.
fn log_in(password: &str, piece_len: usize) -> Verdict {
    let (name, password) = ("alice".parse().unwrap(), Password::new(password).unwrap());
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    let exchange = ClientExchange::new(&name, &password, Binding::none(), &mut random).unwrap();
    let mut client = Client::new(exchange, Resends::Never, Duration::from_secs(5), 1);
    let mut stream = LoginStream::new(Challenge::from_random(7), Mechanisms::ALL);
    let (penalties, mut desk) = (penalties(), opaque_desk());
    let case = Case { users: users(), penalties: &penalties, now: at(5.0), peer: peer("192.0.2.1:5000") };
    let mut received = Vec::new();
    loop {
        match client.next(Duration::ZERO) {
            Step::Send { bytes, .. } => {
                let mut replies = Vec::new();
                for piece in bytes.chunks(piece_len) {
                    received.extend_from_slice(piece);
                    let mut rest = &received[..];
                    while stream.receive(case, &mut desk, &mut rest, &mut replies).is_some() {}
                    received = rest.to_vec();
                }
                if !replies.is_empty() {
                    assert_eq!(server_message_len(&replies), Ok(Some(replies.len())));
                    client.receive(Duration::ZERO, &replies);
                }
            }
            Step::WaitUntil(_) => panic!("no reply"),
            Step::Done(outcome) => return outcome.unwrap(),
        }
    }
}

#[test]
fn a_login_succeeds_however_its_bytes_are_segmented() {
    for piece_len in [1, 5, 6, 31, 97, 311, 525, 526] {
        assert_eq!(log_in("right", piece_len), Verdict::Welcome, "{piece_len}");
    }
    assert_eq!(log_in("wrong", 526), Verdict::Refused);
}

/// What somebody hears of a login and says again on a connection of their own, from the same address and port.
#[test]
fn a_finish_is_good_on_its_own_connection_alone() {
    let (penalties, mut desk) = (penalties(), opaque_desk());
    let case = Case { users: users(), penalties: &penalties, now: at(5.0), peer: peer("192.0.2.1:5000") };
    let mut finishes = Vec::new();
    for seed in 1..=2 {
        let mut stream = LoginStream::new(Challenge::from_random(7), Mechanisms::ALL);
        let mut client = crate::link::opaque_client("alice", "right", Duration::from_secs(5), seed);
        for _ in 0..2 {
            let Step::Send { bytes, .. } = client.next(Duration::ZERO) else { panic!("nothing is sent") };
            let (mut received, mut replies) = (bytes, Vec::new());
            while stream.receive(case, &mut desk, &mut received, &mut replies).is_some() {}
            client.receive(Duration::ZERO, &replies);
        }
        let Step::Send { bytes, .. } = client.next(Duration::ZERO) else { panic!("no finish") };
        finishes.push(bytes.to_vec());
        let (mut received, mut replies) = (&finishes[0][..], Vec::new());
        while stream.receive(case, &mut desk, &mut received, &mut replies).is_some() {}
        // A verdict on its own, and AGAIN on the other.
        assert_eq!(replies[5], if seed == 1 { 5 } else { 6 });
    }
}

#[test]
fn a_connection_that_begins_again_too_often_is_closed() {
    let mut stream = LoginStream::new(Challenge::from_random(7), Mechanisms::ALL);
    let (penalties, mut desk) = (penalties(), opaque_desk());
    let case = Case { users: users(), penalties: &penalties, now: at(5.0), peer: peer("192.0.2.1:5000") };
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    let (name, password) = ("alice".parse().unwrap(), Password::new("right").unwrap());
    let exchange = ClientExchange::new(&name, &password, Binding::none(), &mut random).unwrap();
    // Never a challenge that was given.
    let begin = exchange.begin(Challenge::from_random(1000)).to_bytes();
    let mut said = request().to_vec();
    (0..10).for_each(|_| said.extend_from_slice(&begin));
    let (mut received, mut replies) = (&said[..], Vec::new());
    while stream.receive(case, &mut desk, &mut received, &mut replies).is_some() {}
    assert!(stream.is_over());
    assert_eq!(replies.len(), 14 + 5 * 14);
}

/// Over TCP nothing is sent again, so a KE1 that comes again is no copy of one that was lost, and its offer costs the
/// server as much as the first.
#[test]
fn each_begin_over_tcp_is_a_guess_on_however_many_connections_one_ke1_comes() {
    let (penalties, mut desk) = (Penalties::new(&[1; 16], Policy::default()), opaque_desk());
    let case = Case { users: users(), penalties: &penalties, now: at(5.0), peer: peer("192.0.2.1:5000") };
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    let (name, password) = ("alice".parse().unwrap(), Password::new("right").unwrap());
    let exchange = ClientExchange::new(&name, &password, Binding::none(), &mut random).unwrap();
    let foreign = Finish { name: "alice", ke3: &[0; 64], state: &[0; 176] }.to_bytes();
    let mut offers = 0;
    for connection in 0..20 {
        let mut stream = LoginStream::new(Challenge::from_random(100 * connection), Mechanisms::ALL);
        let mut say = |mut message: &[u8]| {
            let mut replies = Vec::new();
            while stream.receive(case, &mut desk, &mut message, &mut replies).is_some() {}
            replies
        };
        let mut reply = say(&request());
        while let Some(ServerMessage::Challenge(challenge) | ServerMessage::Again(challenge)) =
            ServerMessage::decode(&reply)
        {
            let offer = say(&exchange.begin(challenge).to_bytes());
            offers += usize::from(matches!(ServerMessage::decode(&offer), Some(ServerMessage::Offer(_))));
            reply = say(&foreign);
        }
    }
    assert_eq!(offers, 20);
}

//! Arbitrary bytes: no panic, no amplification, and no login without a password.

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::mechanism::Mechanisms;
use letmein_auth_proto::server::Case;
use letmein_auth_proto::server::Server;
use letmein_auth_proto::server::event::Event;
use letmein_auth_proto::server::stream::LoginStream;
use letmein_auth_proto::wire::{MESSAGE_MAX, Malformed};
use letmein_auth_users::parse;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{at, echoing_answer, opaque_desk, peer, penalties, plain_answer, sample_users, server};

/// Valid datagrams of which one part is replaced, doubled or cut.
fn nearly_right() -> impl Strategy<Value = Vec<u8>> {
    let challenge = Challenge::from_random(1);
    let seeds = [
        "Authentication Request".to_owned(),
        "Authentication request".to_owned(),
        plain_answer("userone", "passwordone", challenge),
        echoing_answer("userone", "passwordone", challenge),
        format!(":{}", "0".repeat(32)),
    ];
    let seed = prop::sample::select(seeds.map(String::into_bytes).to_vec());
    (seed, any::<prop::sample::Index>(), vec(any::<u8>(), 0..4), any::<bool>()).prop_map(
        |(mut bytes, index, patch, cut)| {
            let at = index.index(bytes.len());
            let end = if cut { bytes.len() } else { at + 1 };
            bytes.splice(at..end, patch);
            bytes
        },
    )
}

fn datagram() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..200), nearly_right()]
}

fn react(server: &mut Server, datagram: &[u8]) -> (usize, bool) {
    let users = sample_users();
    let mut reply = Vec::new();
    let reaction = server.datagram(&users, at(5.0), peer("192.0.2.1:5000"), datagram, &mut reply);
    (reply.len(), matches!(reaction.event, Event::Welcomed { .. }))
}

proptest! {
    #[test]
    fn no_datagram_is_answered_with_more_bytes_than_it_has(datagram in datagram()) {
        let (reply_len, welcomed) = react(&mut server(1), &datagram);
        prop_assert!(reply_len <= datagram.len());
        prop_assert!(!welcomed);
    }

    #[test]
    fn no_bytes_of_a_connection_panic_or_let_anybody_in(pieces in vec(datagram(), 0..5)) {
        let users = sample_users();
        let challenge = Challenge::from_random(2);
        let (mut conversation, penalties) = (LoginStream::new(challenge, Mechanisms::ALL), penalties());
        let mut desk = opaque_desk();
        let case = Case { users: &users, penalties: &penalties, now: at(5.0), peer: peer("192.0.2.1:5000") };
        for piece in pieces {
            let mut received = &piece[..];
            while let Some(reaction) = conversation.receive(case, &mut desk, &mut received, &mut Vec::new()) {
                let welcomed = matches!(reaction.event, Event::Welcomed { .. });
                prop_assert!(!welcomed);
            }
        }
    }

    #[test]
    fn no_users_file_panics(text in "(\\[users\\]\n)?([a-z\"]{1,8} ?= ?[\\[{\"a-z0-9,= -]{0,30}\n){0,4}") {
        let _ = parse(&text);
    }
}

#[test]
fn empty_oversized_and_huge_datagrams_are_ignored() {
    let users = sample_users();
    let huge = vec![b'a'; 65_507];
    for (datagram, reason) in [
        (&b""[..], Malformed::NotAMessage),
        (&huge[..=MESSAGE_MAX], Malformed::TooLong),
        (&huge[..], Malformed::TooLong),
    ] {
        let mut server = server(1);
        let mut reply = Vec::new();
        let reaction = server.datagram(&users, at(0.0), peer("192.0.2.1:5000"), datagram, &mut reply);
        assert!(reply.is_empty() && reaction.is_silent());
        assert_eq!(reaction.event, Event::Malformed(reason));
    }
}

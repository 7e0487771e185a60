//! Whatever datagrams come: no reply is longer than what caused it, nobody without a password is welcome, and whoever
//! knows one is.
#![no_main]

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use letmein_auth_proto::challenge::{Challenge, LIFE_TICKS};
use letmein_auth_proto::credentials::{Password, Username};
use letmein_auth_proto::proof::{Digest, Secret};
use letmein_auth_proto::server::event::Event;
use letmein_auth_proto::server::penalty::{Penalties, Policy};
use letmein_auth_proto::server::{Keys, Seed, Server};
use letmein_auth_proto::wire::{Message, ServerMessage};
use letmein_auth_proto::{Now, Peer};
use letmein_auth_users::parse;
use libfuzzer_sys::fuzz_target;

/// In place of a length: the piece is an answer to the last challenge.
const ANSWER: u8 = 62;
/// In place of a length: the piece is all the rest, since a whole answer is too long for any length.
const REST: u8 = 63;

fn at(second: u64) -> Now {
    Now::new(Duration::from_secs(second), 1_767_225_600 + second)
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(len.min(bytes.len()));
    *bytes = rest;
    taken
}

/// An answer, and whether it is right. One byte says whether somebody has its name, and whether its digest is the one
/// of userone; else the digest follows.
fn answer(bytes: &mut &[u8], secret: &Secret, challenge: Challenge) -> (Message, bool) {
    let kind = take(bytes, 1).first().copied().unwrap_or_default();
    let (is_known, is_proven) = (kind & 1 != 0, kind & 2 != 0);
    let name = if is_known { "userone" } else { "nobody" }.parse().expect("a name");
    let digest = if is_proven {
        secret.digest(challenge)
    } else {
        let mut digest = [0; 16];
        digest.iter_mut().zip(take(bytes, 16)).for_each(|(byte, given)| *byte = *given);
        Digest::from_raw(digest)
    };
    (Message::answer(&name, digest, challenge), is_known && is_proven)
}

fuzz_target!(|bytes: &[u8]| {
    let users = parse("[users]\nuserone = \"passwordone\"").expect("a users file");
    let (name, password): (Username, _) = ("userone".parse().expect("a name"), Password::new("passwordone"));
    let secret = Secret::new(&name, &password.expect("a password"));
    let keys = Keys::known(1);
    let mut server =
        Server::new(&keys, Seed([1; 32]), Arc::new(Penalties::new(&keys.sources, Policy::none())), None);
    let stranger: Peer = SocketAddr::from(([192, 0, 2, 1], 5000)).into();
    let mut second = 0;
    // At first one that was never given, and is good for nobody.
    let (mut challenge, mut good_until) = (Challenge::from_random(0), 0);
    // The first byte of each piece is its length, and how much later it comes.
    let mut rest = bytes;
    while let Some((first, more)) = rest.split_first() {
        second += u64::from(first >> 6);
        rest = more;
        let message;
        let (datagram, is_right) = match first & 63 {
            ANSWER => {
                let (answer, is_right) = answer(&mut rest, &secret, challenge);
                message = answer;
                (message.as_ref(), is_right && second < good_until)
            }
            REST => (mem::take(&mut rest), false),
            len => (take(&mut rest, len.into()), false),
        };
        let mut reply = Vec::new();
        let reaction = server.datagram(&users, at(second), stranger, datagram, &mut reply);
        assert!(reply.len() <= datagram.len());
        assert_eq!(reply.is_empty(), reaction.is_silent());
        assert_eq!(matches!(reaction.event, Event::Welcomed { .. }), is_right, "{:?}", reaction.event);
        match ServerMessage::decode(&reply) {
            Some(ServerMessage::Challenge(given) | ServerMessage::NewChallenge(given)) => {
                (challenge, good_until) = (given, second + LIFE_TICKS);
            }
            Some(ServerMessage::Verdict(..)) | None => {}
        }
    }
    let friend: Peer = SocketAddr::from(([192, 0, 2, 2], 5000)).into();
    let mut reply = Vec::new();
    server.datagram(&users, at(second), friend, b"Authentication Request", &mut reply);
    let challenge = Challenge::from_lower_digits(&reply).expect("a challenge");
    let answer = Message::answer(&name, secret.digest(challenge), challenge);
    let reaction = server.datagram(&users, at(second), friend, answer.as_ref(), &mut reply);
    assert!(matches!(reaction.event, Event::Welcomed { .. }));
});

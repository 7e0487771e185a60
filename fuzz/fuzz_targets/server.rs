//! Whatever datagrams come: no reply is longer than what caused it, nobody without a password is welcome, and whoever
//! knows one is, unless they have earned a penalty.
#![no_main]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use letmein::auth::Now;
use letmein::auth::challenge::Challenge;
use letmein::auth::penalty::{Limits, Penalties};
use letmein::auth::proof::Secret;
use letmein::auth::server::{Event, Keys, Server};
use letmein::users::parse;
use letmein::{Password, Username};
use libfuzzer_sys::fuzz_target;

fn at(second: u64) -> Now {
    Now { uptime: Duration::from_secs(second), unix_s: 1_767_225_600 + second }
}

fuzz_target!(|bytes: &[u8]| {
    let users = parse("[users]\nuserone = \"passwordone\"").expect("a users file");
    let keys = Keys { challenges: [1; 16], welcomes: [2; 16], sources: [3; 16], names: [4; 16] };
    let mut server = Server::new(&keys, Arc::new(Penalties::new(&keys.sources, Limits::none())));
    let stranger: SocketAddr = "192.0.2.1:5000".parse().expect("an address");
    let mut second = 0;
    // The first byte of each piece is its length, and how much later it comes.
    let mut rest = bytes;
    while let Some((first, more)) = rest.split_first() {
        second += u64::from(first >> 6);
        let (datagram, more) = more.split_at(usize::from(first & 63).min(more.len()));
        rest = more;
        // Answers are too long for such a length: these have the rest.
        let datagram = if first & 63 == 63 { rest } else { datagram };
        let reaction = server.datagram(&users, at(second), stranger, datagram);
        assert!(reaction.reply.is_none_or(|reply| reply.as_ref().len() <= datagram.len()));
        assert!(!matches!(reaction.event, Event::Welcomed { .. }), "nobody knows the password");
    }
    let friend: SocketAddr = "192.0.2.2:5000".parse().expect("an address");
    let (name, password): (Username, _) = ("userone".parse().expect("a name"), Password::new("passwordone"));
    let secret = Secret::new(&name, &password.expect("a password"));
    let reply =
        server.datagram(&users, at(second), friend, b"Authentication Request").reply.expect("a challenge");
    let challenge = Challenge::from_lower_digits(reply.as_ref()).expect("a challenge");
    let answer = format!("userone:{}:{challenge}", secret.digest(challenge));
    let reaction = server.datagram(&users, at(second), friend, answer.as_bytes());
    assert!(matches!(reaction.event, Event::Welcomed { .. }));
});

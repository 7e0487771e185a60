//! The exchange without sockets: bytes, addresses and times go in, and the tests look at what comes out.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

mod challenges;
mod conversations;
mod forgers;
mod hostile;
mod link;
mod logins;
mod refusals;
mod vectors;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use letmein_auth_proto::Now;
use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::credentials::Password;
use letmein_auth_proto::proof::{Digest, Secret};
use letmein_auth_proto::server::penalty::{Limits, Penalties};
use letmein_auth_proto::server::{Keys, Server};
use letmein_auth_proto::users::Users;
use letmein_auth_users::parse;

/// A peer, as UDP shows it.
fn peer(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// So many seconds after the server started, which it did on 2026-01-01.
fn at(uptime_s: f64) -> Now {
    let uptime = Duration::from_secs_f64(uptime_s);
    Now { uptime, unix_s: 1_767_225_600 + uptime.as_secs() }
}

/// Failed logins cost nothing, unless told otherwise.
fn penalties() -> Penalties {
    Penalties::new(&[9; 16], Limits::none())
}

/// A server whose keys nobody else has.
fn server(number: u8) -> Server {
    Server::new(
        &Keys { challenges: [number; 16], welcomes: [number; 16], sources: [number; 16], names: [5; 16] },
        Arc::new(penalties()),
    )
}

fn users(lines: &str) -> Users {
    parse(&format!("[users]\n{lines}")).unwrap()
}

fn sample_users() -> Users {
    users("userone = \"passwordone\"\nusertwo = \"passwordtwo\"")
}

fn digest(user: &str, password: &str, challenge: Challenge) -> Digest {
    Secret::new(&user.parse().unwrap(), &Password::new(password).unwrap()).digest(challenge)
}

/// An answer that does not carry the challenge back.
fn plain_answer(user: &str, password: &str, challenge: Challenge) -> String {
    format!("{user}:{}", digest(user, password, challenge))
}

/// An answer that does.
fn echoing_answer(user: &str, password: &str, challenge: Challenge) -> String {
    format!("{}:{challenge}", plain_answer(user, password, challenge))
}

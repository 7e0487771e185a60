//! The exchange without sockets: the tests give bytes, addresses and times, and check replies and events.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

mod challenges;
mod cluster;
mod conversations;
mod fleet;
mod forgers;
mod hostile;
mod link;
mod logins;
mod nodes;
mod opaque;
mod overlay;
mod refusals;
mod suspension;
mod two_passwords;
mod vectors;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::credentials::Password;
use letmein_auth_proto::opaque::Binding;
use letmein_auth_proto::proof::{Digest, Secret};
use letmein_auth_proto::server::opaque::OpaqueDesk;
use letmein_auth_proto::server::penalty::{Penalties, Policy};
use letmein_auth_proto::server::{Keys, Seed, Server};
use letmein_auth_proto::transport::Transport;
use letmein_auth_proto::users::Users;
use letmein_auth_proto::{Now, Peer};
use letmein_auth_users::parse;

/// A peer, as UDP shows it.
fn peer(text: &str) -> Peer {
    text.parse::<SocketAddr>().unwrap().into()
}

/// This many seconds after the start of the server, on 2026-01-01.
fn at(uptime_s: f64) -> Now {
    let uptime = Duration::from_secs_f64(uptime_s);
    Now::new(uptime, 1_767_225_600 + uptime.as_secs())
}

/// Penalties without budgets: failed logins cost nothing.
fn penalties() -> Penalties {
    Penalties::new(&[9; 16], Policy::none())
}

/// A server with keys of its own.
fn server(number: u8) -> Server {
    Server::new(&Keys::known(number), Seed([number; 32]), Arc::new(penalties()), None)
}

/// What a TCP worker has for OPAQUE.
fn opaque_desk() -> OpaqueDesk {
    OpaqueDesk::new(Transport::Tcp, &Keys::known(1), Seed([2; 32]), Binding::none())
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

/// An answer that carries the challenge back.
fn echoing_answer(user: &str, password: &str, challenge: Challenge) -> String {
    format!("{}:{challenge}", plain_answer(user, password, challenge))
}

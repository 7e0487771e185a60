//! Checks that users who have changed since a million were loaded make logins hardly slower: a login by MD5 takes at
//! most 3 % more of a processor's time among a base and an overlay of [`OVERLAY_MAX`] than among the base alone. Larger
//! overlays and smaller ones are measured too. A number in place of the million may be given.
//!
//! A login is a request and a right answer, in batches as a UDP worker has them, of users at random. All snapshots are
//! measured in turn, and share the base, so that they differ in the overlay alone. Ends with status 1 beyond 3 %.

use std::env;
use std::hint::black_box;
use std::iter;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::credentials::{Password, Username};
use letmein_auth_proto::proof::Secret;
use letmein_auth_proto::server::penalty::{Penalties, Policy};
use letmein_auth_proto::server::{Keys, Seed, Server};
use letmein_auth_proto::users::{Builder, Conditions, OVERLAY_MAX, Users};
use letmein_auth_proto::wire::REPLY_MAX;
use letmein_auth_proto::{Now, Peer};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::time::{ClockId, clock_gettime};

const USERS: u32 = 1_000_000;
const SNAPSHOTS: usize = 8;
/// Users of the overlays; the first snapshot has none.
const CHANGED: [u32; SNAPSHOTS] = [0, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16];
/// Datagrams of a batch.
const BATCH: usize = 64;
/// More than a server remembers.
const LOGINS: usize = 1 << 17;
const ROUNDS: usize = 200;
/// Logins of a round among each snapshot.
const EACH: usize = 1 << 12;
const RATIO_MAX: f64 = 1.03;
const NOW: Now = Now::new(Duration::from_secs(100), 1_767_225_600);

fn main() -> ExitCode {
    let count = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(USERS);
    let base = users(0..count).finish().expect("users");
    // They are evenly spread, so all parts of the base have some who have changed.
    let over = |changed| {
        let numbers = (0..changed).map(|number| number * (count / changed));
        users(numbers).finish_over(&base).expect("users")
    };
    let snapshots = CHANGED.map(over);
    let penalties = Penalties::new(&[4; 16], Policy::default());
    let mut server = Server::new(&Keys::known(1), Seed([1; 32]), Arc::new(penalties), None);
    let logins = logins(&mut server, &base, count);
    let mut pieces = logins.chunks_exact(EACH).cycle();
    let mut rounds = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let mut times = [0.0; SNAPSHOTS];
        // Each finds what the one before has left in the caches, which is another one in the next round.
        for turn in 0..SNAPSHOTS {
            let step = if round % 2 == 0 { turn } else { SNAPSHOTS - turn };
            let which = (round + step) % SNAPSHOTS;
            let piece = pieces.next().expect("logins without an end");
            times[which] = time_of_logins(&mut server, &snapshots[which], piece);
        }
        rounds.push(times);
    }
    report(&rounds)
}

/// What a login sends, and from where.
struct Login {
    peer: Peer,
    name: String,
    answer: String,
}

fn logins(server: &mut Server, users: &Users, count: u32) -> Vec<Login> {
    let mut random = SmallRng::seed_from_u64(1);
    let mut reply = Vec::with_capacity(REPLY_MAX);
    let login = |number: usize| {
        let [_, a, b, c] = (number as u32).to_be_bytes();
        let peer = SocketAddr::from(([10, a, b, c], 5000)).into();
        reply.clear();
        server.datagram(users, NOW, peer, b"Authentication Request", &mut reply);
        let challenge = Challenge::from_digits(&reply).expect("a challenge");
        let (name, password) = user(random.random_range(0..count));
        let answer = format!("{name}:{}:{challenge}", Secret::new(&name, &password).digest(challenge));
        Login { peer, name: name.to_string(), answer }
    };
    (0..LOGINS).map(login).collect()
}

fn user(number: u32) -> (Username, Password) {
    let name = format!("user{number:07}").parse().expect("a name");
    (name, Password::new(&format!("password{number:07}")).expect("a password"))
}

fn users(numbers: impl Iterator<Item = u32> + Clone) -> Builder {
    let mut builder = Builder::for_text(40 * numbers.clone().count()).expect("memory");
    for (name, password) in numbers.map(user) {
        builder.push(&name, &password, Conditions::none()).expect("room");
    }
    builder
}

/// Nanoseconds that a processor spends on a login.
fn time_of_logins(server: &mut Server, users: &Users, logins: &[Login]) -> f64 {
    let mut reply = Vec::with_capacity(REPLY_MAX);
    let started = processor_time_ns();
    for batch in logins.chunks_exact(BATCH) {
        users.prefetch(iter::empty());
        for Login { peer, .. } in batch {
            reply.clear();
            black_box(server.datagram(users, NOW, *peer, b"Authentication Request", &mut reply));
        }
        users.prefetch(batch.iter().map(|login| &*login.name));
        for Login { peer, answer, .. } in batch {
            reply.clear();
            black_box(server.datagram(users, NOW, *peer, black_box(answer.as_bytes()), &mut reply));
        }
    }
    (processor_time_ns() - started) / logins.len() as f64
}

/// What this thread has had of a processor.
fn processor_time_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn report(rounds: &[[f64; SNAPSHOTS]]) -> ExitCode {
    let median = |of: &dyn Fn(&[f64; SNAPSHOTS]) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let mut is_cheap = true;
    for (which, changed) in CHANGED.into_iter().enumerate() {
        let (time, ratio) = (median(&|times| times[which]), median(&|times| times[which] / times[0]));
        println!(
            "a login with an overlay of {changed:5}: {time:.1} ns, {ratio:.4} times as long as with none"
        );
        is_cheap &= changed as usize != OVERLAY_MAX || ratio <= RATIO_MAX;
    }
    if is_cheap { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

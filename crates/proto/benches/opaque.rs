//! What a login by OPAQUE costs a server, beside what the crate's own KE2 and KE3 cost; and whether the time of a
//! refusal tells why.
//!
//! Refusals of four kinds come in random order, 100,000 of each, in 200 rounds with other names, records and keys, and
//! each kind is compared with unknown names, as `timing` does: by all that a login takes, and by FINISH alone, which
//! the offer's 200 µs would hide. Ends with status 1 if the means differ at p < 0.001, or a login costs more than 1.1
//! times as much as the crate's own steps.

#![expect(clippy::disallowed_methods, reason = "a stopwatch is a clock")]

#[path = "shared/statistics.rs"]
mod statistics;

use std::hint::black_box;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use letmein_auth_proto::client::{Resends, Step};
use letmein_auth_proto::credentials::{NAME_MAX, Password, Username};
use letmein_auth_proto::opaque::Binding;
use letmein_auth_proto::opaque::client::Client;
use letmein_auth_proto::opaque::exchange::ClientExchange;
use letmein_auth_proto::opaque::key::ServerKey;
use letmein_auth_proto::opaque::registration::register;
use letmein_auth_proto::opaque::stretching::Stretching;
use letmein_auth_proto::opaque::wire::{Begin, Finish, KE1_LEN, MESSAGE_MAX, ServerMessage, request};
use letmein_auth_proto::server::event::Event;
use letmein_auth_proto::server::penalty::{Budget, GuessBudgets, Penalties, Policy};
use letmein_auth_proto::server::{Keys, Seed, Server};
use letmein_auth_proto::users::{Builder, Conditions, Standing, Users};
use letmein_auth_proto::{Now, Peer};
use opaque_ke::key_exchange::tripledh::TripleDh;
use opaque_ke::ksf::Identity;
use opaque_ke::{
    CipherSuite, CredentialFinalization, CredentialRequest, Identifiers, Ristretto255, ServerLogin,
    ServerLoginParameters, ServerRegistration, ServerSetup,
};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng, TryRng};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use sha2::Sha512;
use statistics::{cropped, mean, standard_error};

const ROUNDS: usize = 200;
/// Refusals of each kind in a round.
const EACH: usize = 500;
/// |t| beyond which p < 0.001 for this many rounds.
const CRITICAL: f64 = 3.340;
/// The most that a login may cost, by the crate's own steps.
const RATIO_MAX: f64 = 1.1;
const LOGINS: usize = 2000;
const NOW: Now = Now::new(Duration::from_secs(100), 1_767_225_600);

fn main() -> ExitCode {
    let mut random = SmallRng::seed_from_u64(1);
    let is_cheap = is_cheap(&mut random);
    if are_refusals_alike(&mut random) && is_cheap { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The suite, as it is in the crate.
struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, Sha512>;
    type Ksf = Identity;
}

/// Makes logins, and as many KE2 and KE3 with the crate alone, one after the other.
fn is_cheap(random: &mut SmallRng) -> bool {
    let (name, password) = ("alice".parse().expect("a name"), Password::new("right").expect("a password"));
    let key = ServerKey::generate(&mut generator(random));
    let users = users(&key, &[&name], random);
    let mut server = server(random);
    let setup = ServerSetup::<Suite>::deserialize(&*key.to_bytes()).expect("a key");
    let record =
        register(&key, &name, &password, Stretching::NONE, &mut generator(random)).expect("a record");
    let mut own_random = generator(random);
    let mut times = [const { Vec::new() }; 2];
    for number in 0..LOGINS {
        let exchange = ClientExchange::new(&name, &password, Binding::none(), &mut generator(random));
        let client = Client::new(exchange.expect("a blind"), Resends::Timed, Duration::MAX, 1);
        times[0].push(time_of_login(&mut server, &users, peer(number as u32), client));
        let exchange = ClientExchange::new(&name, &password, Binding::none(), &mut generator(random));
        let ke1 = *exchange.expect("a blind").ke1();
        times[1].push(time_of_own(&setup, record.bytes(), &ke1, &mut own_random));
    }
    let [login, own] = times.map(median);
    let ratio = login / own;
    println!(
        "a login by OPAQUE takes a server {:.1} µs, the crate's own KE2 and KE3 {:.1} µs: {ratio:.3} times as long",
        login / 1000.0,
        own / 1000.0
    );
    ratio <= RATIO_MAX
}

/// The nanoseconds that the server spends on all messages of a login.
fn time_of_login(server: &mut Server, users: &Users, peer: Peer, mut client: Client) -> f64 {
    let mut reply = Vec::with_capacity(MESSAGE_MAX);
    let mut spent = Duration::ZERO;
    loop {
        match client.next(Duration::ZERO) {
            Step::Send { bytes, .. } => {
                reply.clear();
                let started = Instant::now();
                black_box(server.datagram(users, NOW, peer, black_box(bytes), &mut reply));
                if server.has_waiting() {
                    black_box(server.offer(users, NOW, &mut reply));
                }
                spent += started.elapsed();
                client.receive(Duration::ZERO, &reply);
            }
            Step::WaitUntil(_) => panic!("the server is silent"),
            Step::Done(outcome) => {
                assert!(outcome.is_ok());
                return spent.as_nanos() as f64;
            }
        }
    }
}

/// The nanoseconds of the crate for KE2 and KE3, from bytes to bytes.
fn time_of_own(
    setup: &ServerSetup<Suite>,
    record: &[u8],
    ke1: &[u8; KE1_LEN],
    random: &mut ChaCha20Rng,
) -> f64 {
    let identifiers = Identifiers { client: Some(b"alice"), server: None };
    let parameters = || ServerLoginParameters { context: Some(b"letmein opaque 1"), identifiers };
    let started = Instant::now();
    let request = CredentialRequest::deserialize(black_box(ke1)).expect("KE1");
    let record = ServerRegistration::deserialize(black_box(record)).expect("a record");
    let reply = ServerLogin::start(random, setup, Some(record), request, b"alice", parameters());
    let reply = reply.expect("KE2");
    black_box(reply.message.serialize());
    let state = reply.state.serialize();
    let login = ServerLogin::<Suite>::deserialize(&state).expect("a state");
    let ke3 = CredentialFinalization::deserialize(&state[64..]).expect("KE3");
    black_box(login.finish(ke3, parameters()).expect("a session key"));
    started.elapsed().as_nanos() as f64
}

/// Why a login is refused.
const KINDS: [&str; 4] =
    ["an unknown user", "a wrong password", "a disabled user", "a user who is elsewhere"];

/// What is timed of a refusal.
const PARTS: [&str; 2] = ["all of it", "FINISH alone"];

fn are_refusals_alike(random: &mut SmallRng) -> bool {
    let rounds: Vec<_> = (0..ROUNDS).map(|_| times(random)).collect();
    let mut are_alike = true;
    for (part, what) in PARTS.iter().enumerate() {
        let rounds =
            rounds.iter().map(|kinds| kinds.each_ref().map(|times| mean(&cropped(times[part].clone()))));
        are_alike &= are_means_alike(what, &rounds.collect::<Vec<_>>());
    }
    are_alike
}

fn are_means_alike(part: &str, rounds: &[[f64; KINDS.len()]]) -> bool {
    let of = |kind: usize| rounds.iter().map(|round| round[kind]).collect::<Vec<_>>();
    println!("{part}, {}: {:.0} ns", KINDS[0], mean(&of(0)));
    let mut are_alike = true;
    for (kind, what) in KINDS.iter().enumerate().skip(1) {
        let differences: Vec<f64> = rounds.iter().map(|round| round[kind] - round[0]).collect();
        let t = mean(&differences) / standard_error(&differences);
        let verdict = if t.abs() < CRITICAL { "no difference" } else { "a difference" };
        are_alike &= t.abs() < CRITICAL;
        println!("{part}, {what}: {:+.1} ns, t = {t:.2}: {verdict} at p < 0.001", mean(&differences));
    }
    are_alike
}

/// Times refusals of all kinds in one round, in nanoseconds, by their parts.
fn times(random: &mut SmallRng) -> [[Vec<f64>; PARTS.len()]; KINDS.len()] {
    let mut name = |len| -> Username {
        let letters: String = (0..len).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect();
        letters.parse().expect("a name")
    };
    let mut names: Vec<[Username; KINDS.len()]> =
        (8..=NAME_MAX).step_by(8).map(|len| [(); KINDS.len()].map(|()| name(len))).collect();
    names.shuffle(random);
    let key = ServerKey::generate(&mut generator(random));
    let known: Vec<_> = names.iter().flat_map(|names| &names[1..]).collect();
    let users = users(&key, &known, random);
    let mut server = server(random);
    let ke1s: Vec<_> = (0..64)
        .map(|_| {
            let (name, password) =
                ("any".parse().expect("a name"), Password::new("wrong").expect("a password"));
            let exchange = ClientExchange::new(&name, &password, Binding::none(), &mut generator(random));
            *exchange.expect("a blind").ke1()
        })
        .collect();
    let mut times = [const { [const { Vec::new() }; PARTS.len()] }; KINDS.len()];
    let mut number = 0;
    while times.iter().any(|[times, _]| times.len() < EACH) {
        number += 1;
        let kind = random.random_range(0..KINDS.len());
        let name = &names[random.random_range(0..names.len())][kind];
        let ke1 = &ke1s[random.random_range(0..ke1s.len())];
        let spent = time_of_refusal(&mut server, &users, peer(number), name.as_str(), ke1);
        times[kind].iter_mut().zip(spent).for_each(|(times, spent)| times.push(spent));
    }
    times
}

/// Begins a login and finishes it wrongly; gives the time of both and that of the latter, in nanoseconds.
fn time_of_refusal(
    server: &mut Server,
    users: &Users,
    peer: Peer,
    name: &str,
    ke1: &[u8; KE1_LEN],
) -> [f64; PARTS.len()] {
    let mut reply = Vec::with_capacity(MESSAGE_MAX);
    server.datagram(users, NOW, peer, &request(), &mut reply);
    let Some(ServerMessage::Challenge(challenge)) = ServerMessage::decode(&reply) else {
        panic!("no challenge")
    };
    let begin = Begin { challenge, name, ke1 }.to_bytes();
    reply.clear();
    let started = Instant::now();
    black_box(server.datagram(users, NOW, peer, black_box(&begin), &mut reply));
    black_box(server.offer(users, NOW, &mut reply));
    let begun = started.elapsed();
    let Some(ServerMessage::Offer(offer)) = ServerMessage::decode(&reply) else { panic!("no offer") };
    let finish = Finish { name, ke3: &[0; 64], state: offer.state }.to_bytes();
    reply.clear();
    let started = Instant::now();
    let reaction = server.datagram(users, NOW, peer, black_box(&finish), &mut reply);
    let finished = started.elapsed();
    assert!(matches!(reaction.event, Event::Refused(_)));
    [begun + finished, finished].map(|spent| spent.as_nanos() as f64)
}

/// Users with records: every third may log in, is disabled, and is elsewhere, in turn.
fn users(key: &ServerKey, names: &[&Username], random: &mut SmallRng) -> Users {
    let right = Password::new("right").expect("a password");
    let disabled = Conditions { standing: Standing::Disabled, ..Conditions::none() };
    let elsewhere =
        Conditions { from: vec!["203.0.113.0/24".parse().expect("a network")], ..Conditions::none() };
    let mut builder = Builder::for_text(100_000).expect("memory");
    builder.set_key(key.clone());
    for (name, conditions) in names.iter().zip([Conditions::none(), disabled, elsewhere].into_iter().cycle())
    {
        let record = register(key, name, &right, Stretching::NONE, &mut generator(random)).expect("a record");
        builder.push_record(name, &record, conditions).expect("room");
    }
    builder.finish().expect("users")
}

fn server(random: &mut SmallRng) -> Server {
    let Ok(keys) = Keys::draw(|key| random.try_fill_bytes(key));
    // More than a round makes at a name, so that they are counted, and none is ignored.
    let of_user = Some(Budget { count: u8::MAX, window: Duration::from_secs(60) });
    let of_guesses = GuessBudgets { of_user, ..GuessBudgets::default() };
    let policy = Policy { of_guesses, ..Policy::default() };
    Server::new(&keys, Seed([1; 32]), Arc::new(Penalties::new(&keys.sources, policy)), None)
}

/// Another one for each number, so that no two are given the same offer.
fn peer(number: u32) -> Peer {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 5000)).into()
}

fn generator(random: &mut SmallRng) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(random.random())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

//! A simulated network and its clock, for a login between client and server.
//!
//! Datagrams are lost, doubled, delayed, and thereby reordered. Nothing sleeps: the clock jumps to the next
//! event. Everything depends on a seed, so that a failure can be reproduced.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;
use std::ops::RangeInclusive;
use std::time::Duration;

use letmein_auth_proto::Now;
use letmein_auth_proto::client::{Client, Failure, Resends, Step};
use letmein_auth_proto::credentials::{Password, Username};
use letmein_auth_proto::opaque::exchange::ClientExchange;
use letmein_auth_proto::opaque::{self, Binding};
use letmein_auth_proto::server::Server;
use letmein_auth_proto::server::event::Event;
use letmein_auth_proto::server::recent::Sighting;
use letmein_auth_proto::users::Users;
use letmein_auth_proto::wire::Verdict;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

/// The faults of the network, in each direction.
#[derive(Clone)]
pub(crate) struct Weather {
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    /// The delay of most datagrams, in seconds.
    pub(crate) delay_s: RangeInclusive<f64>,
    /// The fraction of datagrams that have the second delay instead.
    pub(crate) straggling: f64,
    pub(crate) straggle_s: RangeInclusive<f64>,
    /// The times of restarts of the server, in seconds from the start of the login.
    pub(crate) restarts_s: Vec<RangeInclusive<f64>>,
}

impl Weather {
    /// No faults, and a delay of so many seconds each way.
    pub(crate) fn fair(delay_s: RangeInclusive<f64>) -> Self {
        Self {
            loss: 0.0,
            duplication: 0.0,
            delay_s,
            straggling: 0.0,
            straggle_s: 0.0..=0.0,
            restarts_s: Vec::new(),
        }
    }
}

/// The result of a simulated login.
pub(crate) struct SimulatedLogin {
    pub(crate) outcome: Result<Verdict, Failure>,
    /// The number of logins that the server counted, between each two restarts.
    pub(crate) counted: Vec<u32>,
    /// The datagrams that the client sent.
    pub(crate) sent: u32,
    /// The offers by OPAQUE that the server computed.
    pub(crate) offers: u32,
}

/// A client of either mechanism.
pub(crate) enum AnyClient {
    Md5(Box<Client>),
    Opaque(Box<opaque::client::Client>),
}

impl AnyClient {
    fn next(&mut self, now: Duration) -> Step<'_> {
        match self {
            Self::Md5(client) => client.next(now),
            Self::Opaque(client) => client.next(now),
        }
    }

    fn receive(&mut self, now: Duration, bytes: &[u8]) {
        match self {
            Self::Md5(client) => drop(client.receive(now, bytes)),
            Self::Opaque(client) => drop(client.receive(now, bytes)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Destination {
    Client,
    Server,
}

/// A datagram and its time of arrival; a number orders those that arrive together.
type Delivery = (Duration, u64, Destination, Vec<u8>);

/// A login in progress.
pub(crate) struct Simulation<'a> {
    weather: Weather,
    random: SmallRng,
    users: &'a Users,
    /// Each datagram comes to any of them.
    nodes: Vec<Node>,
    /// The times of restarts that are to come, the last first.
    restarts: Vec<Duration>,
    in_flight: BinaryHeap<Reverse<Delivery>>,
    sent: u64,
    now: Duration,
    counted: Vec<u32>,
    offers: u32,
}

/// A server behind the address that the client knows.
pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) clock: WallClock,
}

/// The wall clock of a server.
#[derive(Clone, Copy)]
pub(crate) enum WallClock {
    /// It is ahead by this many seconds, or behind.
    Ahead(i64),
    /// It was set back, so the server uses no key of a cluster.
    SetBack,
}

/// The time for one login.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The uptime of the server at the start: any, but not zero.
const STARTED: f64 = 1000.0;

impl<'a> Simulation<'a> {
    pub(crate) fn new(weather: Weather, users: &'a Users, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let at = |range: &RangeInclusive<f64>| seconds(&mut random, range.clone());
        let mut restarts: Vec<_> = weather.restarts_s.iter().map(at).collect();
        restarts.sort();
        restarts.reverse();
        let node = Node { server: crate::server(1), clock: WallClock::Ahead(0) };
        let (nodes, in_flight) = (vec![node], BinaryHeap::new());
        let (sent, now, counted) = (0, Duration::ZERO, vec![0]);
        Self { weather, random, users, nodes, restarts, in_flight, sent, now, counted, offers: 0 }
    }

    /// Has the client's datagrams come to any of these servers.
    pub(crate) fn over(self, nodes: Vec<Node>) -> Self {
        Self { nodes, ..self }
    }

    /// Logs in, and then delivers all datagrams that are still in flight.
    pub(crate) fn login(mut self, user: &str, password: &str) -> SimulatedLogin {
        let name: Username = user.parse().unwrap();
        let password = Password::new(password).unwrap();
        let client = Client::new(&name, &password, Resends::Timed, TIMEOUT, self.random.random());
        self.drive(AnyClient::Md5(client.into()))
    }

    /// The same by OPAQUE.
    pub(crate) fn opaque_login(mut self, user: &str, password: &str) -> SimulatedLogin {
        let client = opaque_client(user, password, TIMEOUT, self.random.random());
        self.drive(AnyClient::Opaque(client.into()))
    }

    fn drive(mut self, mut client: AnyClient) -> SimulatedLogin {
        let mut sent = 0;
        let outcome = loop {
            match client.next(self.now) {
                Step::Send { bytes, .. } => {
                    sent += 1;
                    self.send(Destination::Server, bytes);
                }
                Step::WaitUntil(time) => self.advance(time, &mut client),
                Step::Done(outcome) => break outcome,
            }
        };
        while !self.in_flight.is_empty() {
            self.advance(Duration::MAX, &mut client);
        }
        SimulatedLogin { outcome, counted: self.counted, sent, offers: self.offers }
    }

    /// Adds a forger, who sends the client pairs of a challenge and a welcome in the server's name, at random times of
    /// its first second.
    pub(crate) fn beside_a_forger(mut self, pairs_per_s: f64) -> Self {
        let mut arrival = Duration::ZERO;
        while arrival < Duration::from_secs(1) {
            let chance: f64 = self.random.random();
            arrival += Duration::from_secs_f64(-(1.0 - chance).ln() / pairs_per_s);
            let challenge = format!("{:016x}", self.random.random::<u64>()).into_bytes();
            for forged in [challenge, b"Welcome to our service.".to_vec()] {
                self.sent += 1;
                self.in_flight.push(Reverse((arrival, self.sent, Destination::Client, forged)));
            }
        }
        self
    }

    fn send(&mut self, destination: Destination, bytes: &[u8]) {
        if self.random.random_bool(self.weather.loss) {
            return;
        }
        let copies = if self.random.random_bool(self.weather.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let straggles = self.random.random_bool(self.weather.straggling);
            let delay = if straggles { &self.weather.straggle_s } else { &self.weather.delay_s };
            let arrival = self.now + seconds(&mut self.random, delay.clone());
            self.sent += 1;
            self.in_flight.push(Reverse((arrival, self.sent, destination, bytes.to_vec())));
        }
    }

    /// Goes on to the next arrival, but not beyond `until`.
    fn advance(&mut self, until: Duration, client: &mut AnyClient) {
        match self.in_flight.peek() {
            Some(Reverse((arrival, ..))) if *arrival <= until => {}
            Some(_) | None => {
                self.now = until;
                return;
            }
        }
        let Some(Reverse((arrival, _, destination, bytes))) = self.in_flight.pop() else { return };
        self.now = arrival;
        match destination {
            Destination::Client => client.receive(self.now, &bytes),
            Destination::Server => self.serve(&bytes),
        }
    }

    fn serve(&mut self, bytes: &[u8]) {
        while self.restarts.pop_if(|restart| self.now >= *restart).is_some() {
            self.counted.push(0);
            self.nodes =
                vec![Node { server: crate::server(self.counted.len() as u8), clock: WallClock::Ahead(0) }];
        }
        let uptime_s = STARTED + self.now.as_secs_f64();
        // A single server needs no draw.
        let number = if self.nodes.len() == 1 { 0 } else { self.random.random_range(0..self.nodes.len()) };
        let Some(Node { server, clock }) = self.nodes.get_mut(number) else { return };
        let now = clock.at(uptime_s);
        let client = crate::peer("192.0.2.1:5000");
        let mut reply = Vec::new();
        let reaction = server.datagram(self.users, now, client, bytes, &mut reply);
        if let Event::Welcomed { sighting: Sighting::First, .. } = reaction.event {
            *self.counted.last_mut().unwrap() += 1;
        }
        let mut offers = Vec::new();
        let mut offer = Vec::new();
        while server.offer(self.users, now, &mut offer).is_some() {
            offers.push(mem::take(&mut offer));
        }
        if !reply.is_empty() {
            self.send(Destination::Client, &reply);
        }
        for offer in offers {
            self.offers += 1;
            self.send(Destination::Client, &offer);
        }
    }
}

impl WallClock {
    /// The time of a server with this clock.
    pub(crate) fn at(self, uptime_s: f64) -> Now {
        let now = crate::at(uptime_s);
        match self {
            Self::Ahead(seconds) => Now::new(now.uptime, now.unix_s.saturating_add_signed(seconds)),
            Self::SetBack => Now { cluster_s: None, ..now },
        }
    }
}

/// A client that logs in by OPAQUE over datagrams.
pub(crate) fn opaque_client(
    user: &str,
    password: &str,
    timeout: Duration,
    seed: u64,
) -> opaque::client::Client {
    opaque_client_bound_to(Binding::none(), user, password, timeout, seed)
}

pub(crate) fn opaque_client_bound_to(
    binding: Binding,
    user: &str,
    password: &str,
    timeout: Duration,
    seed: u64,
) -> opaque::client::Client {
    let (name, password) = (user.parse().unwrap(), Password::new(password).unwrap());
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let exchange = ClientExchange::new(&name, &password, binding, &mut random).unwrap();
    opaque::client::Client::new(exchange, Resends::Timed, timeout, seed)
}

fn seconds(random: &mut SmallRng, range: RangeInclusive<f64>) -> Duration {
    Duration::from_secs_f64(random.random_range(range))
}

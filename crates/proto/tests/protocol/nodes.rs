//! How often one user can be guessed at where several servers have the same users, by whoever knows the rules and has
//! more addresses than can be counted.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::server::event::{Event, Reason, Refusal};
use letmein_auth_proto::server::penalty::{Penalties, Policy};
use letmein_auth_proto::server::{Keys, Seed, Server};
use letmein_auth_proto::users::Users;
use letmein_auth_proto::{Now, Peer};

use crate::{at, echoing_answer, peer, sample_users};

/// Failures that are allowed against a user in a minute.
const BUDGET: u32 = 60;
const DAY_S: u32 = 24 * 60 * 60;

/// A server, and what only it knows of its users.
struct Node {
    server: Server,
    penalties: Arc<Penalties>,
    users: Users,
}

impl Node {
    /// The reply to a request for a challenge.
    fn challenge(&mut self, peer: Peer, now: Now) -> Challenge {
        let mut reply = Vec::new();
        self.server.datagram(&self.users, now, peer, b"Authentication request", &mut reply);
        Challenge::from_lower_digits(&reply).unwrap()
    }

    /// What comes of an answer.
    fn event<'a>(&mut self, peer: Peer, now: Now, answer: &'a str) -> Event<'a> {
        self.server.datagram(&self.users, now, peer, answer.as_bytes(), &mut Vec::new()).event
    }

    fn logs_in(&mut self, address: &str, now: Now) -> bool {
        let challenge = self.challenge(peer(address), now);
        let answer = echoing_answer("userone", "passwordone", challenge);
        matches!(self.event(peer(address), now, &answer), Event::Welcomed { .. })
    }
}

/// Servers among which the budgets of users are divided.
fn nodes(count: u8) -> Vec<Node> {
    let nodes = undivided(count);
    nodes.iter().for_each(|node| node.penalties.divide(NonZeroU32::new(count.into()).unwrap()));
    nodes
}

fn undivided(count: u8) -> Vec<Node> {
    let node = |number| {
        let penalties = Arc::new(Penalties::new(&[number; 16], Policy::default()));
        let server = Server::new(&Keys::known(number), Seed([number; 32]), penalties.clone(), None);
        Node { server, penalties, users: sample_users() }
    };
    (1..=count).map(node).collect()
}

/// Whether the sender shows that it can receive at its address.
#[derive(Clone, Copy)]
enum Origin {
    Proven,
    Unproven,
}

/// Guesses at one user, each from an address of its own.
#[derive(Default)]
struct Guesser {
    addresses: u32,
}

impl Guesser {
    fn address(&mut self) -> Peer {
        self.addresses += 1;
        let [_, a, b, c] = self.addresses.to_be_bytes();
        SocketAddr::from(([10, a, b, c], 5000)).into()
    }

    /// Whether the server looked at the guess.
    fn guess(&mut self, node: &mut Node, now: Now, origin: Origin) -> bool {
        let peer = self.address();
        let digest = u128::from(self.addresses);
        let answer = match origin {
            Origin::Unproven => format!("userone:{digest:032x}"),
            Origin::Proven => format!("userone:{digest:032x}:{}", node.challenge(peer, now)),
        };
        matches!(
            node.event(peer, now, &answer),
            Event::Refused(Refusal { reason: Reason::WrongPassword, .. })
        )
    }

    /// Guesses in a day, as fast as the servers look at them: until there is no verdict, and again when a block may be
    /// over.
    fn greedily(&mut self, nodes: &mut [Node], origin: Origin) -> u32 {
        let mut guesses = 0;
        for second in (0..DAY_S).step_by(15) {
            for node in &mut *nodes {
                while self.guess(node, at(1000.0 + f64::from(second)), origin) {
                    guesses += 1;
                }
            }
        }
        guesses
    }

    /// Guesses in a day, none so soon that it begins a block.
    fn patiently(&mut self, nodes: &mut [Node], origin: Origin) -> u32 {
        let part = BUDGET / nodes.len() as u32;
        let pause_s = 60.0 / f64::from(part) + 0.01;
        let mut guesses = 0;
        for node in nodes {
            let mut time = 1000.0;
            for _ in 0..part {
                guesses += u32::from(self.guess(node, at(time), origin));
            }
            while time < 1000.0 + f64::from(DAY_S) {
                time += pause_s;
                guesses += u32::from(self.guess(node, at(time), origin));
            }
        }
        guesses
    }
}

#[test]
fn several_servers_look_at_no_more_guesses_of_a_user_than_one_and_one_more_each() {
    for origin in [Origin::Proven, Origin::Unproven] {
        for count in [1, 2, 8] {
            let mut nodes = nodes(count);
            let before_a_block: u32 = nodes
                .iter_mut()
                .map(|node| {
                    let mut guesser = Guesser::default();
                    (0..1000).filter(|_| guesser.guess(node, at(1000.0), origin)).count() as u32
                })
                .sum();
            let bound = BUDGET + u32::from(count);
            assert!((BUDGET..=bound).contains(&before_a_block), "{count}: {before_a_block}");
        }
    }
}

#[test]
fn a_day_of_guessing_at_several_servers_brings_no_more_than_one_may_look_at() {
    let at_one = BUDGET + BUDGET * DAY_S / 60;
    for origin in [Origin::Proven, Origin::Unproven] {
        for count in [1, 2, 8] {
            let patient = Guesser::default().patiently(&mut nodes(count), origin);
            assert!((at_one * 9 / 10..=at_one).contains(&patient), "{count}: {patient}");
            let greedy = Guesser::default().greedily(&mut nodes(count), origin);
            assert!(greedy < patient, "{count}: {greedy}");
        }
    }
}

#[test]
fn with_more_servers_than_failures_in_its_budget_a_user_has_one_at_each() {
    let [mut node] = <[Node; 1]>::try_from(nodes(1)).ok().unwrap();
    node.penalties.divide(NonZeroU32::new(1000).unwrap());
    let mut guesser = Guesser::default();
    assert_eq!((0..100).filter(|_| guesser.guess(&mut node, at(1000.0), Origin::Proven)).count(), 1);
    assert!(guesser.guess(&mut node, at(1015.0), Origin::Proven), "the first block lasts 15 s");
}

#[test]
fn another_server_makes_no_block_longer_and_forgets_no_failure() {
    let [mut node] = <[Node; 1]>::try_from(undivided(1)).ok().unwrap();
    let mut guesser = Guesser::default();
    assert!((0..30).all(|_| guesser.guess(&mut node, at(1000.0), Origin::Proven)));
    node.penalties.divide(NonZeroU32::new(2).unwrap());
    // Half of the budget was owed, and still is.
    let more = (0..100).filter(|_| guesser.guess(&mut node, at(1000.0), Origin::Proven)).count();
    assert_eq!(more, 16);
    node.penalties.divide(NonZeroU32::MIN);
    assert!(!guesser.guess(&mut node, at(1014.0), Origin::Proven));
    assert!(guesser.guess(&mut node, at(1016.0), Origin::Proven));
}

#[test]
fn whoever_has_logged_in_from_there_before_gets_in_while_the_user_is_blocked() {
    for node in &mut nodes(8) {
        assert!(node.logs_in("192.0.2.1:5000", at(1000.0)));
        let mut guesser = Guesser::default();
        while guesser.guess(node, at(1001.0), Origin::Proven) {}
        assert!(!node.logs_in("192.0.2.2:5000", at(1002.0)));
        assert!(node.logs_in("192.0.2.1:5000", at(1002.0)));
    }
}

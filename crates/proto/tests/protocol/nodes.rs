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
pub(crate) const BUDGET: u32 = 60;
const DAY_S: u32 = 24 * 60 * 60;

/// A server, and what only it knows of its users.
pub(crate) struct Node {
    server: Server,
    pub(crate) penalties: Arc<Penalties>,
    pub(crate) users: Users,
}

impl Node {
    pub(crate) fn new(number: u8, penalties: Penalties, users: Users) -> Self {
        let penalties = Arc::new(penalties);
        let server = Server::new(&Keys::known(number), Seed([number; 32]), penalties.clone(), None);
        Self { server, penalties, users }
    }

    pub(crate) fn divide(&self, nodes: u32) {
        self.penalties.divide(NonZeroU32::new(nodes).unwrap());
    }

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

    pub(crate) fn logs_in(&mut self, address: &str, now: Now) -> bool {
        self.logs_in_by("passwordone", address, now)
    }

    pub(crate) fn logs_in_by(&mut self, password: &str, address: &str, now: Now) -> bool {
        let challenge = self.challenge(peer(address), now);
        let answer = echoing_answer("userone", password, challenge);
        matches!(self.event(peer(address), now, &answer), Event::Welcomed { .. })
    }
}

/// Servers among which the budgets of users are divided.
fn nodes(count: u8) -> Vec<Node> {
    let nodes = undivided(count);
    nodes.iter().for_each(|node| node.divide(count.into()));
    nodes
}

/// The only server with its users.
fn alone() -> Node {
    undivided(1).remove(0)
}

fn undivided(count: u8) -> Vec<Node> {
    let penalties = |number| Penalties::new(&[number; 16], Policy::default());
    (1..=count).map(|number| Node::new(number, penalties(number), sample_users())).collect()
}

/// Whether the sender shows that it can receive at its address.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    Proven,
    Unproven,
}

/// Guesses at one user, each from an address of its own.
#[derive(Default)]
pub(crate) struct Guesser {
    addresses: u32,
}

impl Guesser {
    fn address(&mut self) -> Peer {
        self.addresses += 1;
        let [_, a, b, c] = self.addresses.to_be_bytes();
        SocketAddr::from(([10, a, b, c], 5000)).into()
    }

    /// Whether the server looked at the guess.
    pub(crate) fn guess(&mut self, node: &mut Node, now: Now, origin: Origin) -> bool {
        self.refused_for(node, "userone", now, origin) == Some(Reason::WrongPassword)
    }

    /// Why a guess at a name was refused, unless it was ignored.
    pub(crate) fn refused_for(
        &mut self,
        node: &mut Node,
        name: &str,
        now: Now,
        origin: Origin,
    ) -> Option<Reason> {
        let peer = self.address();
        let digest = u128::from(self.addresses);
        let answer = match origin {
            Origin::Unproven => format!("{name}:{digest:032x}"),
            Origin::Proven => format!("{name}:{digest:032x}:{}", node.challenge(peer, now)),
        };
        if let Event::Refused(Refusal { reason, .. }) = node.event(peer, now, &answer) {
            Some(reason)
        } else {
            None
        }
    }

    /// How many guesses at once the server looks at before it ignores one.
    pub(crate) fn while_heard(&mut self, node: &mut Node, now: Now) -> u32 {
        (0..1000).take_while(|_| self.guess(node, now, Origin::Proven)).count() as u32
    }

    /// How many of a thousand guesses at once the server looks at.
    fn at_once(&mut self, node: &mut Node, now: Now) -> u32 {
        (0..1000).filter(|_| self.guess(node, now, Origin::Proven)).count() as u32
    }

    /// Guesses in a day, as fast as the servers look at them: until there is no verdict, and again when a block may be
    /// over.
    fn greedily(&mut self, nodes: &mut [Node], origin: Origin) -> u32 {
        let mut guesses = 0;
        for second in (0..DAY_S).step_by(15) {
            for node in &mut *nodes {
                let now = at(1000.0 + f64::from(second));
                guesses += (0..1000).take_while(|_| self.guess(node, now, origin)).count() as u32;
            }
        }
        guesses
    }

    /// Guesses in a day: so many at each server at once, and then as many again in each minute, evenly.
    fn steadily(&mut self, nodes: &mut [Node], a_minute: u32, origin: Origin) -> u32 {
        let pause_s = 60.0 / f64::from(a_minute) + 0.01;
        let steps = (f64::from(DAY_S) / pause_s) as u32;
        let times = (0..a_minute).map(|_| 0).chain(0..=steps);
        let times = times.map(|step| 1000.0 + pause_s * f64::from(step));
        let mut guesses = 0;
        for node in nodes {
            guesses += times.clone().filter(|time| self.guess(node, at(*time), origin)).count() as u32;
        }
        guesses
    }
}

#[test]
fn before_they_block_several_nodes_look_at_no_more_guesses_at_a_user_than_one_and_one_more_each() {
    for count in [1, 2, 8] {
        let looked_at = |node: &mut Node| Guesser::default().at_once(node, at(1000.0));
        let all: u32 = nodes(count).iter_mut().map(looked_at).sum();
        assert!((BUDGET..=BUDGET + u32::from(count)).contains(&all), "{count}: {all}");
    }
}

/// Whoever guesses at the pace that one node would allow meets blocks at each of several.
#[test]
fn a_day_of_guessing_at_several_nodes_brings_no_more_than_one_may_look_at() {
    let at_one = BUDGET + BUDGET * DAY_S / 60;
    for (count, origin) in [(1, Origin::Proven), (8, Origin::Proven), (8, Origin::Unproven)] {
        let part = BUDGET / u32::from(count);
        let steady = Guesser::default().steadily(&mut nodes(count), part, origin);
        assert!((at_one * 9 / 10..=at_one).contains(&steady), "{count}: {steady}");
        let as_if_one = Guesser::default().steadily(&mut nodes(count), BUDGET, origin);
        let greedy = Guesser::default().greedily(&mut nodes(count), origin);
        assert!(as_if_one.max(greedy) <= steady, "{count}: {as_if_one}, {greedy}");
    }
}

#[test]
fn with_more_nodes_than_failures_in_its_budget_a_user_has_one_at_each() {
    let mut node = alone();
    node.divide(1000);
    let mut guesser = Guesser::default();
    assert_eq!(guesser.at_once(&mut node, at(1000.0)), 1);
    assert!(guesser.guess(&mut node, at(1015.0), Origin::Proven), "the first block lasts 15 s");
}

#[test]
fn another_node_takes_its_part_of_what_is_left_as_well() {
    let (mut node, mut guesser) = (alone(), Guesser::default());
    assert!((0..30).all(|_| guesser.guess(&mut node, at(1000.0), Origin::Proven)));
    node.divide(2);
    // Half of the budget is owed.
    assert_eq!(guesser.at_once(&mut node, at(1000.0)), 16);
}

/// A failure costs 7.5 s more where eight share the budget.
#[test]
fn a_block_in_force_ends_sooner_by_as_much_as_a_failure_costs_more() {
    for (before, after, ends_after_s) in [(1, 8, 7.5), (8, 1, 15.0), (2, 1, 15.0), (1, 1, 15.0)] {
        let (mut node, mut guesser) = (alone(), Guesser::default());
        node.divide(before);
        guesser.at_once(&mut node, at(1000.0));
        node.divide(after);
        for (seconds, is_heard) in [(ends_after_s - 1.0, false), (ends_after_s + 1.0, true)] {
            let heard = guesser.guess(&mut node, at(1000.0 + seconds), Origin::Proven);
            assert_eq!(heard, is_heard, "{before} to {after}: {seconds}");
        }
    }
}

/// What such a failure would have cost is not owed, so the guesses that follow count as any others.
#[test]
fn after_a_block_in_force_every_guess_counts_though_a_failure_costs_less_than_it_did() {
    let (mut node, mut guesser) = (alone(), Guesser::default());
    node.divide(8);
    guesser.at_once(&mut node, at(1000.0));
    node.divide(1);
    assert_eq!(guesser.at_once(&mut node, at(1016.0)), 8);
}

#[test]
fn whoever_has_logged_in_from_there_before_gets_in_while_the_user_is_blocked_and_has_a_whole_budget() {
    for node in &mut nodes(8) {
        assert!(node.logs_in("192.0.2.1:5000", at(1000.0)));
        Guesser::default().at_once(node, at(1001.0));
        assert!(!node.logs_in("192.0.2.2:5000", at(1002.0)));
        assert!(node.logs_in("192.0.2.1:5000", at(1002.0)));
        // A neighbour behind the same address fails.
        let mut fail = |number: u128| {
            let (peer, now) = (peer("192.0.2.1:6000"), at(1003.0));
            let answer = format!("userone:{number:032x}:{}", node.challenge(peer, now));
            assert!(matches!(node.event(peer, now, &answer), Event::Refused(_)), "{number}");
        };
        (0..10).for_each(&mut fail);
        assert!(node.logs_in("192.0.2.1:5000", at(1004.0)));
    }
}

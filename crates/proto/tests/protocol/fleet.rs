//! Several servers that tell each other of failed logins, and from where users have logged in.

mod bounds;
mod messages;

use letmein_auth_proto::Now;
use letmein_auth_proto::server::Seed;
use letmein_auth_proto::server::fleet::{Fleet, MESSAGE_MAX, Round};
use letmein_auth_proto::server::penalty::{Penalties, Policy};
use letmein_auth_proto::users::Users;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::cluster::cluster_keys;
use crate::nodes::{BUDGET, Guesser, Node, Origin};
use crate::{at, sample_users, users};

/// The window of the budget, after which nodes that hear each other count together.
const WINDOW_S: f64 = 60.0;
/// When a fleet has been together for longer than that.
const SETTLED_S: f64 = 1000.0 + WINDOW_S + 10.0;

/// Nodes, and the last message of each, as others can read it.
struct Nodes {
    nodes: Vec<Node>,
    fleets: Vec<Fleet>,
    said: Vec<Vec<u8>>,
    cuts: Vec<Cut>,
    /// Pairs of nodes that never hear each other.
    apart: fn(usize, usize) -> bool,
    random: SmallRng,
}

/// What keeps a node from the others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    None,
    /// It takes part in no round.
    Away,
    /// It receives nothing.
    Deaf,
    /// Its messages arrive nowhere, and the last one stays.
    Mute,
    /// Its messages are gone.
    Lost,
}

fn with_key(users: Users, letter: char) -> Users {
    users.with_cluster_keys(cluster_keys(&[(0, letter)]))
}

impl Nodes {
    /// Nodes that have not heard of each other.
    fn new(count: u8) -> Self {
        let node = |number| {
            let penalties = Penalties::new(&[number; 16], Policy::default()).with_pool();
            let node = Node::new(number, penalties, with_key(sample_users(), 'A'));
            node.divide(count.into());
            node
        };
        Self {
            nodes: (1..=count).map(node).collect(),
            fleets: (1..=count).map(|number| Fleet::new(Seed([number; 32]))).collect(),
            said: vec![Vec::new(); count.into()],
            cuts: vec![Cut::None; count.into()],
            apart: |_, _| false,
            random: SmallRng::seed_from_u64(count.into()),
        }
    }

    /// Nodes that count together at [`SETTLED_S`].
    fn settled(count: u8) -> Self {
        let mut nodes = Self::new(count);
        nodes.pass(1000.0, SETTLED_S);
        nodes
    }

    fn pass(&mut self, from_s: f64, to_s: f64) {
        let seconds = (to_s - from_s) as u32;
        (0..seconds).for_each(|second| self.exchange(at(from_s + f64::from(second))));
    }

    /// Each node receives what the others have said last, and says something, in any order.
    fn exchange(&mut self, now: Now) {
        let mut order: Vec<_> =
            (0..self.nodes.len()).filter(|index| self.cuts[*index] != Cut::Away).collect();
        order.shuffle(&mut self.random);
        order.into_iter().for_each(|index| {
            self.round(index, now);
        });
    }

    fn round(&mut self, index: usize, now: Now) -> Round {
        let (node, mut reply) = (&self.nodes[index], Vec::new());
        let is_read = |other: usize, said: &[u8]| {
            other != index
                && !said.is_empty()
                && !(self.apart)(index, other)
                && self.cuts[index] != Cut::Deaf
                && self.cuts[other] != Cut::Lost
        };
        let others = self.said.iter().enumerate().filter(|(other, said)| is_read(*other, said));
        let others = others.map(|(_, said)| &said[..]);
        let round = self.fleets[index].round(&node.users, &node.penalties, now, others, &mut reply);
        assert!(reply.len() <= MESSAGE_MAX);
        if self.cuts[index] != Cut::Mute {
            self.said[index] = reply;
        }
        round
    }

    /// How many nodes each counts together with, by what it last heard.
    fn members(&self, now: Now) -> Vec<u32> {
        self.nodes.iter().map(|node| node.penalties.members(now.uptime)).collect()
    }

    fn guesses_at_all(&mut self, guesser: &mut Guesser, now: Now) -> u32 {
        self.nodes.iter_mut().map(|node| guesser.while_heard(node, now)).sum()
    }

    /// How many guesses all nodes look at in a time, if each is asked as often as it answers, eight times a second.
    fn guessed_at(&mut self, guesser: &mut Guesser, from_s: f64, to_s: f64) -> u32 {
        let mut guesses = 0;
        for eighth in 0..((to_s - from_s) * 8.0) as u32 {
            let now = at(from_s + f64::from(eighth) / 8.0);
            guesses += self.guesses_at_all(guesser, now);
            if eighth % 8 == 7 {
                self.exchange(now);
            }
        }
        guesses
    }
}

#[test]
fn whoever_has_logged_in_at_one_node_gets_in_at_all_while_the_user_is_blocked() {
    let (mut fleet, mut guesser) = (Nodes::settled(8), Guesser::default());
    assert!(fleet.nodes[0].logs_in("192.0.2.1:5000", at(SETTLED_S)));
    fleet.pass(SETTLED_S, SETTLED_S + 5.0);
    fleet.guessed_at(&mut guesser, SETTLED_S + 5.0, SETTLED_S + 10.0);
    for node in &mut fleet.nodes {
        assert!(!node.logs_in("192.0.2.2:5000", at(SETTLED_S + 10.0)));
        assert!(node.logs_in("192.0.2.1:5000", at(SETTLED_S + 10.0)));
    }
}

#[test]
fn a_login_by_a_password_that_another_node_no_longer_knows_exempts_nobody_there() {
    let (mut fleet, mut guesser) = (Nodes::settled(2), Guesser::default());
    fleet.nodes[1].users = with_key(users("userone = \"another\""), 'A');
    assert!(fleet.nodes[0].logs_in("192.0.2.1:5000", at(SETTLED_S)));
    fleet.pass(SETTLED_S, SETTLED_S + 5.0);
    fleet.guessed_at(&mut guesser, SETTLED_S + 5.0, SETTLED_S + 10.0);
    assert!(fleet.nodes[0].logs_in("192.0.2.1:5000", at(SETTLED_S + 10.0)));
    assert!(!fleet.nodes[1].logs_in_by("another", "192.0.2.1:5000", at(SETTLED_S + 10.0)));
}

/// Otherwise a block at a node where nobody has tried would tell that there is such a user.
#[test]
fn an_unknown_name_is_blocked_at_all_nodes_as_a_user_is() {
    let heard = |name| {
        let (mut fleet, mut guesser) = (Nodes::settled(2), Guesser::default());
        let mut heard_in = |second| {
            let now = at(SETTLED_S + f64::from(second));
            let mut tried_at = |index: usize, times| {
                let mut heard =
                    || guesser.refused_for(&mut fleet.nodes[index], name, now, Origin::Proven).is_some();
                (0..times).filter(|_| heard()).count()
            };
            let heard = [tried_at(0, 9), tried_at(1, 1)];
            fleet.exchange(now);
            heard
        };
        (0..60).map(&mut heard_in).collect::<Vec<_>>()
    };
    let of_user = heard("userone");
    assert!(of_user.iter().any(|[_, at_other]| *at_other == 0) && of_user[0] == [9, 1]);
    assert_eq!(heard("nobody"), of_user);
}

#[test]
fn lifting_blocks_forgets_what_waits_to_be_told() {
    let (mut fleet, mut guesser) = (Nodes::settled(2), Guesser::default());
    (0..20).for_each(|_| assert!(guesser.guess(&mut fleet.nodes[0], at(SETTLED_S), Origin::Proven)));
    fleet.round(0, at(SETTLED_S));
    for node in &fleet.nodes {
        node.penalties.lift();
        node.users.forget_guesses();
    }
    fleet.round(0, at(SETTLED_S));
    fleet.pass(SETTLED_S, SETTLED_S + 5.0);
    assert!(fleet.guesses_at_all(&mut guesser, at(SETTLED_S + 5.0)) >= BUDGET);
}

//! Several servers that tell each other of failed logins and of sources: how often one user can be guessed at by
//! whoever knows the rules, has more addresses than can be counted, and sees what every node answers; and who gets in
//! meanwhile.

use letmein_auth_proto::Now;
use letmein_auth_proto::server::Seed;
use letmein_auth_proto::server::fleet::{Fleet, MESSAGE_MAX, Round};
use letmein_auth_proto::server::penalty::{Penalties, Policy};
use letmein_auth_proto::users::Users;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::cluster::cluster_keys;
use crate::nodes::{BUDGET, Guesser, Node, Origin};
use crate::{at, sample_users, users};

/// The window of the budget, after which nodes that hear each other count together.
const WINDOW_S: f64 = 60.0;
/// In an hour blocks become as long as they ever do, so that no later hour brings more.
const HOUR_S: u32 = 60 * 60;
/// When a fleet has been together for longer than that.
const SETTLED_S: f64 = 1000.0 + WINDOW_S + 10.0;

/// Nodes, and what each has said last.
struct Nodes {
    nodes: Vec<Node>,
    fleets: Vec<Fleet>,
    said: Vec<Vec<u8>>,
    /// How many nodes, from the first on, reach what the others say.
    reachable: usize,
    random: SmallRng,
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
            reachable: count.into(),
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

    /// Each node hears what the others have said last, and says something, in any order.
    fn exchange(&mut self, now: Now) {
        let mut order: Vec<_> = (0..self.reachable).collect();
        order.shuffle(&mut self.random);
        order.into_iter().for_each(|index| {
            self.round(index, now);
        });
    }

    fn round(&mut self, index: usize, now: Now) -> Round {
        let (node, mut reply) = (&self.nodes[index], Vec::new());
        let others = self.said.iter().enumerate().filter(|(other, said)| *other != index && !said.is_empty());
        let others = others.map(|(_, said)| &said[..]);
        let round = self.fleets[index].round(&node.users, &node.penalties, now, others, &mut reply);
        assert!(reply.len() <= MESSAGE_MAX);
        self.said[index] = reply;
        round
    }

    /// How many guesses all nodes look at in a time, if each is asked as often as it answers, eight times a second.
    fn guessed_at(&mut self, guesser: &mut Guesser, from_s: f64, to_s: f64) -> u32 {
        let mut guesses = 0;
        for eighth in 0..((to_s - from_s) * 8.0) as u32 {
            let now = at(from_s + f64::from(eighth) / 8.0);
            for node in &mut self.nodes {
                guesses += guesser.while_heard(node, now);
            }
            if eighth % 8 == 7 {
                self.exchange(now);
            }
        }
        guesses
    }
}

#[test]
fn one_node_of_several_looks_at_as_many_guesses_as_one_alone_and_then_no_other_does() {
    for count in [2, 8] {
        let (mut fleet, mut guesser) = (Nodes::settled(count), Guesser::default());
        // In thirty seconds half of the budget comes back.
        let mut guesses = 0;
        for second in 0..30 {
            let now = at(SETTLED_S + f64::from(second));
            guesses += guesser.while_heard(&mut fleet.nodes[0], now);
            fleet.exchange(now);
        }
        assert!(guesses >= BUDGET * 9 / 10, "{count}: {guesses}");
        let now = at(SETTLED_S + 29.0);
        let at_all: u32 = fleet.nodes.iter_mut().map(|node| guesser.while_heard(node, now)).sum();
        assert!(guesses + at_all <= BUDGET + 30 + u32::from(count), "{count}: {guesses} {at_all}");
    }
}

#[test]
fn before_all_block_they_look_at_no_more_guesses_than_one_and_one_more_each() {
    for count in [1, 2, 8] {
        let guesses = Nodes::settled(count).guessed_at(&mut Guesser::default(), SETTLED_S, SETTLED_S + 10.0);
        // In ten seconds ten come back.
        let most = BUDGET + u32::from(count) + 10;
        assert!((BUDGET * 9 / 10..=most).contains(&guesses), "{count}: {guesses}");
    }
}

/// Guesses go to all nodes, to any, and to one, as fast as they are looked at and at the pace that one would allow.
#[test]
fn an_hour_of_guessing_at_several_nodes_brings_no_more_than_one_may_look_at() {
    let at_one = BUDGET + BUDGET * HOUR_S / 60;
    for count in [2_u8, 8] {
        for pace in 1..=3 {
            let (mut fleet, mut guesser) = (Nodes::settled(count), Guesser::default());
            let mut guesses = 0;
            for second in 0..HOUR_S {
                let now = at(SETTLED_S + f64::from(second));
                for index in 0..usize::from(count) {
                    let is_asked = match pace {
                        1 => second % 16 == 0,
                        2 => (second as usize) % usize::from(count) == index,
                        _ => index == 0,
                    };
                    let node = &mut fleet.nodes[index];
                    guesses += match is_asked {
                        true if pace == 1 => guesser.while_heard(node, now),
                        true => guesser.guess(node, now, Origin::Proven).into(),
                        false => 0,
                    };
                }
                fleet.exchange(now);
            }
            assert!(guesses <= at_one + u32::from(count), "{count}, {pace}: {guesses}");
        }
    }
}

/// At any moment any number of nodes may be cut off, for seconds or minutes, and the guesses go on: at all nodes as
/// fast as they look at them, or once a second, which begins fewer blocks.
#[test]
fn however_nodes_are_cut_off_the_bound_holds() {
    for seed in 0..20 {
        let (mut fleet, mut guesser) = (Nodes::settled(8), Guesser::default());
        let mut random = SmallRng::seed_from_u64(seed);
        let (mut guesses, mut left_s) = (0, 0);
        for second in 0..600 {
            if left_s == 0 {
                (fleet.reachable, left_s) = (random.random_range(0..=8), random.random_range(1..40));
            }
            left_s -= 1;
            let now = at(SETTLED_S + f64::from(second));
            for node in &mut fleet.nodes {
                guesses += if seed % 2 == 0 {
                    guesser.while_heard(node, now)
                } else {
                    guesser.guess(node, now, Origin::Proven).into()
                };
            }
            fleet.exchange(now);
        }
        // Ten windows come back, after the budget that was there at the start.
        let most = 11 * BUDGET + 8;
        assert!(guesses <= most, "{seed}: {guesses}");
    }
}

#[test]
fn nodes_count_together_after_a_window_and_no_longer_than_ten_seconds_without_hearing_of_each_other() {
    let mut fleet = Nodes::new(2);
    fleet.pass(1000.0, 1003.0);
    let members = |fleet: &mut Nodes, now_s| {
        (0..2).map(|index| fleet.round(index, at(now_s)).members).collect::<Vec<_>>()
    };
    assert_eq!(members(&mut fleet, 1030.0 - 22.0), [1, 1]);
    fleet.pass(1009.0, 1065.0);
    assert_eq!(members(&mut fleet, 1066.0), [2, 2]);
    fleet.said[1].clear();
    fleet.reachable = 1;
    fleet.pass(1067.0, 1068.0);
    assert_eq!(fleet.round(0, at(1069.0)).members, 1);
    // Without a round it is alone, too, after ten seconds: with half of a budget.
    assert_eq!(Guesser::default().while_heard(&mut fleet.nodes[1], at(1077.0)), 31);
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
fn a_flood_of_names_makes_no_message_too_long_and_leaves_a_node_its_part() {
    let (mut fleet, mut guesser) = (Nodes::settled(2), Guesser::default());
    for number in 0..20_000 {
        let name = format!("{number:064}");
        guesser.refused_for(&mut fleet.nodes[0], &name, at(SETTLED_S), Origin::Proven);
    }
    let guesses = fleet.guessed_at(&mut guesser, SETTLED_S, SETTLED_S + 10.0);
    assert!((BUDGET / 2..=2 * (BUDGET + 2) + 10).contains(&guesses), "{guesses}");
}

#[test]
fn an_old_message_another_keys_and_ones_own_are_heard_by_nobody() {
    let mut fleet = Nodes::settled(2);
    let old = fleet.said[1].clone();
    fleet.pass(SETTLED_S, SETTLED_S + 20.0);
    let now = at(SETTLED_S + 20.0);
    fleet.said[1] = old;
    let round = fleet.round(0, now);
    assert_eq!((round.members, round.others, round.unreadable), (1, 0, 1));
    fleet.said[1] = fleet.said[0].clone();
    let round = fleet.round(0, now);
    assert_eq!((round.members, round.others, round.unreadable), (1, 0, 0));
    let another_key = cluster_keys(&[(0, 'E')]);
    fleet.nodes[1].users = sample_users().with_cluster_keys(another_key);
    fleet.round(1, now);
    assert_eq!(fleet.round(0, now).unreadable, 1);
    // Without keys it says nothing.
    fleet.nodes[1].users = sample_users();
    assert_eq!(fleet.round(1, now), Round { members: 1, ..Round::default() });
    assert!(fleet.said[1].is_empty());
}

proptest! {
    #[test]
    fn a_message_that_was_changed_anywhere_or_cut_off_is_not_heard(position in 0_usize..2000, bit in 0..8) {
        let mut fleet = Nodes::settled(2);
        let said = &mut fleet.said[1];
        if let Some(byte) = said.get_mut(position) {
            *byte ^= 1_u8 << bit;
        } else {
            said.truncate(position % said.len());
            said.push(0);
        }
        let round = fleet.round(0, at(SETTLED_S));
        prop_assert_eq!((round.others, round.unreadable), (0, 1));
    }
}

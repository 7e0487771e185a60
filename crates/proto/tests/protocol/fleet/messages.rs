//! Which nodes count together, and which messages they read.

use letmein_auth_proto::server::Seed;
use letmein_auth_proto::server::fleet::{Fleet, Round};
use letmein_auth_proto::server::penalty::{Budget, Penalties, Policy};
use proptest::prelude::*;

use super::{Cut, Nodes, SETTLED_S, with_key};
use crate::cluster::cluster_keys;
use crate::nodes::{Guesser, Node, Origin};
use crate::{at, sample_users};

#[test]
fn nodes_count_together_after_a_window_and_for_ten_seconds_without_hearing_of_each_other() {
    let mut fleet = Nodes::new(2);
    fleet.pass(1000.0, 1058.0);
    assert_eq!(fleet.members(at(1058.0)), [1, 1]);
    fleet.pass(1058.0, 1066.0);
    assert_eq!(fleet.members(at(1065.0)), [2, 2]);
    // The messages are gone: as after a failover, and then for good.
    for (from_s, to_s, members) in [(1066.0, 1074.0, 2), (1080.0, 1092.0, 1)] {
        fleet.cuts = vec![Cut::Lost; 2];
        fleet.pass(from_s, to_s);
        assert_eq!(fleet.members(at(to_s - 1.0)), [members; 2], "{to_s}");
        fleet.cuts = vec![Cut::None; 2];
        fleet.pass(to_s, to_s + 6.0);
    }
    // Without a round it is alone, too, after ten seconds: with half of a budget.
    let mut fleet = Nodes::settled(2);
    assert_eq!(fleet.members(at(SETTLED_S + 8.0)), [2, 2]);
    assert_eq!(fleet.members(at(SETTLED_S + 10.0)), [1, 1]);
    assert_eq!(Guesser::default().while_heard(&mut fleet.nodes[1], at(SETTLED_S + 10.0)), 31);
}

/// By whoever can write the database, and has no key.
#[test]
fn a_message_that_is_repeated_hidden_and_shown_again_counts_once() {
    let (mut fleet, mut guesser) = (Nodes::settled(2), Guesser::default());
    let now = at(SETTLED_S);
    (0..10).for_each(|_| assert!(guesser.guess(&mut fleet.nodes[0], now, Origin::Proven)));
    fleet.exchange(now);
    fleet.round(0, now);
    for shown in 0..200 {
        fleet.cuts[0] = if shown % 2 == 0 { Cut::None } else { Cut::Lost };
        fleet.round(1, now);
    }
    // Ten of sixty are owed, and each that is looked at here counts twice.
    let guesses = guesser.while_heard(&mut fleet.nodes[1], now);
    assert!((16..=26).contains(&guesses), "{guesses}");
}

#[test]
fn a_server_that_is_started_anew_counts_alone_for_a_window_and_the_others_go_on() {
    let mut fleet = Nodes::settled(3);
    let old = fleet.said[0].clone();
    let penalties = Penalties::new(&[9; 16], Policy::default()).with_pool();
    fleet.nodes[0] = Node::new(9, penalties, with_key(sample_users(), 'A'));
    fleet.fleets[0] = Fleet::new(Seed([9; 32]));
    fleet.said[0].clear();
    fleet.pass(SETTLED_S, SETTLED_S + 20.0);
    assert_eq!(fleet.members(at(SETTLED_S + 19.0)), [1, 2, 2]);
    fleet.pass(SETTLED_S + 20.0, SETTLED_S + 70.0);
    assert_eq!(fleet.members(at(SETTLED_S + 69.0)), [3, 3, 3]);
    // What it said before is read by nobody.
    fleet.said[0] = old;
    assert_eq!(fleet.round(1, at(SETTLED_S + 70.0)).unreadable, 1);
}

#[test]
fn a_key_takes_the_place_of_another_without_a_node_being_alone_and_the_old_one_is_good_no_more() {
    const BEGIN_UNIX_S: u64 = 1_767_225_600 + SETTLED_S as u64 + 5;
    let mut fleet = Nodes::settled(2);
    let keys = |keys: &[(u64, char)]| sample_users().with_cluster_keys(cluster_keys(keys));
    fleet.nodes.iter_mut().for_each(|node| node.users = keys(&[(0, 'A'), (BEGIN_UNIX_S, 'E')]));
    for second in 0..30 {
        let now = at(SETTLED_S + f64::from(second));
        fleet.exchange(now);
        assert_eq!(fleet.members(now), [2, 2], "{second}");
    }
    // Somebody has kept it.
    fleet.nodes[1].users = keys(&[(0, 'A')]);
    fleet.round(1, at(SETTLED_S + 30.0));
    assert_eq!(fleet.round(0, at(SETTLED_S + 30.0)).unreadable, 1);
}

#[test]
fn nodes_with_other_limits_do_not_count_together() {
    let mut fleet = Nodes::new(2);
    let of_user = Policy::default().of_user.map(|budget| Budget { count: 61, ..budget });
    let penalties = Penalties::new(&[9; 16], Policy { of_user, ..Policy::default() }).with_pool();
    fleet.nodes[1] = Node::new(9, penalties, with_key(sample_users(), 'A'));
    fleet.pass(1000.0, SETTLED_S);
    assert_eq!(fleet.members(at(SETTLED_S)), [1, 1]);
    assert_eq!(fleet.round(0, at(SETTLED_S)).unreadable, 1);
}

#[test]
fn an_old_message_another_keys_and_ones_own_are_heard_by_nobody() {
    let mut fleet = Nodes::settled(2);
    let old = fleet.said[1].clone();
    fleet.pass(SETTLED_S, SETTLED_S + 20.0);
    let now = at(SETTLED_S + 20.0);
    fleet.said[1] = old;
    assert_eq!(fleet.round(0, now).unreadable, 1);
    fleet.said[1] = fleet.said[0].clone();
    assert_eq!(fleet.round(0, now).unreadable, 0);
    fleet.pass(SETTLED_S + 20.0, SETTLED_S + 25.0);
    fleet.said[1] = fleet.said[0].clone();
    let round = fleet.round(0, at(SETTLED_S + 34.0));
    assert_eq!((round.members, round.reachable, round.unreadable), (1, 1, 0));
    let another_key = cluster_keys(&[(0, 'E')]);
    fleet.nodes[1].users = sample_users().with_cluster_keys(another_key);
    fleet.round(1, now);
    assert_eq!(fleet.round(0, now).unreadable, 1);
    // Without keys it says nothing.
    fleet.nodes[1].users = sample_users();
    assert_eq!(fleet.round(1, now), Round { members: 1, reachable: 1, ..Round::default() });
    assert!(fleet.said[1].is_empty());
}

proptest! {
    #[test]
    fn a_message_that_was_changed_anywhere_or_cut_off_is_not_heard(position in 0_usize..200, bit in 0..8) {
        let mut fleet = Nodes::settled(2);
        let said = &mut fleet.said[1];
        if let Some(byte) = said.get_mut(position) {
            *byte ^= 1_u8 << bit;
        } else {
            said.truncate(1 + position % (said.len() - 1));
        }
        let round = fleet.round(0, at(SETTLED_S));
        prop_assert_eq!(round.unreadable, 1);
    }
}

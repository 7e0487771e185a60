//! How often one user can be guessed at where nodes count together, by whoever knows the rules, has more addresses than
//! can be counted, and sees what every node answers.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Cut, Nodes, SETTLED_S};
use crate::at;
use crate::nodes::{BUDGET, Guesser, Origin};

/// In an hour blocks become as long as they ever do, so that no later hour brings more.
const HOUR_S: u32 = 60 * 60;

#[test]
fn one_node_of_several_looks_at_as_many_guesses_as_one_alone_and_then_the_others_at_none_beyond() {
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
        let at_all = fleet.guesses_at_all(&mut guesser, now);
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

/// At any moment any number of nodes may be cut off, in any way, for seconds or minutes, and the guesses go on: at all
/// nodes as fast as they look at them, or once a second, which begins fewer blocks.
#[test]
fn however_nodes_are_cut_off_the_bound_holds() {
    const CUTS: [Cut; 8] =
        [Cut::None, Cut::None, Cut::None, Cut::None, Cut::Away, Cut::Deaf, Cut::Mute, Cut::Lost];
    for seed in 0..8 {
        let (mut fleet, mut guesser) = (Nodes::settled(8), Guesser::default());
        let mut random = SmallRng::seed_from_u64(seed);
        let (mut guesses, mut left_s, mut most_members) = (0, 0, 0);
        for second in 0..600 {
            if left_s == 0 {
                // After the longest of these times nodes count together again.
                left_s = random.random_range(1..120);
                let mut cut =
                    || if left_s > 60 { Cut::None } else { CUTS[random.random_range(0..CUTS.len())] };
                fleet.cuts = (0..8).map(|_| cut()).collect();
            }
            left_s -= 1;
            let now = at(SETTLED_S + f64::from(second));
            guesses += if seed % 2 == 0 {
                fleet.guesses_at_all(&mut guesser, now)
            } else {
                let mut heard = |node| u32::from(guesser.guess(node, now, Origin::Proven));
                fleet.nodes.iter_mut().map(&mut heard).sum()
            };
            fleet.exchange(now);
            most_members = most_members.max(*fleet.members(now).iter().max().unwrap());
        }
        // Ten windows come back, after the budget that was there at the start.
        assert!(guesses <= 11 * BUDGET + 8, "{seed}: {guesses}");
        assert_eq!(most_members, 8, "{seed}");
    }
}

/// What one node has looked at before the others count together with it is known to them.
#[test]
fn whoever_waits_until_nodes_count_together_gains_nothing() {
    for count in [2, 3, 8] {
        for begin_s in [20.0, 40.0, 50.0, 55.0, 59.0, 60.0, 61.0, 62.0] {
            let (mut fleet, mut guesser) = (Nodes::new(count), Guesser::default());
            fleet.pass(1000.0, 1000.0 + begin_s);
            let begin_s = 1000.0 + begin_s;
            let mut guesses = 0;
            for second in 0..10 {
                let now = at(begin_s + f64::from(second));
                guesses += guesser.while_heard(&mut fleet.nodes[0], now);
                fleet.exchange(now);
            }
            guesses += fleet.guessed_at(&mut guesser, begin_s + 10.0, begin_s + 20.0);
            assert!(guesses <= BUDGET + u32::from(count) + 20, "{count}, {begin_s}: {guesses}");
        }
    }
}

/// By whoever can write the database, or where two nodes have one name there: they would have more than the budget.
#[test]
fn nodes_of_which_some_never_hear_each_other_do_not_count_together_with_those_between_them() {
    let halves: fn(usize, usize) -> bool = |one, other| (one < 4) == (other < 4);
    let twins: fn(usize, usize) -> bool = |one, other| one < 2 && other < 2;
    for (count, apart) in [(8, halves), (3, twins)] {
        let (mut fleet, mut guesser) = (Nodes::new(count), Guesser::default());
        fleet.apart = apart;
        fleet.pass(1000.0, SETTLED_S);
        let guesses: u32 = (0..240)
            .map(|second| {
                let now = at(SETTLED_S + f64::from(second));
                let mut heard = |node| u32::from(guesser.guess(node, now, Origin::Proven));
                let guesses: u32 = fleet.nodes.iter_mut().map(&mut heard).sum();
                fleet.exchange(now);
                guesses
            })
            .sum();
        // Four windows come back, after the budget that was there at the start.
        assert!(guesses <= 5 * BUDGET + u32::from(count), "{count}: {guesses}");
        assert!(fleet.members(at(SETTLED_S + 239.0)).contains(&1), "{count}");
    }
}

#[test]
fn more_nodes_than_were_said_to_be_there_divide_as_many_as_they_hear() {
    for (said, count) in [(1, 8), (2, 4), (4, 8)] {
        let (mut fleet, mut guesser) = (Nodes::new(count), Guesser::default());
        fleet.nodes.iter().for_each(|node| node.divide(said));
        fleet.pass(1000.0, SETTLED_S);
        let guesses = fleet.guessed_at(&mut guesser, SETTLED_S, SETTLED_S + 10.0);
        assert!(guesses <= BUDGET + u32::from(count) + 10, "{said}, {count}: {guesses}");
    }
}

/// While one is alone, failures elsewhere do not cost as much as its own.
#[test]
fn failures_elsewhere_block_a_user_at_a_node_that_is_alone_no_sooner_than_at_the_others() {
    let (mut fleet, mut guesser) = (Nodes::new(8), Guesser::default());
    fleet.pass(1000.0, 1005.0);
    // A third of the budget, which seven parts of it are.
    for second in 0..3 {
        let now = at(1005.0 + f64::from(second));
        assert!(fleet.nodes[1..].iter_mut().all(|node| guesser.guess(node, now, Origin::Proven)));
        fleet.exchange(now);
    }
    fleet.pass(1008.0, 1011.0);
    assert!(guesser.guess(&mut fleet.nodes[0], at(1011.0), Origin::Proven));
}

#[test]
fn a_flood_of_names_beside_the_guesses_makes_no_message_too_long_and_no_more_than_twice_as_many_guesses() {
    let (mut fleet, mut guesser) = (Nodes::settled(2), Guesser::default());
    let mut guesses = 0;
    for second in 0..10 {
        let now = at(SETTLED_S + f64::from(second));
        for number in 0..3000 {
            let name = format!("{:064}", second * 3000 + number);
            guesser.refused_for(&mut fleet.nodes[0], &name, now, Origin::Proven);
        }
        guesses += fleet.guesses_at_all(&mut guesser, now);
        fleet.exchange(now);
    }
    assert!((BUDGET / 2..=2 * (BUDGET + 2) + 10).contains(&guesses), "{guesses}");
}

//! A guess is given back by a login that succeeds, once.

use std::time::Duration;

use letmein_auth_proto::client::Step;
use letmein_auth_proto::wire::Verdict;

use super::guesses::{begin, guess, logs_in, say, server, server_of_cluster, source};
use crate::at;
use crate::link::opaque_client;

#[test]
fn two_first_logins_at_once_give_back_both_of_their_guesses() {
    let mut server = server();
    for round in 0..30 {
        let mut clients = [0, 1].map(|it| opaque_client("alice", "right", Duration::MAX, 2 * round + it));
        for client in &mut clients {
            begin(client, |bytes| say(&mut server, at(1000.0), source(1), bytes));
        }
        for client in &mut clients {
            let Step::Send { bytes, .. } = client.next(Duration::ZERO) else {
                panic!("no offer in round {round}")
            };
            let verdict = say(&mut server, at(1000.0), source(1), bytes);
            client.receive(Duration::ZERO, &verdict);
            assert!(matches!(client.next(Duration::ZERO), Step::Done(Ok(Verdict::Welcome))));
        }
    }
    let guesses = (0..40).filter(|number| guess(&mut server, at(1000.0), source(1), "victim", 1000 + number));
    assert_eq!(guesses.count(), 20);
}

#[test]
fn two_hundred_people_behind_one_address_get_in_and_each_gives_a_guess_back() {
    let mut server = server();
    assert!((0..200).all(|number| logs_in(&mut server, at(1000.0), source(1), "alice", number)));
}

#[test]
fn an_account_of_ones_own_buys_no_guesses_at_another() {
    let mut server = server();
    let mut guesses = 0;
    for number in 0..500 {
        let now = at(1000.0);
        assert!(logs_in(&mut server, now, source(1), "alice", 2 * number), "{number}");
        guesses += u32::from(guess(&mut server, now, source(1), "victim", 2 * number + 1));
    }
    assert!((19..=21).contains(&guesses), "{guesses}");
}

#[test]
fn a_login_gives_its_guess_back_to_the_server_where_it_began_alone() {
    for (ends_where_it_began, guesses_after) in [(true, 1), (false, 0)] {
        let [mut begins, mut other] = [1, 2].map(server_of_cluster);
        let ends = if ends_where_it_began { None } else { Some(&mut other) };
        let (now, peer) = (at(1000.0), source(1));
        let mut client = opaque_client("alice", "right", Duration::MAX, 100);
        begin(&mut client, |bytes| say(&mut begins, now, peer, bytes));
        let ends = ends.unwrap_or(&mut begins);
        let mut guesses = (0..30).map(|number| (number, format!("user{number}")));
        while guesses.next().is_some_and(|(number, name)| guess(ends, now, peer, &name, number)) {}
        let Step::Send { bytes, .. } = client.next(Duration::ZERO) else { panic!("no offer came") };
        // As often as they like.
        for _ in 0..3 {
            assert!(say(ends, now, peer, bytes).len() > 6);
        }
        let after = (200..210).filter(|number| guess(ends, now, peer, &format!("user{number}"), *number));
        assert_eq!(after.count(), guesses_after);
    }
}

//! A guess is given back by a login that succeeds, once.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::client::Step;
use letmein_auth_proto::opaque::client::Client;
use letmein_auth_proto::server::event::Event;
use letmein_auth_proto::server::recent::{Sighting, Welcomes};
use letmein_auth_proto::wire::Verdict;
use letmein_auth_proto::{Now, Peer};

use super::guesses::{Guarded, begin, guess, logs_in, say, server, server_of_cluster, source, worker_beside};
use super::users_named;
use crate::link::opaque_client;
use crate::{at, echoing_answer};

/// One of the subscribers of a provider, each of whom has a /64 of one /48.
fn subscriber(number: u16) -> Peer {
    SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 1, number, 0, 0, 0, 1), 5000)).into()
}

/// How many of these guesses get an offer, each at another name.
fn guesses(server: &mut Guarded, now: Now, peer: Peer, numbers: std::ops::Range<u64>) -> usize {
    numbers.filter(|number| guess(server, now, peer, &format!("user{number}"), *number)).count()
}

/// A login of alice up to its FINISH, which is not sent.
fn finish(server: &mut Guarded, now: Now, peer: Peer, number: u64) -> Vec<u8> {
    let mut client = opaque_client("alice", "right", Duration::MAX, number);
    begin(&mut client, |bytes| say(server, now, peer, bytes));
    let Step::Send { bytes, .. } = client.next(Duration::ZERO) else { panic!("no offer came") };
    bytes.to_vec()
}

/// Has a client say all that it has to say now, and tells whether it is welcome.
fn speak(client: &mut Client, elapsed: Duration, server: &mut Guarded, now: Now, peer: Peer) -> bool {
    loop {
        let mut reply = Vec::new();
        match client.next(elapsed) {
            Step::Send { bytes, .. } => {
                drop(server.server.datagram(&server.users, now, peer, bytes, &mut reply))
            }
            Step::WaitUntil(_) => return false,
            Step::Done(outcome) => return outcome == Ok(Verdict::Welcome),
        }
        client.receive(elapsed, &reply);
    }
}

fn sighting(server: &mut Guarded, now: Now, peer: Peer, finish: &[u8]) -> Sighting {
    let event = server.server.datagram(&server.users, now, peer, finish, &mut Vec::new()).event;
    let Event::Welcomed { sighting, .. } = event else { panic!("{event:?}") };
    sighting
}

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

/// They all begin before any of them finishes, and the address has twenty guesses.
#[test]
fn two_hundred_people_behind_one_address_get_in_within_seconds() {
    let names: Vec<_> = (0..200).map(|number| format!("person{number}")).collect();
    let mut server = Guarded { users: users_named(&names), ..server() };
    let peer = |port: usize| Peer::from(SocketAddr::from(([10, 0, 0, 1], 5000 + port as u16)));
    let mut people: Vec<_> = names
        .iter()
        .zip(0..)
        .map(|(name, seed)| opaque_client(name, "right", Duration::from_secs(15), seed))
        .collect();
    let (mut elapsed, mut in_at_once) = (Duration::ZERO, 0);
    loop {
        let now = at(1000.0 + elapsed.as_secs_f64());
        let (mut are_in, mut offers) = (0, Vec::new());
        for (port, client) in people.iter_mut().enumerate() {
            are_in += usize::from(speak(client, elapsed, &mut server, now, peer(port)));
            let mut offer = Vec::new();
            server.server.offer(&server.users, now, &mut offer);
            offers.push(offer);
        }
        for (client, offer) in people.iter_mut().zip(offers) {
            client.receive(elapsed, &offer);
        }
        if elapsed.is_zero() {
            in_at_once = are_in;
        }
        if are_in == people.len() {
            break;
        }
        elapsed += Duration::from_millis(10);
    }
    assert_eq!(in_at_once, 0);
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
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

/// The kernel sends what comes to another address of the server to another of its workers.
#[test]
fn a_finish_that_is_repeated_to_another_worker_gives_nothing_back() {
    let mut worker = server();
    let mut other = worker_beside(&worker);
    let (now, peer) = (at(1000.0), source(1));
    let finish = finish(&mut worker, now, peer, 100);
    assert_eq!(guesses(&mut worker, now, peer, 0..30), 19);
    assert_eq!(sighting(&mut worker, now, peer, &finish), Sighting::First);
    assert_eq!(sighting(&mut other, now, peer, &finish), Sighting::First);
    assert_eq!(guesses(&mut worker, now, peer, 200..230), 1);
}

#[test]
fn no_number_of_logins_by_md5_makes_a_repeated_finish_count_again() {
    let mut server = server();
    let now = at(1000.0);
    let finish = finish(&mut server, now, source(1), 1);
    assert_eq!(sighting(&mut server, now, source(1), &finish), Sighting::First);
    for number in 0..2 * Welcomes::CAPACITY as u32 {
        let mut challenge = Vec::new();
        let (users, peer) = (&server.users, source(100 + number));
        server.server.datagram(users, now, peer, b"Authentication Request", &mut challenge);
        let answer = echoing_answer("md5", "right", Challenge::from_digits(&challenge).unwrap());
        let reaction = server.server.datagram(users, now, peer, answer.as_bytes(), &mut Vec::new());
        assert!(matches!(reaction.event, Event::Welcomed { sighting: Sighting::First, .. }));
    }
    assert_eq!(sighting(&mut server, now, source(1), &finish), Sighting::Repeat);
}

#[test]
fn the_48_of_an_ipv6_source_has_four_times_its_guesses() {
    let mut server = server();
    let now = at(1000.0);
    let of_each = [1, 2, 3, 4, 5].map(|number| {
        let first = u64::from(number) * 100;
        guesses(&mut server, now, subscriber(number), first..first + 30)
    });
    assert_eq!(of_each, [20, 20, 20, 20, 0]);
    // What the /48 refused has cost the last /64 nothing: three more are paid off, and they are its.
    assert_eq!(guesses(&mut server, at(1002.3), subscriber(5), 600..630), 3);
    // Each gives its guess back at both.
    let mut server = self::server();
    assert!((0..200).all(|number| logs_in(&mut server, now, subscriber(number), "alice", number.into())));
}

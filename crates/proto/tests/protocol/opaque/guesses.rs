//! How often a password can be guessed at by whoever knows the rules.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use letmein_auth_proto::client::Step;
use letmein_auth_proto::opaque::client::Client;
use letmein_auth_proto::opaque::stretching::Stretching;
use letmein_auth_proto::server::event::{Event, Reason, Refusal};
use letmein_auth_proto::server::penalty::{Budget, GuessBudgets, Penalties, Policy};
use letmein_auth_proto::server::{Keys, Seed, Server};
use letmein_auth_proto::users::Users;
use letmein_auth_proto::wire::Verdict;
use letmein_auth_proto::{Now, Peer};

use super::users_with;
use crate::at;
use crate::cluster::cluster_keys;
use crate::link::opaque_client;

/// A server with the usual budgets. What is known of its users is known to it alone.
pub(super) struct Guarded {
    pub(super) server: Server,
    pub(super) penalties: Arc<Penalties>,
    pub(super) users: Users,
}

pub(super) fn server() -> Guarded {
    server_with(GuessBudgets::default())
}

pub(super) fn server_with(of_guesses: GuessBudgets) -> Guarded {
    server_numbered(1, of_guesses)
}

/// One of several servers that share keys.
pub(super) fn server_of_cluster(number: u8) -> Guarded {
    let guarded = server_numbered(number, GuessBudgets::default());
    Guarded { users: guarded.users.with_cluster_keys(cluster_keys(&[(0, 'A')])), ..guarded }
}

fn server_numbered(number: u8, of_guesses: GuessBudgets) -> Guarded {
    let penalties = Arc::new(Penalties::new(&[number; 16], Policy { of_guesses, ..Policy::default() }));
    worker(number, number, penalties)
}

fn worker(server: u8, seed: u8, penalties: Arc<Penalties>) -> Guarded {
    Guarded {
        server: Server::new(&Keys::known(server), Seed([seed; 32]), penalties.clone(), None),
        penalties,
        users: users_with(Stretching::NONE),
    }
}

/// Another worker of the first server.
pub(super) fn worker_beside(first: &Guarded) -> Guarded {
    worker(1, 2, first.penalties.clone())
}

/// One of several nodes among which the budgets of users are divided.
fn one_of(nodes: u32) -> Guarded {
    let guarded = server();
    guarded.penalties.divide(NonZeroU32::new(nodes).unwrap());
    guarded
}

pub(super) fn source(number: u32) -> Peer {
    SocketAddr::from(([10, (number >> 16) as u8, (number >> 8) as u8, number as u8], 5000)).into()
}

/// What the server says to this, at once or when its turn comes.
pub(super) fn say(server: &mut Guarded, now: Now, peer: Peer, bytes: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    server.server.datagram(&server.users, now, peer, bytes, &mut reply);
    server.server.offer(&server.users, now, &mut reply);
    reply
}

/// Begins a login, and tells whether an offer came. It is never finished.
pub(super) fn guess(server: &mut Guarded, now: Now, peer: Peer, user: &str, number: u64) -> bool {
    let mut client = opaque_client(user, "guess", Duration::MAX, number);
    begin(&mut client, |bytes| say(server, now, peer, bytes)).first() == Some(&0xff)
}

/// Plays the first two messages, and gives the reply to the second.
pub(super) fn begin(client: &mut Client, mut say: impl FnMut(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut reply = Vec::new();
    for _ in 0..2 {
        let Step::Send { bytes, .. } = client.next(Duration::ZERO) else { panic!("nothing is sent") };
        reply = say(bytes);
        client.receive(Duration::ZERO, &reply);
    }
    reply
}

/// Logs in, if the server lets it begin.
pub(super) fn logs_in(server: &mut Guarded, now: Now, peer: Peer, user: &str, number: u64) -> bool {
    let mut client = opaque_client(user, "right", Duration::MAX, number);
    begin(&mut client, |bytes| say(server, now, peer, bytes));
    if let Step::Send { bytes, .. } = client.next(Duration::ZERO) {
        let verdict = say(server, now, peer, bytes);
        client.receive(Duration::ZERO, &verdict);
    }
    matches!(client.next(Duration::ZERO), Step::Done(Ok(Verdict::Welcome)))
}

#[test]
fn a_source_that_never_finishes_has_twenty_guesses_and_then_twenty_a_minute() {
    let mut server = server();
    let mut guesses = 0;
    // Two a second, for an hour, each at another name.
    for number in 0..7200 {
        let now = at(1000.0 + 0.5 * number as f64);
        guesses += u32::from(guess(&mut server, now, source(1), &format!("user{number}"), number));
    }
    assert!((20 + 60 * 20 - 2..=20 + 60 * 20).contains(&guesses), "{guesses}");
}

#[test]
fn a_user_has_sixty_guesses_and_then_sixty_a_minute_from_all_sources() {
    let mut server = server();
    let (mut guesses, mut number) = (0, 0);
    for second in 0..600 {
        for host in 0..200 {
            number += 1;
            let now = at(1000.0 + f64::from(second));
            guesses += u32::from(guess(&mut server, now, source(host), "alice", number));
        }
    }
    assert!((60 + 10 * 60 - 2..=60 + 10 * 60).contains(&guesses), "{guesses}");
}

#[test]
fn beyond_a_thousand_guesses_a_day_strangers_are_refused_and_known_sources_are_not() {
    let mut server = server();
    assert!(logs_in(&mut server, at(1000.0), source(1), "alice", 1));
    for number in 0..1100 {
        let now = at(1001.0 + f64::from(number) * 1.5);
        assert!(guess(&mut server, now, source(100 + number % 500), "alice", 10 + u64::from(number)));
    }
    let then = at(2660.0);
    let mut client = opaque_client("alice", "right", Duration::MAX, 2);
    begin(&mut client, |bytes| say(&mut server, then, source(2), bytes));
    let Step::Send { bytes, .. } = client.next(Duration::ZERO) else { panic!("nothing is sent") };
    let mut verdict = Vec::new();
    let event = server.server.datagram(&server.users, then, source(2), bytes, &mut verdict).event;
    let Event::Refused(Refusal { reason, .. }) = event else { panic!("{event:?}") };
    assert_eq!(reason, Reason::TriedTooOften, "the right password of a stranger");
    assert!(logs_in(&mut server, then, source(1), "alice", 3), "the right password of a known source");
}

#[test]
fn the_thousandth_guess_of_a_day_is_one_and_the_next_is_not() {
    let fast = Some(Budget { count: 255, window: Duration::from_secs(1) });
    let mut server = server_with(GuessBudgets { of_user: fast, ..GuessBudgets::default() });
    for number in 0..999 {
        let now = at(1000.0 + f64::from(number) * 0.005);
        assert!(guess(&mut server, now, source(number), "alice", number.into()));
    }
    let now = at(1005.0);
    // It is given back.
    assert!(logs_in(&mut server, now, source(2000), "alice", 2000));
    assert!(guess(&mut server, now, source(2001), "alice", 2001));
    assert!(!logs_in(&mut server, now, source(2002), "alice", 2002));
}

#[test]
fn the_debt_of_a_day_does_not_grow_beyond_its_budget() {
    let mut server = server();
    for number in 0..3000 {
        let now = at(1000.0 + f64::from(number) * 1.5);
        assert!(guess(&mut server, now, source(100 + number % 500), "alice", 10 + u64::from(number)));
    }
    assert!(!logs_in(&mut server, at(5500.0), source(2), "alice", 1));
    // A guess of the day is paid off in 86.4 s.
    assert!(logs_in(&mut server, at(5800.0), source(3), "alice", 2));
}

#[test]
fn one_of_eight_nodes_has_an_eighth_of_the_guesses_at_a_user() {
    let mut node = one_of(8);
    let at_once =
        (0..100).filter(|number| guess(&mut node, at(1000.0), source(*number), "alice", (*number).into()));
    assert_eq!(at_once.count(), 7);
    // And an eighth of those of a day, from which the whole 1,000 were far.
    let mut node = one_of(8);
    for number in 0..130 {
        let now = at(1000.0 + f64::from(number) * 9.0);
        assert!(guess(&mut node, now, source(100 + number), "alice", u64::from(number)), "{number}");
    }
    let then = at(1000.0 + 130.0 * 9.0);
    assert!(!logs_in(&mut node, then, source(2), "alice", 1000));
    // One that is given back was none.
    let mut node = one_of(8);
    for number in 0..130 {
        let now = at(1000.0 + f64::from(number) * 9.0);
        assert!(logs_in(&mut node, now, source(100 + number), "alice", u64::from(number)), "{number}");
    }
}

#[test]
fn one_of_more_nodes_than_there_are_guesses_has_one_a_minute() {
    let mut node = one_of(1000);
    let mut guesses_at = |seconds: f64| {
        let numbers = (0..10).map(|number| number + seconds as u32 * 100);
        numbers
            .filter(|number| guess(&mut node, at(seconds), source(*number), "alice", (*number).into()))
            .count()
    };
    assert_eq!([1000.0, 1030.0, 1060.0, 1061.0].map(&mut guesses_at), [1, 0, 1, 0]);
}

#[test]
fn without_a_budget_of_users_none_is_guessed_at_too_often_in_a_day() {
    let mut server = server_with(GuessBudgets { of_user: None, ..GuessBudgets::default() });
    for number in 0..1100 {
        assert!(guess(&mut server, at(1000.0), source(100 + number % 500), "alice", 10 + u64::from(number)));
    }
    assert!(logs_in(&mut server, at(1000.0), source(2), "alice", 1));
}

#[test]
fn a_guess_that_is_refused_costs_its_source_nothing() {
    let mut server = server();
    for number in 0..60 {
        assert!(guess(&mut server, at(1000.0), source(100 + number as u32), "alice", number));
    }
    assert!((0..100).all(|number| !guess(&mut server, at(1000.0), source(1), "alice", 100 + number)));
    assert!((0..20).all(|number| guess(
        &mut server,
        at(1000.0),
        source(1),
        &format!("user{number}"),
        300 + number
    )));
}

/// The first time the name was over its budget. That must not make the second time free for the source.
#[test]
fn a_begin_that_was_refused_is_debited_when_it_comes_again() {
    let mut server = server();
    for number in 0..60 {
        assert!(guess(&mut server, at(1000.0), source(100 + number as u32), "alice", number));
    }
    assert!(!guess(&mut server, at(1000.0), source(1), "alice", 100));
    assert!(guess(&mut server, at(1060.0), source(1), "alice", 100));
    let more = (0..30).filter(|number| guess(&mut server, at(1060.0), source(1), "alice", 200 + number));
    assert_eq!(more.count(), 19);
}

#[test]
fn the_same_begin_is_one_guess_however_often_it_comes() {
    let mut server = server();
    let mut client = opaque_client("alice", "guess", Duration::MAX, 1);
    let mut last = Vec::new();
    begin(&mut client, |bytes| {
        last = bytes.to_vec();
        say(&mut server, at(1000.0), source(1), bytes)
    });
    let first = say(&mut server, at(1000.0), source(1), &last);
    assert!((0..100).all(|_| say(&mut server, at(1001.0), source(1), &last) == first));
    let more = (0..40).filter(|number| guess(&mut server, at(1001.0), source(1), "alice", 10 + number));
    assert_eq!(more.count(), 19);
}

#[test]
fn a_flood_of_strangers_keeps_out_no_source_that_has_logged_in_before() {
    let mut server = server();
    assert!(logs_in(&mut server, at(1000.0), source(1), "alice", 1));
    let mut clients: Vec<_> = (0..500)
        .map(|number| opaque_client(&format!("user{number}"), "guess", Duration::MAX, number))
        .collect();
    // All begin, and only then offers are made: the places are full.
    for (number, client) in clients.iter_mut().enumerate() {
        let peer = source(100 + number as u32);
        begin(client, |bytes| {
            let mut reply = Vec::new();
            server.server.datagram(&server.users, at(1010.0), peer, bytes, &mut reply);
            reply
        });
    }
    let mut client = opaque_client("alice", "right", Duration::MAX, 1000);
    let mut offers = Vec::new();
    begin(&mut client, |bytes| {
        let mut reply = Vec::new();
        server.server.datagram(&server.users, at(1010.0), source(1), bytes, &mut reply);
        reply
    });
    let mut offer = Vec::new();
    while let Some((peer, _)) = server.server.offer(&server.users, at(1010.0), &mut offer) {
        offers.push(peer.host().to_string());
        offer.clear();
    }
    assert_eq!((offers.len(), offers[0].as_str()), (64, "10.0.0.1"));
}

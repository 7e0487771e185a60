//! Several servers with one set of users and keys: a login may begin at one and end at another.

use std::time::Duration;

use letmein_auth_proto::Now;
use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::client::{Sending, Step};
use letmein_auth_proto::opaque::stretching::Stretching;
use letmein_auth_proto::server::Server;
use letmein_auth_proto::server::event::Event;
use letmein_auth_proto::server::keyring::ClusterKey;
use letmein_auth_proto::users::Users;
use letmein_auth_proto::wire::Verdict;
use letmein_auth_users::{parse_cluster_keys, second_text};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::link::{Node, Simulation, WallClock, Weather, opaque_client};
use crate::opaque::users_with;
use crate::{peer, plain_answer, sample_users, server};

const CLIENT: &str = "192.0.2.1:5000";
/// When the simulated logins begin, by the wall clock.
const BEGIN_UNIX_S: u64 = 1_767_225_600 + 1000;

/// Keys of a cluster, each with the second from which it counts; the letter is its only one.
pub(crate) fn cluster_keys(keys: &[(u64, char)]) -> Option<Vec<ClusterKey>> {
    let line = |(from, letter): &(u64, char)| {
        format!("{} {}", second_text(*from).unwrap(), letter.to_string().repeat(43))
    };
    let lines: Vec<_> = keys.iter().map(line).collect();
    Some(parse_cluster_keys(&lines.join("\n")).unwrap())
}

/// alice may log in, with the password `right`.
fn opaque_users() -> Users {
    users_with(Stretching::NONE)
}

fn with_key(users: Users) -> Users {
    users.with_cluster_keys(cluster_keys(&[(0, 'A')]))
}

/// Servers with keys of their own, too, and with these clocks.
fn nodes(clocks: &[WallClock]) -> Vec<Node> {
    let numbered = clocks.iter().zip(1..);
    numbered.map(|(clock, number)| Node { server: server(number), clock: *clock }).collect()
}

fn ahead(seconds: &[i64]) -> Vec<Node> {
    nodes(&seconds.iter().copied().map(WallClock::Ahead).collect::<Vec<_>>())
}

fn fair_weather() -> Weather {
    Weather::fair(0.001..=0.02)
}

/// The most datagrams that our client sent for any of 200 logins by MD5, all of which succeeded.
fn sends(users: &Users, nodes: impl Fn() -> Vec<Node>) -> u32 {
    let login = |seed| {
        let login =
            Simulation::new(fair_weather(), users, seed).over(nodes()).login("userone", "passwordone");
        assert_eq!(login.outcome, Ok(Verdict::Welcome), "{seed}");
        login.sent
    };
    (0..200).map(login).max().unwrap()
}

/// How many of 200 of the first clients are welcome: they send each message once, and do not carry a challenge back.
fn first_clients(users: &Users, mut nodes: Vec<Node>, random: &mut SmallRng) -> usize {
    let mut login = |number: u32| {
        let mut said_back = |uptime_s: f64, message: &str| {
            let Node { server, clock } = &mut nodes[random.random_range(0..2)];
            let mut reply = Vec::new();
            server.datagram(users, clock.at(uptime_s), peer(CLIENT), message.as_bytes(), &mut reply);
            reply
        };
        let uptime_s = 1000.0 + f64::from(number) * 0.1;
        let challenge = Challenge::from_lower_digits(&said_back(uptime_s, "Authentication request")).unwrap();
        said_back(uptime_s + 0.02, &plain_answer("userone", "passwordone", challenge)) == b"Y"
    };
    (0..200).filter(|number| login(*number)).count()
}

#[test]
fn every_datagram_may_come_to_another_server() {
    let (users, random) = (with_key(sample_users()), &mut SmallRng::seed_from_u64(1));
    assert_eq!(sends(&users, || ahead(&[0, 0])), 2);
    assert_eq!(first_clients(&users, ahead(&[0, 0]), random), 200);
    // With a key of its own for each server, half of the first clients would be refused.
    assert!(first_clients(&sample_users(), ahead(&[0, 0]), random) < 150);
}

#[test]
fn clocks_may_differ_by_two_seconds() {
    let (users, random) = (with_key(sample_users()), &mut SmallRng::seed_from_u64(2));
    for skew in -2..=2 {
        assert_eq!(sends(&users, || ahead(&[0, skew])), 2, "{skew}");
        assert_eq!(first_clients(&users, ahead(&[0, skew]), random), 200, "{skew}");
    }
}

#[test]
fn our_client_logs_in_whatever_the_clocks_show_and_whatever_keys_a_server_has() {
    let users = with_key(sample_users());
    for skew in [-3600, -20, -16, -3, 3, 16, 20, 3600] {
        assert!(sends(&users, || ahead(&[0, skew])) > 2, "{skew}");
    }
    assert!(sends(&users, || nodes(&[WallClock::Ahead(0), WallClock::SetBack])) > 2);
    assert!(sends(&sample_users(), || ahead(&[0, 0])) > 2);
    let users = with_key(opaque_users());
    for (seed, skew) in (0..100).zip([-3600, -16, -3, 3, 16, 3600].into_iter().cycle()) {
        let simulation = Simulation::new(fair_weather(), &users, seed).over(ahead(&[0, skew]));
        assert_eq!(simulation.opaque_login("alice", "right").outcome, Ok(Verdict::Welcome), "{skew}");
    }
}

#[test]
fn a_key_takes_the_place_of_another_under_logins() {
    for change in -3..=3 {
        let from = BEGIN_UNIX_S.saturating_add_signed(change);
        let users = sample_users().with_cluster_keys(cluster_keys(&[(0, 'A'), (from, 'E')]));
        assert_eq!(sends(&users, || ahead(&[0, 1])), 2, "{change}");
        assert_eq!(first_clients(&users, ahead(&[0, 1]), &mut SmallRng::seed_from_u64(3)), 200);
    }
}

#[test]
fn a_login_by_opaque_may_end_where_it_did_not_begin() {
    let users = with_key(opaque_users());
    for seed in 0..50 {
        for clocks in [[0, 0], [0, 2], [-2, 0]] {
            let simulation = Simulation::new(fair_weather(), &users, seed).over(ahead(&clocks));
            let login = simulation.opaque_login("alice", "right");
            assert_eq!((login.outcome, login.sent, login.offers), (Ok(Verdict::Welcome), 3, 1));
        }
    }
}

#[test]
fn a_login_by_opaque_goes_on_where_other_keys_take_effect_in_its_middle() {
    let key = with_key(opaque_users());
    let [other, none] = [Some('E'), None].map(|letter| {
        opaque_users().with_cluster_keys(letter.and_then(|letter| cluster_keys(&[(0, letter)])))
    });
    for users in [&other, &none] {
        let (mut server, mut client) =
            (server(1), opaque_client("alice", "right", Duration::from_secs(15), 1));
        let (now, mut changed) = (WallClock::Ahead(0).at(1000.0), false);
        let outcome = loop {
            match client.next(Duration::ZERO) {
                Step::Send { bytes, sending } => {
                    changed |= sending == Sending::Finish;
                    let bytes = bytes.to_vec();
                    let reply = said_back(&mut server, if changed { users } else { &key }, now, &bytes);
                    client.receive(Duration::ZERO, &reply);
                }
                Step::WaitUntil(_) => panic!("a reply is missing"),
                Step::Done(outcome) => break outcome,
            }
        };
        assert_eq!(outcome, Ok(Verdict::Welcome));
    }
}

/// What a server says to these messages of one login by OPAQUE, one after the other.
fn said_back(server: &mut Server, users: &Users, now: Now, message: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    server.datagram(users, now, peer(CLIENT), message, &mut reply);
    if reply.is_empty() {
        server.offer(users, now, &mut reply);
    }
    reply
}

#[test]
fn a_state_is_good_for_33_ticks_and_the_skew_at_servers_with_its_key_and_at_no_other() {
    let shared = with_key(opaque_users());
    let foreign = opaque_users().with_cluster_keys(cluster_keys(&[(0, 'E')]));
    let alone = opaque_users();
    for (users, later_s, is_good) in [
        (&shared, -2.0, true),
        (&shared, -3.0, false),
        (&shared, 34.0, true),
        (&shared, 35.0, false),
        (&foreign, 0.0, false),
        (&alone, 0.0, false),
    ] {
        let (mut begins, mut ends) = (server(1), server(2));
        let mut client = opaque_client("alice", "right", Duration::from_secs(15), 1);
        let now = Duration::ZERO;
        let finish = loop {
            let Step::Send { bytes, sending } = client.next(now) else { panic!("nothing to send") };
            let bytes = bytes.to_vec();
            if sending == Sending::Finish {
                break bytes;
            }
            let reply = said_back(&mut begins, &shared, WallClock::Ahead(0).at(1000.0), &bytes);
            client.receive(now, &reply);
        };
        let mut reply = Vec::new();
        let then = WallClock::Ahead(0).at(1000.0 + later_s);
        let reaction = ends.datagram(users, then, peer(CLIENT), &finish, &mut reply);
        assert_eq!(matches!(reaction.event, Event::Welcomed { .. }), is_good, "{later_s}");
        assert!(is_good || reaction.event == Event::Rechallenged);
    }
}

//! Forged datagrams beside those of a real server: the client's verdicts and its conflicts.

use std::time::Duration;

use letmein_auth_proto::backoff::FIRST_WAIT;
use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::client::{Client, Failure, Receipt, Resends, Step};
use letmein_auth_proto::credentials::{Password, Username};
use letmein_auth_proto::wire::Verdict;

use crate::link::{Simulation, Weather};
use crate::sample_users;

const WELCOME: &str = "Welcome to our service.";
const REFUSED: &str = "User authorization failed.";
const CONFLICT: Step<'_> = Step::Done(Err(Failure::Conflict));

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn challenge(number: u64) -> String {
    Challenge::from_random(number).to_string()
}

fn new_challenge(number: u64) -> String {
    format!("New challenge {}", challenge(number))
}

fn client(resends: Resends) -> Client {
    let (name, password): (Username, _) = ("userone".parse().unwrap(), Password::new("passwordone").unwrap());
    Client::new(&name, &password, resends, Duration::from_secs(15), 1)
}

/// Takes all steps that send, and gives the first other one.
fn rest(client: &mut Client, now: Duration) -> Step<'static> {
    loop {
        match client.next(now) {
            Step::Send { .. } => {}
            Step::WaitUntil(time) => return Step::WaitUntil(time),
            Step::Done(outcome) => return Step::Done(outcome),
        }
    }
}

/// A client that sends its request at 0 ms, and then receives these messages at these milliseconds.
fn after(heard: &[(u64, &str)]) -> Client {
    let mut client = client(Resends::Timed);
    rest(&mut client, Duration::ZERO);
    for (time, message) in heard {
        rest(&mut client, ms(*time));
        client.receive(ms(*time), message.as_bytes());
        rest(&mut client, ms(*time));
    }
    client
}

#[test]
fn a_forged_verdict_and_the_real_one_after_it_are_a_conflict() {
    for (forged, real) in [(WELCOME, REFUSED), (REFUSED, WELCOME)] {
        let mut client = after(&[(10, &challenge(1)), (12, forged), (20, real)]);
        assert_eq!(rest(&mut client, ms(20)), CONFLICT);
    }
}

#[test]
fn a_forged_challenge_and_welcome_and_the_servers_new_challenge_after_them_are_a_conflict() {
    let mut client = after(&[(6, &challenge(1)), (6, WELCOME), (11, &new_challenge(2))]);
    assert_eq!(rest(&mut client, ms(11)), CONFLICT);
}

#[test]
fn a_forger_cannot_explain_the_servers_new_challenge_by_one_of_their_own() {
    let forged = [(6, &*challenge(1)), (6, &*new_challenge(2)), (6, WELCOME)];
    let mut client = after(&forged);
    assert_eq!(client.receive(ms(11), new_challenge(3).as_bytes()), Receipt::Taken);
    assert!(matches!(client.next(ms(11)), Step::Send { .. }), "the server is not asked for its verdict");
    assert!(matches!(rest(&mut client, ms(200)), Step::WaitUntil(_)));
    client.receive(ms(200), REFUSED.as_bytes());
    assert_eq!(rest(&mut client, ms(200)), CONFLICT);
}

#[test]
fn a_verdict_that_a_late_new_challenge_makes_doubtful_is_none_until_it_comes_again() {
    let heard = [(10, &*challenge(1)), (20, &*new_challenge(2)), (30, WELCOME), (40, &*new_challenge(3))];
    assert_eq!(rest(&mut after(&heard), ms(15_000)), Step::Done(Err(Failure::NoVerdict)));
    let mut client = after(&[&heard[..], &[(50, WELCOME)]].concat());
    assert_eq!(rest(&mut client, ms(200)), Step::Done(Ok(Verdict::Welcome)));
}

#[test]
fn a_late_new_challenge_for_one_of_two_answers_is_no_conflict() {
    let heard = [(10, &*challenge(1)), (400, WELCOME), (410, &*new_challenge(2)), (420, WELCOME)];
    assert_eq!(rest(&mut after(&heard), ms(600)), Step::Done(Ok(Verdict::Welcome)));
}

#[test]
fn a_new_challenge_that_has_been_answered_changes_nothing() {
    let renewed = [(10, &*challenge(1)), (20, &*new_challenge(2)), (30, &*new_challenge(3))];
    let mut client = after(&renewed);
    assert_eq!(client.receive(ms(40), new_challenge(2).as_bytes()), Receipt::Ignored);
    client.receive(ms(40), WELCOME.as_bytes());
    assert_eq!(client.receive(ms(50), new_challenge(2).as_bytes()), Receipt::Ignored);
    assert_eq!(rest(&mut client, ms(80)), Step::Done(Ok(Verdict::Welcome)));
}

#[test]
fn six_new_challenges_are_a_conflict() {
    let challenges: Vec<_> = (2..8).map(new_challenge).collect();
    let first = (10, challenge(1));
    let heard: Vec<_> = challenges.iter().map(|message| (10, &**message)).collect();
    let mut client = after(&[&[(10, &*first.1)], &heard[..5]].concat());
    assert!(matches!(rest(&mut client, ms(10)), Step::WaitUntil(_)));
    client.receive(ms(10), heard[5].1.as_bytes());
    assert_eq!(rest(&mut client, ms(10)), CONFLICT);
}

#[test]
fn more_than_two_challenges_for_a_request_are_a_conflict_at_any_time() {
    let two = [(10, &*challenge(1)), (10, &*challenge(2)), (10, &*challenge(1)), (11, &*challenge(2))];
    let third = &*challenge(3);
    assert_eq!(rest(&mut after(&[&two[..], &[(11, third)]].concat()), ms(11)), CONFLICT);
    assert_eq!(rest(&mut after(&[&two[..], &[(20, WELCOME), (30, third)]].concat()), ms(30)), CONFLICT);
}

#[test]
fn two_challenges_for_each_of_two_requests_are_honest_and_make_the_client_listen_for_longer() {
    let challenges: Vec<_> = (1..5).map(challenge).collect();
    let mut heard: Vec<_> = challenges.iter().map(|message| (300, &**message)).collect();
    heard.push((310, WELCOME));
    let mut client = after(&heard);
    assert_eq!(rest(&mut client, ms(310)), Step::WaitUntil(ms(310) + FIRST_WAIT));
    assert_eq!(rest(&mut client, ms(310) + FIRST_WAIT), Step::Done(Ok(Verdict::Welcome)));
}

#[test]
fn a_second_challenge_after_the_verdict_makes_the_client_listen_for_longer_too() {
    let mut client = after(&[(10, &challenge(1)), (20, WELCOME), (30, &challenge(2))]);
    assert_eq!(rest(&mut client, ms(30)), Step::WaitUntil(ms(20) + FIRST_WAIT));
}

#[test]
fn the_client_listens_for_as_long_again_as_the_login_took_within_limits() {
    for (verdict_ms, listens_ms) in [(0, 2), (1, 2), (30, 30), (100, 100), (4000, 100)] {
        let mut client = after(&[(0, &challenge(1)), (verdict_ms, REFUSED)]);
        let until = ms(verdict_ms + listens_ms);
        assert_eq!(client.next(ms(verdict_ms)), Step::WaitUntil(until));
        assert_eq!(client.next(until), Step::Done(Ok(Verdict::Refused)));
    }
}

#[test]
fn a_verdict_that_comes_again_is_no_conflict_and_is_not_waited_for_again() {
    let mut client = after(&[(10, &challenge(1)), (20, WELCOME), (30, WELCOME)]);
    assert_eq!(client.next(ms(30)), Step::WaitUntil(ms(40)));
    assert_eq!(client.next(ms(40)), Step::Done(Ok(Verdict::Welcome)));
}

#[test]
fn the_deadline_ends_the_listening_too() {
    let mut client = after(&[(10, &challenge(1)), (14_990, WELCOME)]);
    assert_eq!(client.next(ms(14_990)), Step::WaitUntil(ms(15_000)));
    assert_eq!(client.next(ms(15_000)), Step::Done(Ok(Verdict::Welcome)));
}

#[test]
fn over_a_stream_the_first_verdict_is_the_last() {
    let mut client = client(Resends::Never);
    rest(&mut client, ms(0));
    client.receive(ms(1), challenge(1).as_bytes());
    rest(&mut client, ms(1));
    client.receive(ms(2), WELCOME.as_bytes());
    assert_eq!(client.next(ms(2)), Step::Done(Ok(Verdict::Welcome)));
}

const LOGINS: u64 = 5_000;
/// A pair of a challenge and a welcome for each client's port. 47,000 datagrams a second at the 28,000 ports that a
/// client may have are fewer than one pair a second; these are twenty times as many, so that there is much to count.
const PAIRS_PER_S: f64 = 20.0;

/// The number of welcomes and of conflicts among logins with a wrong password beside a blind forger.
fn welcomed_and_in_conflict(weather: &Weather) -> (usize, usize) {
    let users = sample_users();
    let login = |seed| {
        let simulation = Simulation::new(weather.clone(), &users, seed).beside_a_forger(PAIRS_PER_S);
        simulation.login("userone", "wrong").outcome
    };
    let outcomes: Vec<_> = (0..LOGINS).map(login).collect();
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    (count(Ok(Verdict::Welcome)), count(Err(Failure::Conflict)))
}

/// A network with round trips of up to this many seconds.
fn calm(round_trip_s: f64) -> Weather {
    Weather::fair(round_trip_s * 0.4..=round_trip_s * 0.5)
}

/// The second figure is the longest time of each login in which a blind forger can succeed.
#[test]
fn a_blind_forger_has_half_a_round_trip_to_be_believed_and_none_where_servers_are_near() {
    for (round_trip_s, believed_s) in [(0.002, 0.0), (0.02, 0.01), (0.1, 0.05)] {
        let (welcomed, in_conflict) = welcomed_and_in_conflict(&calm(round_trip_s));
        println!("{round_trip_s} s: of {LOGINS} wrong logins {welcomed} welcomed, {in_conflict} in conflict");
        let most = LOGINS as f64 * PAIRS_PER_S * believed_s;
        assert!(welcomed as f64 <= most, "{welcomed} welcomed, of {most} at the most");
        assert!(in_conflict > 0);
    }
}

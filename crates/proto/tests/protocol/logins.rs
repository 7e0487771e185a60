//! Ten thousand logins through bad networks, and the client's reaction to each message.

use std::time::Duration;

use letmein_auth_proto::backoff::{FIRST_WAIT, LONGEST_WAIT};
use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::client::{Client, Failure, Receipt, Resends, Sending, Step};
use letmein_auth_proto::credentials::{Password, Username};
use letmein_auth_proto::wire::Verdict;

use crate::link::{Simulation, Weather};
use crate::{echoing_answer, sample_users};

const LOGINS: u64 = 10_000;

/// 30 % loss and 10 % duplication each way; every datagram takes up to 3 s.
fn storm() -> Weather {
    Weather { loss: 0.3, duplication: 0.1, straggle_s: 0.0..=3.0, ..Weather::fair(0.0..=3.0) }
}

/// The same faults, but only one datagram in ten is slow.
fn squall() -> Weather {
    Weather { delay_s: 0.001..=0.2, straggling: 0.1, ..storm() }
}

/// Makes the logins, every third with a wrong password, and checks each; gives the number of those without an answer.
fn unanswered(weather: &Weather) -> usize {
    let users = sample_users();
    let unanswered = (0..LOGINS).filter(|seed| {
        let (password, right) = if seed % 3 == 0 { ("wrong", false) } else { ("passwordone", true) };
        let ending = Simulation::new(weather.clone(), &users, *seed).login("userone", password);
        let most = ending.counted.iter().max().unwrap();
        let total: u32 = ending.counted.iter().sum();
        match ending.outcome {
            Ok(Verdict::Welcome) => {
                assert!(right && *most == 1, "login {seed}: counted {:?}", ending.counted)
            }
            Ok(Verdict::Refused) => assert!(!right && total == 0, "login {seed} was refused"),
            Err(_) => assert!(*most <= u32::from(right), "login {seed}: counted {:?}", ending.counted),
        }
        ending.outcome.is_err()
    });
    unanswered.count()
}

#[test]
fn logins_survive_loss_duplication_reordering_and_delay() {
    assert!(unanswered(&storm()) <= 20);
}

#[test]
fn logins_survive_a_restart_of_the_server_in_their_middle() {
    assert!(unanswered(&Weather { restarts_s: vec![0.0..=1.0], ..squall() }) <= 20);
}

#[test]
fn no_login_over_a_good_network_is_unanswered() {
    let calm = Weather { loss: 0.0, duplication: 0.0, straggling: 0.0, ..squall() };
    assert_eq!(unanswered(&calm), 0);
}

fn client(resends: Resends) -> Client {
    let (name, password): (Username, _) = ("userone".parse().unwrap(), Password::new("passwordone").unwrap());
    Client::new(&name, &password, resends, Duration::from_secs(15), 1)
}

/// Takes a step, which must be to send.
fn sent(client: &mut Client, now: Duration) -> (String, Sending) {
    let Step::Send { bytes, sending } = client.next(now) else { panic!("nothing is sent at {now:?}") };
    (String::from_utf8(bytes.to_vec()).unwrap(), sending)
}

/// Takes a step, which must be to wait.
fn awaited(client: &mut Client, now: Duration) -> Duration {
    let Step::WaitUntil(time) = client.next(now) else { panic!("nothing is awaited at {now:?}") };
    time
}

const START: Duration = Duration::ZERO;
const CHALLENGE: &[u8] = b"5bf76b8a82f5f462";

#[test]
fn waits_grow_by_half_up_to_a_second_and_vary_by_a_tenth() {
    let mut client = client(Resends::Timed);
    let (mut now, mut expected) = (START, FIRST_WAIT);
    let mut waits = Vec::new();
    assert_eq!(sent(&mut client, now).1, Sending::Request);
    while now < Duration::from_secs(13) {
        let until = awaited(&mut client, now);
        let wait = until - now;
        assert!(wait >= expected.mul_f64(0.9) && wait <= expected.mul_f64(1.1), "{wait:?} for {expected:?}");
        waits.push(wait);
        now = until;
        assert_eq!(sent(&mut client, now).1, Sending::RequestAgain(expected));
        expected = LONGEST_WAIT.min(expected * 3 / 2);
    }
    assert!(waits.last() != waits.get(waits.len() - 2), "there is no jitter");
}

#[test]
fn nothing_that_arrives_moves_the_deadline() {
    let mut client = client(Resends::Timed);
    sent(&mut client, START);
    for second in 1..15 {
        let now = Duration::from_secs(second);
        client.receive(now, CHALLENGE);
        client.receive(now, format!("New challenge {:016x}", second % 5).as_bytes());
        while let Step::Send { .. } = client.next(now) {}
    }
    assert_eq!(client.next(Duration::from_secs(15)), Step::Done(Err(Failure::NoVerdict)));
}

#[test]
fn a_server_that_never_answers_is_told_from_one_that_stops_answering() {
    let mut unanswered = client(Resends::Timed);
    assert_eq!(unanswered.next(Duration::from_secs(15)), Step::Done(Err(Failure::NoChallenge)));
    let mut stopping = client(Resends::Timed);
    sent(&mut stopping, START);
    stopping.receive(START, CHALLENGE);
    assert_eq!(stopping.next(Duration::from_secs(15)), Step::Done(Err(Failure::NoVerdict)));
}

#[test]
fn a_verdict_before_an_answer_is_ignored() {
    let mut client = client(Resends::Timed);
    sent(&mut client, START);
    for early in ["Welcome to our service.", "User authorization failed.", "New challenge 5bf76b8a82f5f462"] {
        assert_eq!(client.receive(START, early.as_bytes()), Receipt::Ignored, "{early}");
    }
    assert!(matches!(client.next(START), Step::WaitUntil(_)));
}

#[test]
fn a_repeated_challenge_is_taken_neither_for_a_verdict_nor_for_a_new_one() {
    let mut client = client(Resends::Timed);
    sent(&mut client, START);
    assert_eq!(client.receive(START, CHALLENGE), Receipt::Taken);
    let (answer, _) = sent(&mut client, START);
    assert_eq!(client.receive(START, CHALLENGE), Receipt::Ignored);
    assert_eq!(client.receive(START, b"00000000000000ff"), Receipt::Ignored);
    let again = awaited(&mut client, START);
    assert_eq!(sent(&mut client, again), (answer, Sending::AnswerAgain(FIRST_WAIT)));
    assert_eq!(client.receive(again, b"Welcome to our service."), Receipt::Taken);
    assert_eq!(client.next(again + FIRST_WAIT), Step::Done(Ok(Verdict::Welcome)));
}

#[test]
fn a_new_challenge_is_answered_five_times() {
    let mut client = client(Resends::Timed);
    sent(&mut client, START);
    client.receive(START, CHALLENGE);
    sent(&mut client, START);
    for number in 1..=5 {
        let challenge = Challenge::from_random(number);
        assert_eq!(client.receive(START, format!("New challenge {challenge}").as_bytes()), Receipt::Taken);
        assert_eq!(sent(&mut client, START).0, echoing_answer("userone", "passwordone", challenge));
        assert_eq!(client.receive(START, format!("New challenge {challenge}").as_bytes()), Receipt::Ignored);
    }
}

#[test]
fn over_a_stream_nothing_is_sent_again() {
    let mut client = client(Resends::Never);
    sent(&mut client, START);
    assert_eq!(awaited(&mut client, START), Duration::from_secs(15));
    client.receive(START, CHALLENGE);
    assert_eq!(sent(&mut client, START).0.len(), "userone::".len() + 32 + 16);
    assert_eq!(awaited(&mut client, START), Duration::from_secs(15));
}

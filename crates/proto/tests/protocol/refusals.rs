//! Verdicts, their replies and their events.

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::origin::Origin;
use letmein_auth_proto::server::Server;
use letmein_auth_proto::server::event::{Event, Reason, Refusal};
use letmein_auth_proto::server::recent::Sighting;
use letmein_auth_proto::users::{Denial, PasswordAge, Users};
use letmein_auth_proto::{Now, Peer};

use crate::{at, echoing_answer, peer, plain_answer, sample_users, server, users};

const CLIENT: &str = "192.0.2.1:5000";

/// Sends a request, and gives the challenge.
fn ask(server: &mut Server, users: &Users, request: &str) -> Challenge {
    let (reply, _) = tell(server, users, request);
    Challenge::from_digits(reply.as_bytes()).unwrap()
}

/// Sends a message, and gives the text of the reply with the event.
fn tell<'a>(server: &mut Server, users: &Users, message: &'a str) -> (String, Event<'a>) {
    send(server, users, at(0.0), peer(CLIENT), message)
}

fn send<'a>(
    server: &mut Server,
    users: &Users,
    now: Now,
    peer: Peer,
    message: &'a str,
) -> (String, Event<'a>) {
    let mut reply = Vec::new();
    let reaction = server.datagram(users, now, peer, message.as_bytes(), &mut reply);
    (String::from_utf8(reply).unwrap(), reaction.event)
}

#[test]
fn every_reason_for_a_refusal_is_told_in_the_same_words() {
    let users = users(
        r#"
        right = "password"
        disabled = { password = "password", disabled = true }
        expired = { password = "password", expires = 2025-12-31 }
        elsewhere = { password = "password", from = ["198.51.100.0/24", "2001:db8::/32"] }
        "#,
    );
    for (name, password, reason) in [
        ("unknown", "password", Reason::UnknownUser),
        ("unknown", "", Reason::UnknownUser),
        ("right", "wrong", Reason::WrongPassword),
        ("right", "", Reason::WrongPassword),
        ("disabled", "password", Reason::Denied(Denial::Disabled)),
        ("disabled", "wrong", Reason::WrongPassword),
        ("expired", "password", Reason::Denied(Denial::Expired)),
        ("elsewhere", "password", Reason::Denied(Denial::NotFromHere)),
    ] {
        let mut server = server(1);
        let challenge = ask(&mut server, &users, "Authentication Request");
        for (answer, origin) in [
            (plain_answer(name, password, challenge), Origin::Unproven),
            (echoing_answer(name, password, challenge), Origin::Proven),
        ] {
            let refusal = Event::Refused(Refusal { name, reason, origin });
            let told = ("User authorization failed.".to_owned(), refusal);
            assert_eq!(tell(&mut server, &users, &answer), told, "{answer}");
        }
    }
}

/// The search for an unknown name ends with the record of a user, whose password must not be accepted.
#[test]
fn the_password_of_another_user_is_refused_whatever_the_name() {
    let users = users(r#"somebody = "password""#);
    let mut server = server(1);
    let challenge = ask(&mut server, &users, "Authentication Request");
    for name in (0..1000).map(|number| format!("nobody{number}")) {
        for answer in
            [plain_answer(&name, "password", challenge), echoing_answer(&name, "password", challenge)]
        {
            let event = tell(&mut server, &users, &answer).1;
            assert!(
                matches!(event, Event::Refused(Refusal { reason: Reason::UnknownUser, .. })),
                "{event:?}"
            );
        }
    }
}

#[test]
fn a_user_is_let_in_to_the_end_of_the_last_day_and_from_each_network() {
    // `at(0.0)` is the first second of 2026.
    let users = users(
        r#"
        today = { password = "p1", expires = 2026-01-01 }
        here = { password = "p2", from = ["198.51.100.0/24", "192.0.2.1"] }
        enabled = { password = "p3", disabled = false }
        mapped = { password = "p4", from = ["::ffff:192.0.2.0/120"] }
        always = { password = "p5", expires = 9999-12-31 }
        "#,
    );
    let all = [("today", "p1"), ("here", "p2"), ("enabled", "p3"), ("mapped", "p4"), ("always", "p5")];
    for (user, password) in all {
        let mut server = server(1);
        let challenge = ask(&mut server, &users, "Authentication Request");
        let answer = echoing_answer(user, password, challenge);
        let told = tell(&mut server, &users, &answer);
        assert_eq!(told.0, "Welcome to our service.", "{user}");
    }
}

#[test]
fn a_network_of_ipv4_holds_its_addresses_also_when_they_are_v4_mapped() {
    let users = users(r#"here = { password = "p", from = ["192.0.2.0/24"] }"#);
    let mut server = server(1);
    let challenge = ask(&mut server, &users, "Authentication Request");
    let answer = echoing_answer("here", "p", challenge);
    let (_, event) = send(&mut server, &users, at(0.0), peer("[::ffff:192.0.2.1]:5000"), &answer);
    assert_eq!(
        event,
        Event::Welcomed { user: "here", sighting: Sighting::First, password: PasswordAge::Present }
    );
}

#[test]
fn who_asks_for_letters_is_told_in_letters() {
    let users = sample_users();
    let mut server = server(1);
    let challenge = ask(&mut server, &users, "Authentication request");
    for answer in [plain_answer, echoing_answer] {
        assert_eq!(tell(&mut server, &users, &answer("userone", "passwordone", challenge)).0, "Y");
        assert_eq!(tell(&mut server, &users, &answer("userone", "wrong", challenge)).0, "N");
        assert_eq!(tell(&mut server, &users, &answer("unknown", "wrong", challenge)).0, "N");
    }
}

#[test]
fn strangers_who_ask_for_letters_change_nothing_for_who_asks_for_words() {
    let users = sample_users();
    let mut server = server(1);
    for host in 0..20_000 {
        let stranger = peer(&format!("198.51.{}.{}:5000", host / 250, host % 250));
        send(&mut server, &users, at(0.0), stranger, "Authentication request");
    }
    let challenge = ask(&mut server, &users, "Authentication Request");
    let answer = plain_answer("userone", "wrong", challenge);
    let told = tell(&mut server, &users, &answer);
    assert_eq!(told.0, "User authorization failed.");
}

#[test]
fn a_repeated_answer_gets_its_verdict_again_and_counts_once() {
    let users = sample_users();
    let mut server = server(1);
    let challenge = ask(&mut server, &users, "Authentication Request");
    let answer = echoing_answer("userone", "passwordone", challenge);
    let plain = plain_answer("userone", "passwordone", challenge);
    let other = echoing_answer("usertwo", "passwordtwo", challenge);
    let sightings = [&answer, &answer, &plain, &other, &answer, &other].map(|answer| {
        match tell(&mut server, &users, answer) {
            (words, Event::Welcomed { sighting, .. }) if words == "Welcome to our service." => sighting,
            told => panic!("{told:?}"),
        }
    });
    use Sighting::{First, Repeat};
    assert_eq!(sightings, [First, Repeat, Repeat, First, Repeat, Repeat]);
}

#[test]
fn answers_to_several_renewed_challenges_of_one_login_count_once() {
    let users = sample_users();
    let mut server = server(1);
    let void = echoing_answer("userone", "passwordone", Challenge::from_random(7));
    let mut renew = |uptime_s| {
        let (reply, _) = send(&mut server, &users, at(uptime_s), peer(CLIENT), &void);
        Challenge::from_digits(&reply.as_bytes()["New challenge ".len()..]).unwrap()
    };
    let renewed = [renew(3.0), renew(4.0)];
    let sightings = renewed.map(|challenge| {
        let answer = echoing_answer("userone", "passwordone", challenge);
        send(&mut server, &users, at(5.0), peer(CLIENT), answer.leak()).1
    });
    let welcomed = |sighting| Event::Welcomed { user: "userone", sighting, password: PasswordAge::Present };
    assert_eq!(sightings, [welcomed(Sighting::First), welcomed(Sighting::Repeat)]);
}

#[test]
fn a_busy_minute_does_not_make_a_repeat_count_twice() {
    let users = sample_users();
    let mut server = server(1);
    let mut sighting = |host: u32| {
        let client = peer(&format!("10.{}.{}.1:5000", host / 250, host % 250));
        let (reply, _) = send(&mut server, &users, at(0.0), client, "Authentication Request");
        let challenge = Challenge::from_digits(reply.as_bytes()).unwrap();
        let answer = echoing_answer("userone", "passwordone", challenge);
        send(&mut server, &users, at(0.0), client, answer.leak()).1
    };
    let firsts = (0..10_000).map(&mut sighting).filter(|event| is(event, Sighting::First)).count();
    let repeats = (0..10_000).map(&mut sighting).filter(|event| is(event, Sighting::Repeat)).count();
    assert_eq!((firsts, repeats), (10_000, 10_000));
}

fn is(event: &Event<'_>, expected: Sighting) -> bool {
    matches!(event, Event::Welcomed { sighting, .. } if *sighting == expected)
}

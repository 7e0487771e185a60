//! While all users are suspended, nobody logs in, and no refusal tells who exists.

use std::sync::Arc;
use std::time::Duration;

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::client::Step;
use letmein_auth_proto::opaque::stretching::Stretching;
use letmein_auth_proto::origin::Origin;
use letmein_auth_proto::server::event::{Event, Reason, Refusal};
use letmein_auth_proto::server::penalty::{Penalties, Policy};
use letmein_auth_proto::server::recent::Sighting;
use letmein_auth_proto::server::{Keys, Seed, Server};
use letmein_auth_proto::users::{PasswordAge, Suspension, Users};
use letmein_auth_proto::wire::Verdict;

use crate::link::opaque_client;
use crate::opaque::users_with;
use crate::{at, echoing_answer, peer, plain_answer, server, users};

const CLIENT: &str = "192.0.2.1:5000";

fn some_users(suspension: &Suspension) -> Users {
    let users = users(
        r#"
        alice = "right"
        disabled = { password = "right", disabled = true }
        changed = { password = "new", old_password = "right", old_until = 2026-12-31 }
        "#,
    );
    users.with_suspension(suspension.clone())
}

/// What the server says to a message, and what it notes of it.
fn tell(server: &mut Server, users: &Users, message: &str) -> (String, String) {
    let mut reply = Vec::new();
    let reaction = server.datagram(users, at(100.0), peer(CLIENT), message.as_bytes(), &mut reply);
    (String::from_utf8(reply).unwrap(), format!("{:?}", reaction.event))
}

fn ask(server: &mut Server, users: &Users) -> Challenge {
    let (reply, _) = tell(server, users, "Authentication Request");
    Challenge::from_digits(reply.as_bytes()).unwrap()
}

#[test]
fn every_answer_is_refused_in_the_same_words_until_the_users_may_log_in_again() {
    let suspension = Suspension::default();
    let users = some_users(&suspension);
    let mut server = server(1);
    let challenge = ask(&mut server, &users);
    suspension.set(true);
    for (name, password, reason) in [
        ("alice", "right", Reason::Suspended),
        ("alice", "wrong", Reason::Suspended),
        ("disabled", "right", Reason::Suspended),
        ("changed", "new", Reason::Suspended),
        ("changed", "right", Reason::Suspended),
        ("nobody", "right", Reason::UnknownUser),
    ] {
        for (answer, origin) in [
            (plain_answer(name, password, challenge), Origin::Unproven),
            (echoing_answer(name, password, challenge), Origin::Proven),
        ] {
            let event = Event::Refused(Refusal { name, reason, origin });
            let told = ("User authorization failed.".to_owned(), format!("{event:?}"));
            assert_eq!(tell(&mut server, &users, &answer), told, "{answer}");
        }
    }
    suspension.set(false);
    let event = Event::Welcomed { user: "alice", sighting: Sighting::First, password: PasswordAge::Present };
    let welcome = ("Welcome to our service.".to_owned(), format!("{event:?}"));
    assert_eq!(tell(&mut server, &users, &echoing_answer("alice", "right", challenge)), welcome);
}

/// A password that is not looked at is no guess.
#[test]
fn no_guess_at_a_user_is_counted_meanwhile() {
    let suspension = Suspension::default();
    for (is_on, verdict) in [(true, "Welcome to our service."), (false, "User authorization failed.")] {
        let penalties = Arc::new(Penalties::new(&[1; 16], Policy { of_source: None, ..Policy::default() }));
        let mut server = Server::new(&Keys::known(1), Seed([1; 32]), penalties.clone(), None);
        let users = some_users(&suspension);
        let challenge = ask(&mut server, &users);
        suspension.set(is_on);
        for number in 0..62 {
            tell(&mut server, &users, &echoing_answer("alice", &format!("guess{number}"), challenge));
            // What is counted beside the user stays.
            penalties.lift();
        }
        suspension.set(false);
        let right = echoing_answer("alice", "right", challenge);
        assert_eq!(tell(&mut server, &users, &right).0, verdict, "{is_on}");
    }
}

#[test]
fn a_login_by_opaque_is_refused_if_its_offer_or_its_verdict_falls_into_that_time() {
    let (begin, finish) = (2, 4);
    let suspended = |message: u8, at_message: &[u8]| at_message.contains(&message);
    for (at_messages, name, expected) in [
        (&[][..], "alice", (Verdict::Welcome, "Welcomed")),
        (&[begin, finish], "alice", (Verdict::Refused, "Suspended")),
        (&[finish], "alice", (Verdict::Refused, "Suspended")),
        // The offer was that for an unknown name.
        (&[begin], "alice", (Verdict::Refused, "Suspended")),
        (&[begin, finish], "nobody", (Verdict::Refused, "UnknownUser")),
    ] {
        let suspension = Suspension::default();
        let users = users_with(Stretching::NONE).with_suspension(suspension.clone());
        let mut server = server(1);
        let mut client = opaque_client(name, "right", Duration::MAX, 1);
        let mut event = String::new();
        let verdict = loop {
            let message = match client.next(Duration::ZERO) {
                Step::Send { bytes, .. } => bytes.to_vec(),
                Step::WaitUntil(_) => panic!("nothing is sent"),
                Step::Done(outcome) => break outcome.unwrap(),
            };
            suspension.set(suspended(message[5], at_messages));
            let mut reply = Vec::new();
            let reaction = server.datagram(&users, at(100.0), peer(CLIENT), &message, &mut reply);
            event = format!("{:?}", reaction.event);
            server.offer(&users, at(100.0), &mut reply);
            client.receive(Duration::ZERO, &reply);
        };
        assert_eq!(verdict, expected.0, "{at_messages:?}");
        assert!(event.contains(expected.1), "{at_messages:?}: {event}");
    }
}

//! Users with an old password beside the present one, and everybody else while there are such users.

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::server::event::{Event, Reason, Refusal};
use letmein_auth_proto::users::{Denial, Users};

use crate::{at, echoing_answer, peer, plain_answer, server, users};

const CLIENT: &str = "192.0.2.1:5000";
/// `at(0.0)` is the first second of 2026.
const TODAY: &str = "2026-01-01";
const YESTERDAY: &str = "2025-12-31";

/// Alice has two passwords, up to a day; the others have one.
fn changing(old_until: &str) -> Users {
    users(&format!(
        r#"
        alice = {{ password = "new", old_password = "old", old_until = {old_until} }}
        bob = "one"
        carol = {{ password = "newer", old_password = "older", old_until = {old_until}, disabled = true }}
        "#
    ))
}

/// The reasons for which an answer is refused, with its challenge and without; `None` for a welcome.
fn refusals(users: &Users, name: &str, password: &str) -> [Option<Reason>; 2] {
    let mut server = server(1);
    let mut tell = |message: &str| {
        let mut reply = Vec::new();
        let event = server.datagram(users, at(0.0), peer(CLIENT), message.as_bytes(), &mut reply).event;
        let refusal = if let Event::Refused(Refusal { reason, .. }) = event { Some(reason) } else { None };
        (String::from_utf8(reply).unwrap(), refusal)
    };
    let challenge = Challenge::from_digits(tell("Authentication Request").0.as_bytes()).unwrap();
    [echoing_answer, plain_answer].map(|answer| {
        let (reply, refusal) = tell(&answer(name, password, challenge));
        let words = if refusal.is_some() { "User authorization failed." } else { "Welcome to our service." };
        assert_eq!(reply, words, "{name} {password}");
        refusal
    })
}

#[test]
fn both_passwords_are_welcome_to_the_end_of_the_last_day_of_the_old_one() {
    let users = changing(TODAY);
    for password in ["new", "old"] {
        assert_eq!(refusals(&users, "alice", password), [None; 2], "{password}");
    }
    for password in ["", "newold", "wrong", "one"] {
        assert_eq!(refusals(&users, "alice", password), [Some(Reason::WrongPassword); 2], "{password}");
    }
}

#[test]
fn after_that_day_the_old_password_is_refused_and_the_new_one_is_welcome() {
    let users = changing(YESTERDAY);
    assert_eq!(refusals(&users, "alice", "new"), [None; 2]);
    assert_eq!(refusals(&users, "alice", "old"), [Some(Reason::Denied(Denial::OldPassword)); 2]);
}

#[test]
fn a_user_who_may_not_log_in_may_not_with_either_password() {
    let users = changing(TODAY);
    for password in ["newer", "older"] {
        assert_eq!(refusals(&users, "carol", password), [Some(Reason::Denied(Denial::Disabled)); 2]);
    }
}

/// Something stands in for the old password that they have not.
#[test]
fn users_with_one_password_have_no_other_while_somebody_has_two() {
    let users = changing(TODAY);
    assert_eq!(refusals(&users, "bob", "one"), [None; 2]);
    for password in ["", "old", "new", "older"] {
        assert_eq!(refusals(&users, "bob", password), [Some(Reason::WrongPassword); 2], "{password}");
    }
}

/// The search for an unknown name ends with the record of a user.
#[test]
fn an_unknown_name_is_refused_with_the_passwords_of_all_users() {
    let users = changing(TODAY);
    for name in (0..100).map(|number| format!("nobody{number}")) {
        for password in ["new", "old", "one", "newer", "older", ""] {
            assert_eq!(refusals(&users, &name, password), [Some(Reason::UnknownUser); 2], "{password}");
        }
    }
}

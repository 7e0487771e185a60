//! Users with an old password beside the present one, and everybody else while there are such users.

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::server::event::{Event, Reason, Refusal};
use letmein_auth_proto::users::{Denial, PasswordAge, Users};

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

/// What comes of an answer, with its challenge and without.
fn judged(users: &Users, name: &str, password: &str) -> [Result<PasswordAge, Reason>; 2] {
    let mut server = server(1);
    let mut reply = Vec::new();
    server.datagram(users, at(0.0), peer(CLIENT), b"Authentication Request", &mut reply);
    let challenge = Challenge::from_digits(&reply).unwrap();
    [echoing_answer, plain_answer].map(|answer| {
        let answer = answer(name, password, challenge);
        reply.clear();
        let event = server.datagram(users, at(0.0), peer(CLIENT), answer.as_bytes(), &mut reply).event;
        let (words, result) = if let Event::Welcomed { password, .. } = event {
            ("Welcome to our service.", Ok(password))
        } else if let Event::Refused(Refusal { reason, .. }) = event {
            ("User authorization failed.", Err(reason))
        } else {
            panic!("{event:?}");
        };
        assert_eq!(str::from_utf8(&reply).unwrap(), words, "{name} {password}");
        result
    })
}

#[test]
fn both_passwords_are_welcome_to_the_end_of_the_last_day_of_the_old_one() {
    let users = changing(TODAY);
    assert_eq!(judged(&users, "alice", "new"), [Ok(PasswordAge::Present); 2]);
    assert_eq!(judged(&users, "alice", "old"), [Ok(PasswordAge::Old); 2]);
    for password in ["", "newold", "wrong", "one"] {
        assert_eq!(judged(&users, "alice", password), [Err(Reason::WrongPassword); 2], "{password}");
    }
}

#[test]
fn after_that_day_the_old_password_is_refused_and_the_new_one_is_welcome() {
    let users = changing(YESTERDAY);
    assert_eq!(judged(&users, "alice", "new"), [Ok(PasswordAge::Present); 2]);
    assert_eq!(judged(&users, "alice", "old"), [Err(Reason::Denied(Denial::OldPassword)); 2]);
}

#[test]
fn a_user_who_may_not_log_in_may_not_with_either_password() {
    let users = changing(TODAY);
    for password in ["newer", "older"] {
        assert_eq!(judged(&users, "carol", password), [Err(Reason::Denied(Denial::Disabled)); 2]);
    }
}

/// Something stands in for the old password that they have not.
#[test]
fn users_with_one_password_have_no_other_while_somebody_has_two() {
    let users = changing(TODAY);
    assert_eq!(judged(&users, "bob", "one"), [Ok(PasswordAge::Present); 2]);
    for password in ["", "old", "new", "older"] {
        assert_eq!(judged(&users, "bob", password), [Err(Reason::WrongPassword); 2], "{password}");
    }
}

/// The search for an unknown name ends with the record of a user.
#[test]
fn an_unknown_name_is_refused_with_the_passwords_of_all_users() {
    let users = changing(TODAY);
    for name in (0..100).map(|number| format!("nobody{number}")) {
        for password in ["new", "old", "one", "newer", "older", ""] {
            assert_eq!(judged(&users, &name, password), [Err(Reason::UnknownUser); 2], "{password}");
        }
    }
}

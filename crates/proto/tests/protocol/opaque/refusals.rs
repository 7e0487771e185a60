//! What must never lead to a welcome, or tell who exists.

use std::time::Duration;

use letmein_auth_proto::client::{Failure, Receipt, Step};
use letmein_auth_proto::mechanism::Mechanisms;
use letmein_auth_proto::opaque::client::Client;
use letmein_auth_proto::opaque::stretching::Stretching;
use letmein_auth_proto::opaque::wire::{ServerMessage, VERDICT_LEN};
use letmein_auth_proto::origin::Origin;
use letmein_auth_proto::server::event::{Event, Reason, Refusal};
use letmein_auth_proto::server::{Keys, Seed, Server};
use letmein_auth_proto::users::Denial;
use letmein_auth_proto::wire::{Malformed, Verdict};
use std::sync::Arc;

use super::{disabled, elsewhere, users, users_where};
use crate::link::opaque_client;
use crate::{at, peer, penalties, sample_users, server};

/// A message of a login, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    Begin,
    Offer,
    Finish,
    Verdict,
}

/// Plays a login in which one message is changed on its way; gives what came of it, and the last event at the server.
fn play(
    user: &str,
    password: &str,
    change: impl Fn(Message, &mut Vec<u8>),
) -> (Result<Verdict, Failure>, Vec<String>) {
    let mut server = server(1);
    let mut client = opaque_client(user, password, Duration::from_secs(5), 1);
    let (mut now, mut events) = (Duration::ZERO, Vec::new());
    loop {
        let mut message = match client.next(now) {
            Step::Send { bytes, .. } => bytes.to_vec(),
            Step::WaitUntil(time) => {
                now = time;
                continue;
            }
            Step::Done(outcome) => return (outcome, events),
        };
        match message[5] {
            2 => change(Message::Begin, &mut message),
            4 => change(Message::Finish, &mut message),
            _ => {}
        }
        let mut reply = Vec::new();
        let clock = at(100.0 + now.as_secs_f64());
        let peer = peer("192.0.2.1:5000");
        let reaction = server.datagram(users(), clock, peer, &message, &mut reply);
        assert!(reply.len() <= message.len());
        events.push(format!("{:?}", reaction.event));
        server.offer(users(), clock, &mut reply);
        match reply.get(5) {
            Some(3) => change(Message::Offer, &mut reply),
            Some(5) => change(Message::Verdict, &mut reply),
            _ => {}
        }
        client.receive(now, &reply);
    }
}

#[test]
fn one_bit_changed_in_any_message_is_never_a_welcome() {
    let lens = [(Message::Begin, 526), (Message::Offer, 526), (Message::Finish, 311), (Message::Verdict, 39)];
    assert_eq!(play("alice", "right", |_, _| {}).0, Ok(Verdict::Welcome));
    for (message, len) in lens {
        for bit in 0..8 * len {
            // What is changed once on its way is not changed when it is sent again, so change all of its kind.
            let (outcome, _) = play("alice", "right", |it, bytes: &mut Vec<u8>| {
                if it == message {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            });
            assert_ne!(outcome, Ok(Verdict::Welcome), "bit {bit} of {message:?}");
        }
    }
}

#[test]
fn the_audit_learns_why_a_login_was_refused_and_the_client_does_not() {
    let refused = |user: &str, password: &str| {
        let (outcome, events) = play(user, password, |_, _| {});
        assert_eq!(outcome, Ok(Verdict::Refused));
        events.last().unwrap().clone()
    };
    let reasons = [
        ("alice", "wrong", Reason::WrongPassword),
        ("damaged", "right", Reason::WrongPassword),
        ("nobody", "right", Reason::UnknownUser),
        ("md5", "right", Reason::UnknownUser),
        ("disabled", "right", Reason::NotAdmitted(Denial::Disabled)),
        ("elsewhere", "right", Reason::NotAdmitted(Denial::NotFromHere)),
    ];
    for (name, password, reason) in reasons {
        let event = Event::Refused(Refusal { name, reason, origin: Origin::Proven });
        assert_eq!(refused(name, password), format!("{event:?}"));
    }
}

#[test]
fn a_right_finish_is_no_welcome_for_a_user_who_may_not_log_in_any_more() {
    for (alice, reason) in [
        (Some(disabled()), Reason::Denied(Denial::Disabled)),
        (Some(elsewhere()), Reason::Denied(Denial::NotFromHere)),
        (None, Reason::UnknownUser),
    ] {
        let (mut server, mut client) = (server(1), opaque_client("alice", "right", Duration::MAX, 1));
        let finish = finish(&mut server, &mut client);
        let users = users_where(Stretching::NONE, alice);
        let mut reply = Vec::new();
        let reaction = server.datagram(&users, at(100.0), peer("192.0.2.1:5000"), &finish, &mut reply);
        let refusal = Refusal { name: "alice", reason, origin: Origin::Proven };
        assert_eq!(reaction.event, Event::Refused(refusal));
        client.receive(Duration::ZERO, &reply);
        assert!(matches!(client.next(Duration::ZERO), Step::Done(Ok(Verdict::Refused))));
    }
}

#[test]
fn a_state_is_good_for_its_peer_alone_and_for_32_seconds() {
    for (from, later, replied) in [
        ("192.0.2.1:5000", 0.0, 5),
        ("192.0.2.1:5000", 32.0, 5),
        ("192.0.2.1:5000", 34.0, 6),
        ("192.0.2.1:5001", 0.0, 6),
        ("192.0.2.2:5000", 0.0, 6),
    ] {
        let (mut server, mut client) = (server(1), opaque_client("alice", "right", Duration::MAX, 1));
        let finish = finish(&mut server, &mut client);
        let mut reply = Vec::new();
        server.datagram(users(), at(100.0 + later), peer(from), &finish, &mut reply);
        assert_eq!(reply[5], replied, "from {from}, {later} s later");
    }
}

/// Goes through a login up to its FINISH.
fn finish(server: &mut Server, client: &mut Client) -> Vec<u8> {
    let clock = at(100.0);
    loop {
        let Step::Send { bytes, .. } = client.next(Duration::ZERO) else { panic!("nothing is sent") };
        if bytes[5] == 4 {
            return bytes.to_vec();
        }
        let mut reply = Vec::new();
        server.datagram(users(), clock, peer("192.0.2.1:5000"), bytes, &mut reply);
        server.offer(users(), clock, &mut reply);
        client.receive(Duration::ZERO, &reply);
    }
}

#[test]
fn a_repeated_finish_gets_its_verdict_again_and_counts_once() {
    let (mut server, mut client) = (server(1), opaque_client("alice", "right", Duration::MAX, 1));
    let finish = finish(&mut server, &mut client);
    let mut verdict = |second: f64| {
        let mut reply = Vec::new();
        let reaction = server.datagram(users(), at(second), peer("192.0.2.1:5000"), &finish, &mut reply);
        let event = format!("{:?}", reaction.event);
        (reply, event.contains("First"), reaction.session)
    };
    let [(first, is_first, session), (again, is_first_again, none)] = [verdict(100.0), verdict(110.0)];
    assert_eq!((&first, is_first, is_first_again), (&again, true, false));
    assert_eq!(client.receive(Duration::ZERO, &first), Receipt::Taken);
    // Both ends have the same key, and the server has it once.
    let exported = |session: &letmein_auth_proto::opaque::session::SessionKey| {
        session.export::<32>("test", b"context").unwrap().to_vec()
    };
    assert_eq!(exported(&session.unwrap()), exported(client.session().unwrap()));
    assert!(none.is_none());
}

#[test]
fn a_client_believes_no_verdict_without_its_tag_and_no_offer_without_its_nonce() {
    let (mut server, mut client) = (server(1), opaque_client("alice", "right", Duration::MAX, 1));
    let mut forged = Vec::new();
    ServerMessage::Verdict { verdict: Verdict::Welcome, tag: &[0; 32] }.append_to(&mut forged);
    assert_eq!(forged.len(), VERDICT_LEN);
    assert_eq!(client.receive(Duration::ZERO, &forged), Receipt::Ignored);
    finish(&mut server, &mut client);
    for bytes in [&forged[..], b"Welcome to our service.", b"5bf76b8a82f5f462", b"", &[0xff; 526]] {
        assert_eq!(client.receive(Duration::ZERO, bytes), Receipt::Ignored);
    }
    // The offer of another login.
    let mut other = opaque_client("alice", "right", Duration::MAX, 2);
    let _ = other.next(Duration::ZERO);
    let mut challenge = Vec::new();
    ServerMessage::Challenge(letmein_auth_proto::challenge::Challenge::from_random(1))
        .append_to(&mut challenge);
    assert_eq!(other.receive(Duration::ZERO, &challenge), Receipt::Taken);
    let offer = play_offer();
    assert_eq!(other.receive(Duration::ZERO, &offer), Receipt::Ignored);
}

/// An offer to a client with seed 1.
fn play_offer() -> Vec<u8> {
    let (mut server, mut client) = (server(1), opaque_client("alice", "right", Duration::MAX, 1));
    let mut offer = Vec::new();
    for _ in 0..2 {
        let Step::Send { bytes, .. } = client.next(Duration::ZERO) else { panic!("nothing is sent") };
        let mut reply = Vec::new();
        server.datagram(users(), at(100.0), peer("192.0.2.1:5000"), bytes, &mut reply);
        client.receive(Duration::ZERO, &reply);
        server.offer(users(), at(100.0), &mut offer);
    }
    assert_eq!(offer[5], 3);
    offer
}

#[test]
fn an_md5_answer_for_a_user_with_a_record_is_refused_like_one_for_nobody() {
    use letmein_auth_proto::challenge::Challenge;
    let reply = |name: &str| {
        let mut server = server(1);
        let (mut challenge, mut verdict) = (Vec::new(), Vec::new());
        let (now, peer) = (at(100.0), peer("192.0.2.1:5000"));
        server.datagram(users(), now, peer, b"Authentication Request", &mut challenge);
        let challenge = Challenge::from_digits(&challenge).unwrap();
        // The password of a record is none, so an empty one must not fit.
        for password in ["right", ""] {
            let answer = crate::echoing_answer(name, password, challenge);
            server.datagram(users(), now, peer, answer.as_bytes(), &mut verdict);
        }
        verdict
    };
    assert_eq!(reply("alice"), reply("nobody"));
    assert_eq!(reply("alice"), b"User authorization failed.".repeat(2));
    assert_ne!(reply("md5"), reply("nobody"));
}

#[test]
fn a_mechanism_that_is_not_served_is_ignored() {
    let request = letmein_auth_proto::opaque::wire::request();
    let ignored = |users, mechanisms, datagram: &[u8]| {
        let mut server = Server::new(&Keys::known(1), Seed([1; 32]), Arc::new(penalties()), mechanisms);
        let mut reply = Vec::new();
        let reaction = server.datagram(users, at(100.0), peer("192.0.2.1:5000"), datagram, &mut reply);
        assert_eq!(reply.is_empty(), reaction.is_silent());
        reaction.event == Event::Malformed(Malformed::NotServed)
    };
    let md5 = b"Authentication Request";
    let (both, passwords) = (users(), sample_users());
    assert_eq!([ignored(both, None, &request), ignored(both, None, md5)], [false, false]);
    assert_eq!([ignored(&passwords, None, &request), ignored(&passwords, None, md5)], [true, false]);
    let opaque_alone = Some(Mechanisms { md5: false, opaque: true });
    assert_eq!([ignored(both, opaque_alone, &request), ignored(both, opaque_alone, md5)], [false, true]);
    let all = Some(Mechanisms::ALL);
    assert!(ignored(&passwords, all, &request), "without a key nobody can speak it");
}

#[test]
fn a_client_refuses_a_stretching_that_takes_too_much() {
    let (outcome, _) = play("alice", "right", |message, bytes| {
        if message == Message::Offer {
            bytes[26] = 0xff;
        }
    });
    assert!(matches!(outcome, Err(Failure::Stretching(_))), "{outcome:?}");
}

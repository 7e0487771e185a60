//! Users whom the service does not answer, beside others.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::flood;
use crate::running::TRANSPORTS;
use proto::transport::Transport::{Tcp, Udp};

use super::{AT_ONCE, Gateway, IN_TIME, RIGHT, basic, reply, request, request_with, status, with_silence};

#[test]
fn requests_for_a_silenced_user_keep_no_other_user_waiting() {
    for transport in TRANSPORTS {
        let (_server, gateway) = with_silence(transport, &[]);
        gateway.silence("usertwo");
        let silenced = request(&basic("usertwo", "passwordtwo"));
        let waiting: Vec<_> = (0..200).map(|_| gateway.send(&silenced)).collect();
        for _ in 0..20 {
            assert_eq!(gateway.status_within(AT_ONCE, &request(RIGHT)), "204");
        }
        for stream in waiting {
            assert_eq!(status(&reply(stream)), "503");
        }
        // The gateway remembers for some seconds that the service did not answer.
        assert_eq!(gateway.status_within(AT_ONCE, &silenced), "503");
    }
}

#[test]
fn requests_for_a_hundred_silenced_users_keep_no_other_user_out() {
    let (_server, gateway) = with_silence(Udp, &[]);
    let names: Vec<_> = (0..100).map(|number| format!("name{number}")).collect();
    names.iter().for_each(|name| gateway.silence(name));
    let _waiting: Vec<_> = [&names, &names]
        .into_iter()
        .flatten()
        .map(|name| gateway.send(&request(&basic(name, "x"))))
        .collect();
    assert_eq!(gateway.status_within(IN_TIME, &request(RIGHT)), "204");
}

#[test]
fn a_visitor_who_tries_silenced_users_keeps_no_other_visitor_waiting() {
    let (_server, gateway) = with_silence(Udp, &["--visitor-header", "X-Forwarded-For"]);
    let names: Vec<_> = (0..100).map(|number| format!("name{number}")).collect();
    names.iter().for_each(|name| gateway.silence(name));
    let _waiting: Vec<_> = names
        .iter()
        // What a visitor writes there themselves comes first.
        .zip(0..)
        .map(|(name, host)| {
            let lines = format!("X-Forwarded-For: 203.0.113.{host}, 192.0.2.1");
            gateway.send(&request_with(&lines, &basic(name, "x")))
        })
        .collect();
    for _ in 0..20 {
        let honest = request_with("X-Forwarded-For: 192.0.2.2", RIGHT);
        assert_eq!(gateway.status_within(AT_ONCE, &honest), "204");
    }
}

#[test]
fn a_service_that_gave_no_challenge_is_asked_again_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Gateway::to(listener.local_addr().unwrap(), &["--tcp"]);
    let connections = Arc::new(AtomicU32::new(0));
    let seen = connections.clone();
    thread::spawn(move || {
        for _closed in listener.incoming() {
            seen.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut before = 0;
    for _ in 0..2 {
        assert_eq!(status(&gateway.get(RIGHT)), "503");
        let after = connections.load(Ordering::Relaxed);
        assert!(after > before);
        before = after;
    }
}

/// Sends so many requests a second for these users in turn, until `is_over`. Those not answered yet are few enough for
/// the descriptors of a test.
#[expect(clippy::disallowed_methods, reason = "an attack takes its time")]
fn hammer(gateway: &Gateway, per_second: u32, users: &[String], is_over: &AtomicBool) {
    let mut open = VecDeque::new();
    let mut due = Instant::now();
    for user in users.iter().cycle() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        open.push_back(gateway.send(&request_with("X-Real-IP: 192.0.2.1", &basic(user, "x"))));
        if open.len() > 500 {
            open.pop_front();
        }
        due += Duration::from_secs(1) / per_second;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

#[test]
#[ignore = "hammers for a minute: see SECURITY.md"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn honest_requests_beside_those_for_silenced_users_are_answered_in_time() {
    let by_visitor = &["--visitor-header", "X-Real-IP"];
    for (transport, per_second, users, more) in [
        (Udp, 80, 1, &[][..]),
        (Tcp, 80, 1, &[]),
        (Udp, 200, 100, &[]),
        (Tcp, 200, 100, &[]),
        (Udp, 200, 1000, &[]),
        (Udp, 200, 1000, by_visitor),
    ] {
        let (_server, gateway) = with_silence(transport, more);
        let names: Vec<_> = (0..users).map(|number| format!("name{number}")).collect();
        names.iter().for_each(|name| gateway.silence(name));
        let honest = request_with("X-Real-IP: 192.0.2.2", RIGHT);
        let is_over = AtomicBool::new(false);
        let (mut welcomes, mut requests, mut slowest) = (0, 0, Duration::ZERO);
        thread::scope(|scope| {
            scope.spawn(|| hammer(&gateway, per_second, &names, &is_over));
            let mut flow = flood::clock();
            while flow().is_continue() {
                let started = Instant::now();
                welcomes += u32::from(status(&gateway.say(honest.as_bytes())) == "204");
                requests += 1;
                slowest = slowest.max(started.elapsed());
                thread::sleep(Duration::from_millis(20));
            }
            is_over.store(true, Ordering::Relaxed);
        });
        println!(
            "{transport:?}, {per_second}/s for {users}: {welcomes} of {requests}, the slowest {slowest:?}"
        );
        assert_eq!(welcomes, requests);
    }
}

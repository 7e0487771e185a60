//! What failed logins cost, at real servers.

use std::io::Read;
use std::iter;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use proto::transport::Transport::{Tcp, Udp};
use serde_json::Value;

use crate::monitoring::{status, watched};
use crate::opaque_logins::Site;
use crate::peers::{
    PATIENCE, REFUSED, REQUEST, WELCOME, answer, ask, echoing_answer, stranger, udp_peer, uninterrupted,
};
use crate::reloads::logged;
use crate::running::{Ended, SAMPLES, Server, TRANSPORTS, refused, welcome};

fn server(transport: proto::transport::Transport, more: &[&str]) -> Server {
    Server::start(transport, &[&["127.0.0.1:0", "--users", SAMPLES], more].concat())
}

/// A source that has not failed.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// How many replies there are for a socket that does not wait for them.
fn replies(peer: &UdpSocket) -> usize {
    iter::from_fn(|| uninterrupted(|| peer.recv(&mut [0; 64])).ok()).count()
}

/// Until the status shows so many blocked sources: it is looked at once a second.
fn wait_for_blocks(http: SocketAddr, count: u64) {
    let shows = |status: &Value| {
        let mut penalties = status["penalties"].as_array().unwrap().iter();
        penalties.any(|it| it["name"] == "sources" && it["silent"] == count)
    };
    while !shows(&status(http)) {}
}

/// Fails so many times, from 127.0.0.1.
fn fail(server: &Server, times: u32) {
    for number in 0..times {
        assert_eq!(server.login(&["userone", &format!("wrong{number}")]), refused());
    }
}

#[test]
fn a_source_that_has_used_up_its_failures_is_not_heard() {
    for transport in TRANSPORTS {
        let server = server(transport, &["--failures", "3/60s"]);
        fail(&server, 4);
        let ended = server.login(&["userone", "passwordone", "--timeout", "0.3"]);
        assert_eq!((ended.status, &*ended.stdout), (3, ""), "{ended:?}");
    }
}

#[test]
fn another_source_is_heard_all_the_same() {
    let server = server(Udp, &["--failures", "3/60s"]);
    fail(&server, 4);
    let other = stranger(&server, OTHER);
    let challenge = ask(&other, REQUEST);
    assert_eq!(ask(&other, &echoing_answer("userone", "passwordone", &challenge)), WELCOME);
}

#[test]
fn a_connection_of_a_source_that_is_not_heard_is_closed_before_its_first_message() {
    let server = server(Tcp, &["--failures", "3/60s"]);
    fail(&server, 4);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(uninterrupted(|| stream.read(&mut [0])).unwrap(), 0);
}

#[test]
fn a_success_takes_back_one_failure_of_the_user_and_no_more() {
    for transport in TRANSPORTS {
        let server = server(transport, &["--failures", "3/600s"]);
        fail(&server, 3);
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        fail(&server, 1);
        assert_eq!(server.login(&["usertwo", "passwordtwo"]), welcome(), "it has no failure to take back");
        fail(&server, 1);
        let ended = server.login(&["userone", "passwordone", "--timeout", "0.3"]);
        assert_eq!((ended.status, &*ended.stdout), (3, ""), "{ended:?}");
    }
}

/// One captured answer, or an account of one's own, between guesses.
#[test]
fn successes_between_guesses_earn_no_more_of_them() {
    let server = server(Udp, &["--failures", "3/600s", "--workers", "1"]);
    let (guesser, other) = (udp_peer(&server), stranger(&server, OTHER));
    let challenge = ask(&guesser, REQUEST);
    guesser.set_nonblocking(true).unwrap();
    let captured = echoing_answer("usertwo", "passwordtwo", &challenge);
    let heard = (0..10).take_while(|number| {
        guesser.send(&captured).unwrap();
        guesser.send(&echoing_answer("userone", &format!("guess{number}"), &challenge)).unwrap();
        // The one worker replies to another source when it has seen both.
        ask(&other, REQUEST);
        replies(&guesser) == 2
    });
    assert_eq!(heard.count(), 4, "three are free, and the next costs a block");
}

#[test]
fn a_guesser_with_an_account_has_no_more_guesses_over_tcp() {
    let server = server(Tcp, &["--failures", "3/600s"]);
    for (number, (guess, login)) in [(1, 0), (1, 0), (1, 0), (1, 3), (3, 3), (3, 3)].into_iter().enumerate() {
        let guessed = ("userone", &*format!("guess{number}"), guess);
        for (user, password, status) in [guessed, ("usertwo", "passwordtwo", login)] {
            let timeout = if status == 3 { "0.3" } else { "15" };
            assert_eq!(server.login(&[user, password, "--timeout", timeout]).status, status, "{number}");
        }
    }
}

#[test]
fn a_block_is_logged_when_it_begins_and_shown_by_the_status_until_a_signal_lifts_it() {
    let (mut server, http) = watched(Udp, &["--failures", "3/60s"]);
    fail(&server, 4);
    let line = logged(&mut server, "127.0.0.1 is blocked for 15 s, until ");
    assert!(line.contains(" WARN ") && line.contains("Z: too many failed logins"), "{line}");
    wait_for_blocks(http, 1);
    server.signal(libc::SIGUSR1);
    let line = logged(&mut server, "SIGUSR1: ");
    assert!(line.contains("blocks lifted: 1; all failed logins are forgotten"), "{line}");
    wait_for_blocks(http, 0);
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
}

#[test]
fn whoever_is_trusted_or_not_counted_may_fail_for_ever() {
    for transport in TRANSPORTS {
        for more in [&["--trust", "127.0.0.0/8"][..], &["--failures", "off", "--user-failures", "off"]] {
            let server = server(transport, more);
            fail(&server, 15);
            assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        }
    }
}

/// Answers that anybody may have forged: the one who forges them has heard no challenge.
#[test]
fn nobody_is_locked_out_by_failures_in_their_name() {
    let budgets = ["--failures", "3/60s", "--user-failures", "3/60s"];
    let server = server(Udp, &[&budgets[..], &["--workers", "1"]].concat());
    let (forger, victim) = (udp_peer(&server), udp_peer(&server));
    for number in 0..20_u32 {
        forger.send(&answer("userone", &format!("forged{number}"), b"0123456789abcdef")).unwrap();
    }
    let challenge = ask(&victim, REQUEST);
    // The one worker has seen all of them by now.
    forger.set_nonblocking(true).unwrap();
    assert_eq!(replies(&forger), 4, "three are free, and the next costs a block of its kind");
    assert_eq!(ask(&victim, &echoing_answer("userone", "passwordone", &challenge)), WELCOME);
}

/// A user who is tried from more and more sources.
#[test]
fn a_user_has_a_budget_over_all_sources_from_which_their_own_is_exempt() {
    let server = server(Udp, &["--user-failures", "8/60s"]);
    let own = udp_peer(&server);
    let challenge = ask(&own, REQUEST);
    let login = echoing_answer("userone", "passwordone", &challenge);
    assert_eq!(ask(&own, &login), WELCOME);
    for host in 2..5 {
        let guesser = stranger(&server, Ipv4Addr::new(127, 0, 0, host));
        let challenge = ask(&guesser, REQUEST);
        for number in 0..3_u32 {
            assert_eq!(
                ask(&guesser, &echoing_answer("userone", &format!("guess{host}{number}"), &challenge)),
                REFUSED
            );
        }
    }
    assert_eq!(ask(&own, &login), WELCOME);
    let stranger = stranger(&server, OTHER);
    let challenge = ask(&stranger, REQUEST);
    stranger.send(&echoing_answer("userone", "passwordone", &challenge)).unwrap();
    // It gets silence: the next that comes is the reply to the next request.
    let reply = ask(&stranger, REQUEST);
    assert!(reply.len() == 16, "{reply:?}");
    assert_eq!(ask(&stranger, &echoing_answer("usertwo", "passwordtwo", &reply)), WELCOME);
}

/// A login by OPAQUE, from 127.0.0.1.
fn by_opaque(site: &Site, server: &Server, user: &str, password: &str) -> Ended {
    site.login(server, &[user, password, "--mechanism", "opaque", "--timeout", "2"])
}

/// Whether the server let the login begin.
fn is_heard(ended: &Ended) -> bool {
    assert!([0, 1, 3].contains(&ended.status), "{ended:?}");
    ended.status != 3
}

#[test]
fn a_user_has_a_budget_of_guesses_by_opaque_and_others_have_their_own() {
    let site = Site::new();
    for transport in TRANSPORTS {
        let server = site.serve_with(transport, &["--user-guesses", "3/600s"]);
        for _ in 0..3 {
            assert_eq!(by_opaque(&site, &server, "alice", "wrong"), refused());
        }
        assert!(!is_heard(&by_opaque(&site, &server, "alice", "right")));
        assert_eq!(by_opaque(&site, &server, "zoë", "right"), welcome());
    }
}

#[test]
fn an_address_has_a_budget_of_guesses_by_opaque_of_which_logins_that_succeed_take_none() {
    let site = Site::new();
    for limits in [&[][..], &["--failures", "off", "--user-failures", "off"], &["--user-guesses", "off"]] {
        let server = site.serve_with(Udp, &[limits, &["--guesses", "3/600s"]].concat());
        for user in ["alice", "nobody", "carol"] {
            assert_eq!(by_opaque(&site, &server, "zoë", "right"), welcome());
            assert_eq!(by_opaque(&site, &server, user, "wrong"), refused());
        }
        assert!(!is_heard(&by_opaque(&site, &server, "alice", "right")), "{limits:?}");
        assert_eq!(by_opaque(&site, &server, "zoë", "right"), welcome(), "{limits:?}");
    }
}

#[test]
fn without_a_budget_anyone_may_guess_by_opaque_for_ever() {
    let site = Site::new();
    for limits in [
        &["--guesses", "off", "--user-guesses", "off"][..],
        &["--guesses", "off"],
        &["--failures", "off", "--user-failures", "off"],
    ] {
        let server = site.serve_with(Udp, limits);
        assert!((0..25).all(|_| is_heard(&by_opaque(&site, &server, "alice", "wrong"))), "{limits:?}");
    }
}

#[test]
fn without_a_budget_of_addresses_one_that_has_logged_in_as_a_user_has_that_of_the_user() {
    let site = Site::new();
    let server = site.serve_with(Udp, &["--guesses", "off", "--user-guesses", "3/600s"]);
    assert_eq!(by_opaque(&site, &server, "alice", "right"), welcome());
    let heard = (0..5).take_while(|_| is_heard(&by_opaque(&site, &server, "alice", "wrong")));
    assert_eq!(heard.count(), 3);
}

#[test]
fn budgets_and_networks_that_make_no_sense_are_status_2() {
    for args in [
        ["--failures", "0/60s"],
        ["--failures", "256/60s"],
        ["--failures", "10"],
        ["--user-failures", "10/0s"],
        ["--user-failures", "10/601s"],
        ["--user-failures", "x/60s"],
        ["--guesses", "0/60s"],
        ["--guesses", "256/60s"],
        ["--user-guesses", "10/0s"],
        ["--user-guesses", "10/601s"],
        ["--user-guesses", "on"],
        ["--trust", "10.0.0.0/33"],
    ] {
        assert_eq!(
            Server::refusal(Udp, &[&["127.0.0.1:0", "--users", SAMPLES], &args[..]].concat()).status,
            2,
            "{args:?}"
        );
    }
}

/// Of eight failures two are this node's, and one more begins the block.
#[test]
fn limits_per_user_are_divided_among_the_nodes() {
    for transport in TRANSPORTS {
        let more = ["--failures", "off", "--user-failures", "8/600s", "--nodes", "4"];
        let server = server(transport, &more);
        fail(&server, 3);
        let ended = server.login(&["userone", "passwordone", "--timeout", "0.3"]);
        assert_eq!((ended.status, &*ended.stdout), (3, ""), "{ended:?}");
    }
    let ended = Server::refusal(Udp, &["127.0.0.1:0", "--users", SAMPLES, "--nodes", "0"]);
    assert!(ended.status == 2 && ended.stderr.contains("number of nodes"), "{ended:?}");
}

//! How servers start, stop, and share a machine.

use std::io::{BufRead, Write};
use std::net::SocketAddr;

use letmein::Transport;

use crate::peers::{QUIET_HOST, REQUEST, WELCOME, answer, ask, tcp_peer, udp_peer};
use crate::reloads::logged;
use crate::running::{Ended, SAMPLES, Server, TRANSPORTS, run, server, welcome};
use crate::streams::{challenge, rest};

#[test]
fn a_hangup_ends_no_server() {
    let mut server = Server::service(Transport::Udp, "md5", &[]);
    server.signal(libc::SIGHUP);
    logged(&mut server, "no file to read again");
    assert_eq!(server.stop(libc::SIGTERM).status, 0);
}

#[test]
fn sigterm_and_sigint_end_a_server_with_status_0() {
    for transport in TRANSPORTS {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            assert_eq!(Server::over(transport).stop(signal).status, 0);
        }
    }
}

#[test]
fn a_server_says_nothing_on_standard_output_but_where_it_listens() {
    for server in TRANSPORTS.map(Server::over) {
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        assert_eq!(server.stop(libc::SIGTERM).stdout, "");
    }
}

#[test]
fn a_server_that_logs_each_message_shows_no_name_that_a_stranger_sent() {
    for transport in TRANSPORTS {
        let server = Server::start(transport, &["127.0.0.1:0", "--users", SAMPLES, "--debug"]);
        assert_eq!(server.login(&["userone", "passwordone"]).status, 0);
        assert_eq!(server.login(&["hunter2secret", "passwordone"]).status, 1);
        let log = server.stop(libc::SIGTERM).stderr;
        assert!(log.contains("userone is welcome") && log.contains("refused an unknown user"), "{log}");
        assert!(!log.contains("hunter2secret") && !log.contains("passwordone"), "{log}");
        assert!(log.contains("refused an unknown user #"), "{log}");
    }
}

#[test]
fn an_operator_who_insists_sees_names_that_strangers_sent_escaped() {
    let options = ["127.0.0.1:0", "--users", SAMPLES, "--debug", "--log-unknown-names"];
    let server = Server::start(Transport::Udp, &options);
    assert_eq!(server.login(&["no\u{202e}body", "passwordone"]).status, 1);
    let log = server.stop(libc::SIGTERM).stderr;
    assert!(log.contains("refused an unknown user no\\u{202e}body"), "{log}");
}

/// A log that nobody reads any more is no reason to stop.
#[test]
fn a_server_outlives_its_standard_error() {
    for transport in TRANSPORTS {
        let mut server = Server::start(transport, &["127.0.0.1:0", "--users", SAMPLES, "--debug"]);
        drop(server.stderr.take());
        for _ in 0..2 {
            assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        }
        assert_eq!(server.stop(libc::SIGTERM).status, 0);
    }
}

#[test]
fn every_limit_is_told_with_the_memory_that_they_add_up_to() {
    for (transport, args) in [
        (Transport::Udp, &[][..]),
        (Transport::Tcp, &[]),
        (Transport::Udp, &["--service", "md5"]),
        (Transport::Tcp, &["--service", "framed", "--max-message", "1000"]),
    ] {
        let Ended { status, stdout, .. } = run(server(transport).arg("--limits").args(args));
        let (lines, total) = stdout.trim_end().rsplit_once('\n').unwrap();
        let kib = |line: &str| line.split_once('(')?.1.strip_suffix(" KiB)")?.parse::<u64>().ok();
        let sum: u64 = lines.lines().filter_map(kib).sum();
        let total: u64 = total.strip_prefix("memory beside the users, at most").unwrap().trim()[..]
            .strip_suffix(" KiB")
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(status, 0);
        // Each line is rounded up.
        assert!(total > 0 && total <= sum && sum <= total + lines.lines().count() as u64, "{stdout}");
    }
}

#[test]
fn a_port_that_is_taken_is_reported_with_status_3_in_one_line() {
    for server in TRANSPORTS.map(Server::over).iter().zip(TRANSPORTS) {
        let (Server { address, .. }, transport) = server;
        let ended = Server::refusal(transport, &[&address.to_string(), "--users", SAMPLES]);
        assert_eq!((ended.status, &*ended.stdout, ended.stderr.lines().count()), (3, "", 1), "{ended:?}");
        let start = format!("{}: cannot listen on {address}: ", transport.server());
        assert!(ended.stderr.starts_with(&start), "{ended:?}");
    }
}

#[test]
fn a_port_alone_means_this_machine_only() {
    for transport in TRANSPORTS {
        assert!(Server::start(transport, &["0", "--users", SAMPLES]).address.ip().is_loopback());
    }
}

#[test]
fn a_silent_connection_does_not_keep_a_server_from_stopping() {
    let server = Server::start(Transport::Tcp, &["127.0.0.1:0", "--users", SAMPLES, "--workers", "1"]);
    let _silent = tcp_peer(&server);
    // Whoever is welcome came after the silent one.
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    assert_eq!(server.stop(libc::SIGTERM).status, 0);
}

#[test]
fn a_login_in_progress_is_ended_before_a_server_stops() {
    let mut server = Server::tcp();
    let mut stream = tcp_peer(&server);
    stream.write_all(REQUEST).unwrap();
    let challenge = challenge(&mut stream);
    stop_and_await_word_of_it(&mut server);
    stream.write_all(&answer("userone", "passwordone", &challenge)).unwrap();
    assert_eq!(rest(&mut stream), WELCOME);
    drop(stream);
    assert_eq!(server.end().status, 0);

    let mut server = Server::udp();
    let peer = udp_peer(&server);
    let challenge = ask(&peer, REQUEST);
    stop_and_await_word_of_it(&mut server);
    assert_eq!(ask(&peer, &answer("userone", "passwordone", &challenge)), WELCOME);
    assert_eq!(server.end().status, 0);
}

fn stop_and_await_word_of_it(server: &mut Server) {
    server.signal(libc::SIGTERM);
    let mut lines = server.stderr.as_mut().unwrap().lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with("SIGTERM: stopping")));
}

#[test]
fn a_server_that_has_stopped_can_be_started_again_at_its_port() {
    for transport in TRANSPORTS {
        let server = on_quiet_host(transport, 0);
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        let port = server.address.port();
        assert_eq!(server.stop(libc::SIGTERM).status, 0);
        let again = on_quiet_host(transport, port);
        assert_eq!(again.login(&["userone", "passwordone"]), welcome());
    }
}

#[test]
fn both_servers_share_a_port_number() {
    let udp = on_quiet_host(Transport::Udp, 0);
    let tcp = on_quiet_host(Transport::Tcp, udp.address.port());
    assert_eq!(udp.login(&["userone", "passwordone"]), welcome());
    assert_eq!(tcp.login(&["userone", "passwordone"]), welcome());
}

fn on_quiet_host(transport: Transport, port: u16) -> Server {
    Server::start(transport, &[&SocketAddr::from((QUIET_HOST, port)).to_string(), "--users", SAMPLES])
}

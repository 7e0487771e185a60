//! How servers start, stop, and share a machine.

use server::settings::program;
use std::io::{self, BufRead, Write};
use std::iter;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use proto::transport::Transport;
use socket2::{Domain, Socket, Type};

use crate::peers::{QUIET_HOST, REQUEST, WELCOME, answer, ask, tcp_peer, udp_peer};
use crate::reloads::logged;
use crate::running::{Ended, SAMPLES, Server, TRANSPORTS, exchange, letmein, run, server, welcome};
use crate::sites::in_new_namespace;
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
        let start = format!("{}: cannot listen on {address}: ", program(transport));
        assert!(ended.stderr.starts_with(&start), "{ended:?}");
    }
}

#[test]
fn a_port_alone_means_both_loopback_addresses_of_this_machine() {
    let Some(_ipv6) = ipv6_socket(Transport::Udp) else { return };
    for transport in TRANSPORTS {
        let (server, _) = on_both_loopbacks(transport, &["--users", SAMPLES, "--workers", "2"]);
        assert_eq!(server.address.ip(), Ipv4Addr::LOCALHOST);
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            let mut client = letmein();
            client.args([&*format!("{host}:{}", server.address.port()), "userone", "passwordone"]);
            client.args((transport == Transport::Tcp).then_some("--tcp"));
            assert_eq!(run(&mut client), welcome(), "{host} over {transport}");
        }
        assert_eq!(server.stop(libc::SIGTERM).status, 0);
    }
}

#[test]
fn a_port_alone_means_both_loopback_addresses_to_a_small_service_too() {
    let Some(_ipv6) = ipv6_socket(Transport::Udp) else { return };
    for (transport, service) in [(Transport::Udp, "md5"), (Transport::Tcp, "framed")] {
        let (server, other) = on_both_loopbacks(transport, &["--service", service]);
        for address in [server.address, other] {
            let ended =
                run(exchange().args([service, &*address.to_string(), "Four score and seven years ago"]));
            assert_eq!(ended.status, 0, "{address}: {ended:?}");
        }
    }
}

/// Another user of the machine may have the port there, and hear those who ask localhost.
#[test]
fn a_port_that_another_program_has_at_the_other_loopback_address_is_a_warning() {
    for transport in TRANSPORTS {
        let mut others = iter::from_fn(|| ipv6_socket(transport));
        // Somebody may have the port at 127.0.0.1.
        let started = others.find_map(|other| {
            let port = other.local_addr().unwrap().as_socket().unwrap().port().to_string();
            let server = Server::try_spawn(transport, server(transport).args([&*port, "--users", SAMPLES]));
            Some((other, server.ok()?))
        });
        let Some((_other, server)) = started else { return };
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        let address = format!("[::1]:{}", server.address.port());
        let log = server.stop(libc::SIGTERM).stderr;
        let warning = log.lines().find(|line| line.contains(&address)).expect(&log);
        assert!(
            warning.contains("WARN") && warning.contains("clients that ask localhost may reach it"),
            "{log}"
        );
    }
}

#[test]
fn a_machine_without_ipv6_is_served_without_it() {
    for transport in TRANSPORTS {
        // Without its loopback interface, the namespace has no IPv6 address.
        let Some(mut command) = in_new_namespace() else { return };
        let program = server(transport);
        command.arg(program.get_program()).args(["0", "--users", SAMPLES]);
        let server = Server::spawn(transport, &mut command);
        let other = format!("not serving [::1]:{}", server.address.port());
        let log = server.stop(libc::SIGTERM).stderr;
        assert!(log.lines().any(|line| line.contains("INFO") && line.contains(&other)), "{log}");
    }
}

#[test]
fn a_server_that_is_given_one_address_says_where_localhost_may_lead_clients_instead() {
    for transport in TRANSPORTS {
        for (address, other, remedy) in [
            ("127.0.0.1:0", "[::1]", "a port alone"),
            ("0.0.0.0:0", "[::1]", "[::]"),
            ("[::1]:0", "127.0.0.1", "a port alone"),
        ] {
            let args = [address, "--users", SAMPLES, "--allow-sample-users"];
            let Ok(server) = Server::try_spawn(transport, server(transport).args(args)) else { continue };
            let other = format!("{other}:{}", server.address.port());
            let log = server.stop(libc::SIGTERM).stderr;
            let lines: Vec<_> = log.lines().filter(|line| line.contains(&other)).collect();
            let [line] = lines[..] else { panic!("{log}") };
            assert!(line.contains("ask localhost may be led") && line.contains(remedy), "{line}");
        }
    }
}

#[test]
fn a_server_of_one_message_is_not_told_to_serve_both_addresses_of_localhost() {
    let args = ["127.0.0.1:0", "--service", "hello", "--once"];
    let log = Server::start(Transport::Udp, &args).stop(libc::SIGTERM).stderr;
    assert!(log.contains("let clients ask for an address") && !log.contains("to serve both"), "{log}");
}

/// A socket that has a port of [::1], where there is IPv6.
pub(crate) fn ipv6_socket(transport: Transport) -> Option<Socket> {
    let kind = match transport {
        Transport::Udp => Type::DGRAM,
        Transport::Tcp => Type::STREAM,
    };
    let bind = || {
        let socket = Socket::new(Domain::IPV6, kind, None)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::LOCALHOST, 0)).into())?;
        io::Result::Ok(socket)
    };
    bind().inspect_err(|error| println!("skipped: no IPv6: {error}")).ok()
}

/// A server that is given a port alone, and the other address that it serves. Somebody may have the port there.
fn on_both_loopbacks(transport: Transport, args: &[&str]) -> (Server, SocketAddr) {
    let start = || {
        let mut server = Server::start(transport, &[&["0"], args].concat());
        let other = SocketAddr::from((Ipv6Addr::LOCALHOST, server.address.port()));
        let log = server.stderr.as_mut().unwrap().lines().map(Result::unwrap);
        let mut log = log.take_while(|line| !line.contains("serving this machine only"));
        log.any(|line| line.ends_with(&format!("serving {other} as well"))).then_some((server, other))
    };
    iter::repeat_with(start).take(20).flatten().next().expect("a port that is free at both")
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
fn a_login_in_progress_over_tcp_is_ended_before_a_server_stops() {
    let mut server = Server::tcp();
    let mut stream = tcp_peer(&server);
    stream.write_all(REQUEST).unwrap();
    let challenge = challenge(&mut stream);
    stop_and_await_word_of_it(&mut server);
    stream.write_all(&answer("userone", "passwordone", &challenge)).unwrap();
    assert_eq!(rest(&mut stream), WELCOME);
    drop(stream);
    assert_eq!(server.end().status, 0);
}

#[test]
fn a_server_over_udp_stops_without_waiting_for_the_answer_to_a_challenge() {
    let server = Server::udp();
    ask(&udp_peer(&server), REQUEST);
    assert_eq!(server.stop(libc::SIGTERM).status, 0);
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

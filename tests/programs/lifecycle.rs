//! How servers start, stop, and share a machine.

use server::settings::program;
use std::fs;
use std::io::{self, BufRead, Write};
use std::iter;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;

use proto::transport::Transport;
use socket2::{Domain, Socket, Type};

use crate::peers::{QUIET_HOST, REQUEST, WELCOME, answer, ask, tcp_peer, udp_peer};
use crate::reloads::logged;
use crate::running::{
    Ended, SAMPLES, Server, TRANSPORTS, exchange, letmein, letmein_http, run, server, welcome,
};
use crate::sites::in_new_namespace;
use crate::streams::{challenge, rest};

#[test]
fn a_hangup_ends_no_server() {
    let mut server = Server::service(Transport::Udp, "md5", &[]);
    server.signal(libc::SIGHUP);
    logged(&mut server, "no users file to reload");
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
    for (transport, args, name) in [
        (Transport::Udp, &["--audit", "-"][..], "memory in all, without users"),
        (Transport::Tcp, &[], "memory in all, without users"),
        (Transport::Udp, &["--service", "md5"], "memory in all"),
        (Transport::Tcp, &["--service", "framed", "--max-message", "1000"], "memory in all"),
    ] {
        let Ended { status, stdout, .. } = run(server(transport).arg("--limits").args(args));
        let (lines, total) = stdout.trim_end().rsplit_once('\n').unwrap();
        let kib = |line: &str| line.split_once('(')?.1.strip_suffix(" KiB)")?.parse::<u64>().ok();
        let sum: u64 = lines.lines().filter_map(kib).sum();
        let total: u64 =
            total.strip_prefix(name).unwrap().trim()[..].strip_suffix(" KiB").unwrap().parse().unwrap();
        assert_eq!(status, 0);
        // Each line is rounded up.
        assert!(total > 0 && total <= sum && sum <= total + lines.lines().count() as u64, "{stdout}");
        assert!(!stdout.contains("MiB"), "one unit of memory: {stdout}");
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
        let ss = match transport {
            Transport::Udp => ": `ss -lnup` shows by which program\n",
            Transport::Tcp => ": `ss -lntp` shows by which program\n",
        };
        assert!(ended.stderr.ends_with(ss), "{ended:?}");
        if transport == Transport::Tcp {
            let gateway = run(letmein_http().args([&*address.to_string(), "127.0.0.1:8591"]));
            assert!(gateway.status == 3 && gateway.stderr.ends_with(ss), "{gateway:?}");
        }
    }
}

#[test]
fn an_address_of_another_machine_is_reported_with_how_to_see_the_own_ones() {
    for transport in TRANSPORTS {
        let args = ["192.0.2.1:8591", "--users", SAMPLES, "--allow-sample-users"];
        let ended = Server::refusal(transport, &args);
        assert!(ended.status == 3 && ended.stderr.contains(": `ip address` lists those it has"), "{ended:?}");
    }
}

#[test]
fn the_log_begins_with_the_users_and_hints_follow() {
    for transport in TRANSPORTS {
        let log = Server::over(transport).stop(libc::SIGTERM).stderr;
        let mut lines = log.lines();
        assert!(lines.next().is_some_and(|line| line.ends_with("INFO users: 3")), "{log}");
        let hint = "logins are not logged: --audit FILE records each decision";
        assert_eq!(log.matches(hint).count(), 1, "{log}");
        assert!(log.contains("only this machine can connect; to serve others, listen on :"), "{log}");
        let memory = log.lines().find(|line| line.contains("memory, without users: at most ")).expect(&log);
        assert!(memory.ends_with(" KiB (--limits lists it)"), "{memory}");
        for options in [["--audit", "-"], ["--log-level", "debug"]] {
            let args = [&["127.0.0.1:0", "--users", SAMPLES], &options[..]].concat();
            let log = Server::start(transport, &args).stop(libc::SIGTERM).stderr;
            assert!(!log.contains(hint), "{log}");
        }
    }
}

#[test]
fn a_receive_buffer_that_the_kernel_cuts_short_is_told_with_the_command_for_all_of_it() {
    let log = Server::udp().stop(libc::SIGTERM).stderr;
    let max = fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
    let line = log.lines().find(|line| line.contains("receive buffer"));
    if max.trim().parse::<u64>().unwrap() >= 8 << 20 {
        assert_eq!(line, None, "{log}");
    } else {
        let line = line.expect(&log);
        assert!(line.ends_with("KiB; to get 8192 KiB, run: sysctl -w net.core.rmem_max=8388608"), "{line}");
    }
}

#[test]
fn many_more_workers_than_processors_are_a_warning() {
    let processors = thread::available_parallelism().unwrap().get();
    let workers = (5 * processors).to_string();
    let warning =
        format!("{workers} workers for {processors} processors: they take memory and serve no faster");
    for transport in TRANSPORTS {
        let args = ["127.0.0.1:0", "--users", SAMPLES, "--workers", &workers];
        let ended = run(server(transport).arg("--check").args(args));
        assert!(ended.status == 0 && ended.stderr.contains(&warning), "{ended:?}");
        let log = Server::start(transport, &args).stop(libc::SIGTERM).stderr;
        assert!(log.lines().any(|line| line.contains("WARN") && line.contains(&warning)), "{log}");
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
            warning.contains("WARN") && warning.contains("clients that connect to localhost may reach it"),
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
        let other = format!("not listening on {transport} [::1]:{}", server.address.port());
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
            assert!(line.contains("connect to localhost may try") && line.contains(remedy), "{line}");
        }
    }
}

#[test]
fn a_server_of_one_message_is_not_told_to_serve_both_addresses_of_localhost() {
    let args = ["127.0.0.1:0", "--service", "hello", "--once"];
    let log = Server::start(Transport::Udp, &args).stop(libc::SIGTERM).stderr;
    assert!(log.contains("have clients use an IP address") && !log.contains("to serve both"), "{log}");
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
        let mut log = log.take_while(|line| !line.contains("only this machine can connect"));
        log.any(|line| line.ends_with(&format!("also listening on {transport} {other}")))
            .then_some((server, other))
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

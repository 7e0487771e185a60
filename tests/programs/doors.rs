//! One server at several transports and addresses, with one set of users, penalties, audit and numbers.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use proto::challenge::Challenge;
use proto::credentials::Password;
use proto::proof::Secret;
use proto::transport::Transport::{self, Tcp, Udp};
use serde_json::{Value, json};

use crate::monitoring::{http_address, status};
use crate::reloads::logged;
use crate::running::{
    Ended, SAMPLES, Server, TRANSPORTS, letmein, path, refused, run, server, users_file, welcome,
};

/// A server over one transport that serves the other, too, and where.
fn both(first: Transport, more: &[&str]) -> (Server, SocketAddr) {
    let also = match first {
        Udp => "tcp:127.0.0.1:0",
        Tcp => "udp:127.0.0.1:0",
    };
    let mut server =
        Server::start(first, &[&["127.0.0.1:0", "--users", SAMPLES, "--also", also], more].concat());
    let other = server.next_door();
    (server, other)
}

fn login(transport: Transport, address: SocketAddr, password: &str) -> Ended {
    let mut client = letmein();
    client.args([&*address.to_string(), "userone", password, "--timeout", "1"]);
    if transport == Tcp {
        client.arg("--tcp");
    }
    run(&mut client)
}

#[test]
fn one_server_serves_both_transports_whichever_it_is_named_after() {
    for first in TRANSPORTS {
        let other = if first == Udp { Tcp } else { Udp };
        let (server, other_address) = both(first, &[]);
        for (transport, address) in [(first, server.address), (other, other_address)] {
            assert_eq!(login(transport, address, "passwordone"), welcome());
            assert_eq!(login(transport, address, "wrong"), refused());
        }
        assert_eq!(server.stop(libc::SIGTERM).status, 0);
    }
}

#[test]
fn an_address_that_has_failed_too_often_at_one_door_is_blocked_at_the_others() {
    let (server, other) = both(Tcp, &["--failures", "3/60s"]);
    for _ in 0..4 {
        login(Tcp, server.address, "wrong");
    }
    assert_eq!(login(Udp, other, "passwordone").status, 3);
    assert_eq!(login(Tcp, server.address, "passwordone").status, 3);
}

/// Else each door would take back a failure for it, and have a line of the audit.
#[test]
fn an_answer_is_good_at_one_of_two_doors() {
    let mut server = Server::start(Udp, &["127.0.0.1:0", "--users", SAMPLES, "--also", "udp:127.0.0.1:0"]);
    let other = server.next_door();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let ask = |address: SocketAddr, message: &str| {
        socket.send_to(message.as_bytes(), address).unwrap();
        let mut room = [0; 256];
        let len = socket.recv(&mut room).unwrap();
        String::from_utf8(room[..len].to_vec()).unwrap()
    };
    let challenge = ask(server.address, "Authentication Request");
    let secret = Secret::new(&"userone".parse().unwrap(), &Password::new("passwordone").unwrap());
    let digest = secret.digest(Challenge::from_digits(challenge.as_bytes()).unwrap());
    let answer = format!("userone:{digest}:{challenge}");
    assert_eq!(ask(server.address, &answer), "Welcome to our service.");
    assert!(ask(other, &answer).starts_with("New challenge "));
}

/// Else nobody would answer at its address until the server that is started next has it.
#[test]
fn a_server_that_waits_for_the_end_of_connections_goes_on_over_udp() {
    let (mut server, tcp) = both(Udp, &[]);
    let mut silent = TcpStream::connect(tcp).unwrap();
    silent.write_all(b"Authentication Request").unwrap();
    silent.read_exact(&mut [0; 16]).unwrap();
    server.signal(libc::SIGTERM);
    logged(&mut server, "SIGTERM: stopping");
    assert_eq!(login(Udp, server.address, "passwordone"), welcome());
    drop(silent);
    assert_eq!(server.end().status, 0);
}

#[test]
fn each_line_of_the_audit_names_the_transport_of_its_door() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.jsonl");
    let (server, other) = both(Udp, &["--audit", audit.to_str().unwrap()]);
    login(Udp, server.address, "passwordone");
    login(Tcp, other, "passwordone");
    server.stop(libc::SIGTERM);
    let lines = fs::read_to_string(&audit).unwrap();
    let transports =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["transport"].clone());
    assert_eq!(transports.collect::<Vec<_>>(), ["udp", "tcp"]);
}

#[test]
fn the_status_has_all_doors_and_counts_what_comes_through_them_together() {
    let (mut server, other) = both(Udp, &["--http", "127.0.0.1:0"]);
    let http = http_address(&mut server);
    login(Udp, server.address, "passwordone");
    login(Tcp, other, "wrong");
    let status = status(http);
    let door = |transport: &str, address: SocketAddr| json!({ "transport": transport, "address": address.to_string() });
    assert_eq!(status["doors"], json!([door("udp", server.address), door("tcp", other)]));
    assert_eq!((&status["totals"]["welcomed"], &status["totals"]["refused"]), (&1.into(), &1.into()));
}

#[test]
fn a_check_shows_all_doors() {
    let users = users_file("[users]\nalice = \"secret of alice\"\n");
    let args = ["8591", "--users", path(&users), "--also", "tcp:8591", "--workers", "2", "--check"];
    let checked = run(server(Udp).args(args));
    assert_eq!(checked.status, 0, "{checked:?}");
    let also = "TCP at 127.0.0.1:8591 and [::1]:8591; workers: 2, and one more for [::1]";
    assert!(
        checked.stdout.lines().any(|line| line.starts_with("also served ") && line.ends_with(also)),
        "{checked:?}"
    );
}

#[test]
fn doors_that_cannot_be_are_refused_with_a_reason() {
    for (args, reason) in [
        (
            &["127.0.0.1:8591", "--also", "udp:127.0.0.1:8591"][..],
            "the server already listens there: leave it out",
        ),
        (
            &["8591", "--also", "tcp:8591", "--also", "tcp:8591"],
            "the server already listens there: leave it out",
        ),
        (&["8591", "--also", "udp:[::1]:8591"], "the server already listens there: leave it out"),
        (&["[::1]:8591", "--also", "udp:8591"], "the server already listens there: leave it out"),
        (&["8591", "--also", "8591"], "invalid transport \"8591\""),
        (&["8591", "--also", "tcp"], "invalid address \"tcp\": it has no port: write tcp:8591"),
        (&["8591", "--also", "tcp:8591", "--service", "md5"], "--also is for auth"),
        (&["8591", "--users", SAMPLES, "--also", "tcp:0.0.0.0:0"], "has a sample password"),
    ] {
        let ended = Server::refusal(Udp, args);
        assert_eq!(ended.status, 2, "{ended:?}");
        assert!(ended.stderr.contains(reason), "{ended:?}");
    }
}

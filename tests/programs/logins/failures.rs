//! The client, and servers that are down, silent or in conflict.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

use proto::transport::Transport;
use serde_json::json;

use crate::peers::{
    QUIET_HOST, REFUSED, WELCOME, address_of, receive, refusing_socket, udp_socket, uninterrupted,
};
use crate::running::{Ended, Server, installed, letmein, run, welcome};
use crate::sites::in_new_namespace;

use super::assert_fails;

#[test]
fn a_server_that_is_down_is_reported_with_status_3() {
    for (transport, options) in [(Transport::Udp, &[][..]), (Transport::Tcp, &["--tcp"])] {
        let nobody = refusing_socket(transport);
        let client = &mut letmein();
        client.args([&address_of(&nobody), "userone", "passwordone"]).args(options);
        assert_fails(client, &format!("nobody listens at {} over {transport}", address_of(&nobody)));
    }
}

#[test]
fn a_server_that_refuses_until_the_timeout_is_reported_as_one_that_refuses() {
    let nobody = refusing_socket(Transport::Udp);
    let client = &mut letmein();
    client.args([&address_of(&nobody), "userone", "passwordone", "--timeout", "0.2"]);
    assert_fails(client, &format!("nobody listens at {}", address_of(&nobody)));
}

/// What such a server sends does not restart the second.
#[test]
fn a_server_that_hangs_up_after_its_challenge_is_tried_again_for_a_second_and_no_longer() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            stream.read_exact(&mut [0; 22]).unwrap();
            stream.write_all(b"0123456789abcdef").unwrap();
            stream.read_exact(&mut [0; 57]).unwrap();
        }
    });
    let client = &mut letmein();
    client.args([&address, "userone", "passwordone", "--tcp"]);
    assert_fails(
        client,
        &format!("{address} closed the connection without a verdict: it may be blocking this address after"),
    );
}

#[test]
fn a_server_whose_name_has_no_address_is_reported_with_status_3() {
    assert_fails(letmein().args(["nosuch.invalid:8591", "userone", "passwordone"]), "\"nosuch.invalid\"");
}

#[test]
fn a_user_in_the_place_of_the_server_is_told_the_order() {
    let client = &mut letmein();
    client.args(["user.invalid", "passwordone", "x"]);
    assert!(!run(client).stderr.contains("the server comes first"));
    let ended = run(letmein().args(["no-such-host", "passwordone", "127.0.0.1:8591"]));
    assert!(ended.stderr.ends_with("; the server comes first: letmein HOST USER\n"), "{ended:?}");
}

/// A server over TCP hangs up on an address that it blocks.
#[test]
fn a_server_that_hangs_up_at_once_may_be_another_service_or_be_blocking() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    thread::spawn(move || server.incoming().for_each(drop));
    let reason =
        format!("{address} closed the connection without a verdict: it may be another service, or may be bl");
    assert_fails(letmein().args([&*address, "userone", "passwordone", "--tcp"]), &reason);
}

#[test]
fn a_server_without_an_address_of_the_family_asked_for_is_reported_with_status_3() {
    assert_fails(
        letmein().args(["-6", "127.0.0.1:8591", "userone", "passwordone"]),
        "\"127.0.0.1\" has no IPv6 address, and -6 was given",
    );
    assert_fails(
        letmein().args(["-4", "[::1]:8591", "userone", "passwordone"]),
        "\"::1\" has no IPv4 address, and -4 was given",
    );
}

#[test]
fn a_server_that_is_silent_is_given_up_after_the_timeout_with_status_3() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let of_tcp = &mut letmein();
    of_tcp.args([&*address, "userone", "passwordone", "--tcp", "--timeout", "0.3"]);
    assert_fails(of_tcp, &format!("{address} accepts connections, but has not answered in 3"));

    let silent = udp_socket();
    let address = silent.local_addr().unwrap().to_string();
    let of_udp = &mut letmein();
    of_udp.args([&*address, "userone", "passwordone", "--timeout", "0.3"]);
    assert_fails(of_udp, &format!("no answer from {address}"));
}

#[test]
fn a_server_that_falls_silent_after_its_challenge_is_reported_as_such() {
    let server = udp_socket();
    let address = server.local_addr().unwrap().to_string();
    let client = letmein().args([&*address, "userone", "passwordone", "--timeout", "0.5"]).spawn().unwrap();
    let (peer, _) = receive(&server);
    server.send_to(b"0123456789abcdef", peer).unwrap();
    let ended = Ended::from(client.wait_with_output().unwrap());
    assert_eq!((ended.status, &*ended.stdout), (3, ""));
    assert!(ended.stderr.starts_with(&format!("letmein: no verdict from {address}")), "{ended:?}");
}

#[test]
fn two_verdicts_from_one_address_are_a_conflict_with_status_3_however_long_the_client_would_wait() {
    for (first, second) in [(WELCOME, REFUSED), (REFUSED, WELCOME)] {
        let server = udp_socket();
        let address = server.local_addr().unwrap().to_string();
        let client = letmein().args([&*address, "userone", "passwordone", "--wait"]).spawn().unwrap();
        let (peer, _) = receive(&server);
        // The second challenge makes the client listen for longer than a busy machine takes to send it all.
        for message in [&b"0123456789abcdef"[..], b"fedcba9876543210", first, second] {
            server.send_to(message, peer).unwrap();
        }
        let ended = Ended::from(client.wait_with_output().unwrap());
        let remedy = "somebody may be forging the server's address; use --tcp or a protected network";
        let stderr = format!("letmein: conflicting answers from {address}: {remedy}\n");
        assert_eq!(ended, Ended { status: 3, stdout: String::new(), stderr });
    }
}

#[test]
fn a_client_that_waits_gets_in_once_the_udp_server_is_up() {
    let held = refusing_socket(Transport::Udp);
    let address = address_of(&held);
    let mut client = letmein()
        .args([&*address, "userone", "passwordone", "--wait", "--timeout", "30", "-d"])
        .spawn()
        .unwrap();
    let mut steps = BufReader::new(client.stderr.take().unwrap());
    let mut first = String::new();
    steps.read_line(&mut first).unwrap();
    assert!(first.starts_with("Sending authentication request"), "{first:?}");
    drop(held);
    let _server = Server::start_at_freed(Transport::Udp, &address);
    steps.read_to_string(&mut first).unwrap();
    assert_eq!(Ended::from(client.wait_with_output().unwrap()), welcome(), "{first}");
}

#[test]
fn a_client_that_waits_gets_in_once_a_tcp_server_that_hung_up_is_back() {
    let dying = TcpListener::bind(SocketAddr::from((QUIET_HOST, 0))).unwrap();
    let address = dying.local_addr().unwrap().to_string();
    let client = letmein()
        .args([&*address, "userone", "passwordone", "--tcp", "--wait", "--timeout", "30"])
        .spawn()
        .unwrap();
    drop(dying.accept().unwrap());
    drop(dying);
    let _server = Server::start_at_freed(Transport::Tcp, &address);
    let Ended { status, stdout, stderr } = Ended::from(client.wait_with_output().unwrap());
    assert_eq!((status, stdout, stderr.lines().count()), (0, welcome().stdout, 1), "{stderr}");
    assert!(stderr.starts_with("letmein: waiting for the server: "), "{stderr}");
}

/// It repeats what it hears, as another service might.
#[test]
fn another_service_is_told_from_a_server_that_is_down() {
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut room = [0; 128];
        loop {
            let (len, peer) = other.recv_from(&mut room).unwrap();
            other.send_to(&room[..len], peer).unwrap();
        }
    });
    let client = &mut letmein();
    client.args([&*address, "userone", "passwordone", "--timeout", "0.3"]);
    assert_fails(client, &format!("something answers at {address}, but it is another service"));
}

/// It greets whoever connects, in a line that may be shorter or longer than any message of ours.
#[test]
fn another_service_over_tcp_is_told_from_a_server_that_is_down() {
    for greeting in ["220 mail ESMTP\r\n", "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"] {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let mut streams = Vec::new();
            for stream in other.incoming() {
                let mut stream = stream.unwrap();
                stream.write_all(greeting.as_bytes()).unwrap();
                streams.push(stream);
            }
        });
        let client = &mut letmein();
        client.args([&*address, "userone", "passwordone", "--tcp", "--timeout", "0.3"]);
        assert_fails(client, &format!("something answers at {address}, but it is another service"));
    }
}

#[test]
fn without_a_verdict_json_has_an_error_in_its_place() {
    let nobody = refusing_socket(Transport::Udp);
    let client = &mut letmein();
    let Ended { status, stdout, stderr } =
        run(client.args([&address_of(&nobody), "userone", "passwordone", "--timeout", "0.2", "--json"]));
    let object: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (status, &object["verdict"], &object["error"]),
        (3, &json!(null), &json!("connection_refused"))
    );
    assert_eq!(stderr, format!("letmein: {}\n", object["message"].as_str().unwrap()));
}

#[test]
fn a_wrong_command_line_is_an_object_too_if_json_is_asked_for() {
    for args in [
        &[][..],
        &["--nosuch"],
        &["userone", "--help"],
        &["0.0.0.0", "userone"],
        &["127.0.0.1", "userone"],
        &["127.0.0.1", "userone", ""],
        &["127.0.0.1", "userone", "p", "--quiet"],
        &["127.0.0.1", "userone", "--password-file", "/nosuch/file"],
    ] {
        let Ended { status, stdout, stderr } = run(letmein().args(args).arg("--json"));
        let object: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(
            (status, &object["verdict"], &object["error"]),
            (2, &json!(null), &json!("usage")),
            "{args:?}"
        );
        assert!(object["message"].is_string() && !stderr.is_empty(), "{args:?}: {object}");
    }
}

#[test]
fn all_servers_are_named_if_none_gives_a_verdict() {
    let held = [(); 2].map(|()| refusing_socket(Transport::Udp));
    let [first, second] = held.each_ref().map(address_of);
    let client = &mut letmein();
    client.args([&format!("{first},{second}"), "userone", "passwordone", "--timeout", "0.2"]);
    assert_fails(client, &format!("no verdict from {first}, {second}: nobody listens at "));
}

#[test]
fn the_second_server_is_asked_once_the_first_is_silent_or_refuses() {
    let server = Server::over(Transport::Udp);
    let (silent, refusing) = (UdpSocket::bind("127.0.0.1:0").unwrap(), refusing_socket(Transport::Udp));
    for first in [silent.local_addr().unwrap().to_string(), address_of(&refusing)] {
        let servers = format!("{first},{}", server.address);
        for more in [&[][..], &["--timeout", "0.4"]] {
            let client = &mut letmein();
            let ended = run(client.args([&*servers, "userone", "passwordone"]).args(more));
            assert_eq!(ended, welcome(), "{servers} {more:?}");
        }
    }
}

#[test]
fn a_server_that_sends_a_byte_at_a_time_does_not_move_the_deadline() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        stream.read_exact(&mut [0; 22]).unwrap();
        // The client says no more, so that each read takes as long as it may.
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        while stream.write_all(b"0").is_ok() {
            let _ = uninterrupted(|| stream.read(&mut [0]));
        }
    });
    let client = &mut letmein();
    client.args([&*address, "userone", "passwordone", "--tcp", "--timeout", "0.3"]);
    assert_fails(client, &format!("no answer from {address} in 3"));
}

/// Where the system has no other port to draw than that at which nobody listens.
const ONE_PORT: &str =
    "ip link set lo up && echo 50000 50000 >/proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";

#[test]
fn a_client_that_would_be_connected_to_itself_says_that_nobody_listens() {
    for options in [&[][..], &["--tcp"]] {
        let (Some(mut command), Some(_)) = (in_new_namespace(), installed("ip")) else { return };
        command.args(["sh", "-ec", ONE_PORT, "sh", env!("CARGO_BIN_EXE_letmein")]);
        command.args(["127.0.0.1:50000", "userone", "passwordone"]).args(options);
        assert_fails(&mut command, "nobody listens at 127.0.0.1:50000 over ");
    }
}

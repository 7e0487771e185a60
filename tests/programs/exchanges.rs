//! MD5 and hello: the specifications' own examples with the real programs, and what must not happen.

mod failures;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::process::Stdio;

use proto::transport::Transport::{Tcp, Udp};

use crate::peers::{ask, receive, tcp_peer, udp_peer, udp_socket, uninterrupted};
use crate::running::{Ended, Server, exchange, run};

fn asked(server: &Server, args: &[&str]) -> Ended {
    let [service, options @ ..] = args else { panic!("no service") };
    run(exchange().args([service, &*server.address.to_string()]).args(options))
}

/// What an `exchange` says that has done all it was told to.
fn said(server: &Server, args: &[&str]) -> String {
    let Ended { status, stdout, stderr } = asked(server, args);
    assert_eq!((status, &*stderr), (0, ""));
    stdout
}

/// The lines of a server about its messages, each with its peer left out.
fn lines(server: Server) -> Vec<String> {
    let Ended { status, stdout, .. } = server.stop(libc::SIGTERM);
    assert_eq!(status, 0);
    stdout.lines().map(without_port).collect()
}

fn without_port(line: &str) -> String {
    let (head, tail) = line.split_once("127.0.0.1:").expect(line);
    head.to_owned() + "PEER" + tail.trim_start_matches(|digit: char| digit.is_ascii_digit())
}

#[test]
fn md5_over_udp_answers_the_specifications_message() {
    let server = Server::service(Udp, "md5", &[]);
    let message = "Hello, Server! Please hash this message.";
    let expected =
        format!("Original message: {message}\nMD5 Hash received: 1df1eb001708d60aa5b8c2f33d99f529\n");
    assert_eq!(said(&server, &["md5"]), expected);
    assert_eq!(said(&server, &["md5", message]), expected);
    assert_eq!(lines(server), [(); 2].map(|()| format!("Received from PEER: {message}")));
}

#[test]
fn md5_over_udp_answers_datagrams_of_every_length() {
    let server = Server::service(Udp, "md5", &["--quiet"]);
    let peer = udp_peer(&server);
    for (len, digest) in [
        (1, "0cc175b9c0f1b6a831c399e269772661"),
        (55, "ef1772b6dff9a122358552954ad0df65"),
        (56, "3b0c8ac703f828b04c6c197006d17218"),
        (63, "b06521f39153d618550606be297466d5"),
        (64, "014842d480b571495a4a0363793f7367"),
        (65, "c743a45e0d2e6a95cb859adae0248435"),
        (65_507, "2af170b3e98b80cf2ffc080903a43bd9"),
    ] {
        assert_eq!(ask(&peer, &vec![b'a'; len]), digest.as_bytes(), "{len} bytes");
    }
    assert_eq!(server.stop(libc::SIGTERM).stdout, "");
}

#[test]
fn md5_over_tcp_answers_the_specifications_ten_messages() {
    let server = Server::service(Tcp, "md5", &[]);
    let told = said(&server, &["md5", "--tcp"]);
    let told: Vec<_> = told.lines().collect();
    assert_eq!(told.len(), 30);
    let first = ["Sending: Hello, server!", "Original message: Hello, server!"];
    assert_eq!(told[..3], [first[0], first[1], "MD5 Hash received: a6c043d6d080c3679e9781f6d176c537"]);
    assert_eq!(told[27], "Sending: Goodbye, server!");
    assert!(lines(server).contains(&"Accepted connection from PEER".to_owned()));
}

#[test]
fn md5_over_tcp_keeps_the_connection_and_answers_what_is_left_at_a_half_close() {
    let server = Server::service(Tcp, "md5", &[]);
    let mut peer = tcp_peer(&server);
    let mut digest = [0; 32];
    for _ in 0..2 {
        peer.write_all(b"Hello, server!").unwrap();
        peer.read_exact(&mut digest).unwrap();
        assert_eq!(&digest, b"a6c043d6d080c3679e9781f6d176c537");
    }
    peer.write_all(b"a").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    peer.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "0cc175b9c0f1b6a831c399e269772661");
}

#[test]
fn hello_answers_the_specifications_message() {
    let server = Server::service(Udp, "hello", &[]);
    assert_eq!(said(&server, &["hello", "Hello, server!"]), "Hello Hello, server!\n");
    let expected =
        ["Received message from PEER: Hello, server!", "Sent response to PEER: Hello Hello, server!"];
    assert_eq!(lines(server), expected);
}

#[test]
fn the_first_line_of_each_service_is_that_of_its_specification() {
    for (transport, service, words) in [
        (Udp, "md5", "UDP server listening on 127.0.0.1:"),
        (Udp, "hello", "Server is listening on 127.0.0.1:"),
        (Tcp, "md5", "TCP server listening on 127.0.0.1:"),
        (Tcp, "framed", "TCP server listening on 127.0.0.1:"),
    ] {
        let mut server =
            crate::running::server(transport).args(["127.0.0.1:0", "--service", service]).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
        assert!(line.starts_with(words), "{line}");
    }
}

#[test]
fn a_server_told_to_serve_once_answers_one_message_and_ends_with_status_0() {
    let server = Server::service(Udp, "md5", &["--once"]);
    said(&server, &["md5", "x"]);
    let Ended { status, stdout, .. } = server.end();
    assert_eq!((status, without_port(stdout.trim_end())), (0, "Received from PEER: x".to_owned()));
}

#[test]
fn a_message_that_no_datagram_can_answer_is_not_the_one_that_is_served() {
    let server = Server::service(Udp, "hello", &["--once"]);
    let peer = udp_peer(&server);
    peer.send(&[b'a'; 65_507]).unwrap();
    assert_eq!(ask(&peer, b"x"), b"Hello x");
    assert_eq!(server.end().status, 0);
}

#[test]
fn a_server_whose_lines_nobody_reads_goes_on_answering_and_stops() {
    let server = Server::service(Udp, "hello", &[]);
    let peer = udp_peer(&server);
    for _ in 0..500 {
        assert!(ask(&peer, &[b'a'; 900]).starts_with(b"Hello a"));
    }
    server.signal(libc::SIGTERM);
    assert_eq!(server.end().status, 0);
}

#[test]
fn no_control_byte_of_a_message_reaches_the_terminal() {
    let server = Server::service(Udp, "hello", &[]);
    ask(&udp_peer(&server), b"\x1b[2J\xc3\xab\r\n\"'");
    let expected = ["Received message from PEER: ", "Sent response to PEER: Hello "];
    assert_eq!(lines(server), expected.map(|head| format!("{head}\\u{{1b}}[2Jë\\r\\n\"'")));
}

#[test]
fn messages_of_standard_input_are_sent_a_line_each() {
    let server = Server::service(Udp, "hello", &[]);
    let mut client = exchange();
    client.args(["hello", &server.address.to_string(), "first", "-", "last"]);
    let mut client = client.stdin(Stdio::piped()).spawn().unwrap();
    client.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    let ended = Ended::from(client.wait_with_output().unwrap());
    assert_eq!(ended.stdout, "Hello first\nHello one\nHello two\nHello last\n");
}

#[test]
fn a_lost_message_is_sent_again() {
    let server = udp_socket();
    let client = exchange().args(["hello", &server.local_addr().unwrap().to_string(), "x"]).spawn().unwrap();
    let (_, lost) = receive(&server);
    let (peer, again) = receive(&server);
    assert_eq!(lost, again);
    server.send_to(b"Hello x", peer).unwrap();
    assert_eq!(Ended::from(client.wait_with_output().unwrap()).stdout, "Hello x\n");
}

#[test]
fn lines_of_a_flood_are_counted_though_no_more_come() {
    let server = Server::service(Tcp, "md5", &[]);
    let mut peer = tcp_peer(&server);
    let mut digest = [0; 32];
    for _ in 0..2500 {
        peer.write_all(b"x").unwrap();
        peer.read_exact(&mut digest).unwrap();
    }
    let told = server.stop(libc::SIGTERM).stdout;
    let left_out = told.lines().filter_map(|line| line.strip_suffix(" lines left out")?.parse::<u32>().ok());
    let printed = told.lines().filter(|line| line.contains("127.0.0.1:")).count() as u32;
    assert_eq!(printed + left_out.sum::<u32>(), 2501);
}

#[test]
fn a_command_line_that_makes_no_sense_is_status_2() {
    for args in [
        &["hello", "127.0.0.1:1"][..],
        &["framed", "127.0.0.1:1"],
        &["hello", "127.0.0.1:1", "x", "--tcp"],
        &["md5", "127.0.0.1:1", "x", "--pipeline"],
        &["md5", "127.0.0.1:1", "x", "--buffer-size", "10"],
        &["hello", "127.0.0.1:1", "x", "--max-message", "10"],
        &["framed", "127.0.0.1:1", "x", "--buffer-size", "0"],
        &["nosuch", "127.0.0.1:1", "x"],
        &["md5", "127.0.0.1"],
        &[],
    ] {
        let Ended { status, stdout, stderr } = run(exchange().args(args));
        assert_eq!((status, &*stdout), (2, ""), "{args:?}");
        assert!(stderr.starts_with("Invalid input argument, please enter a correct format command.\n"));
    }
    for (transport, args) in [
        (Udp, &["--service", "framed"][..]),
        (Tcp, &["--service", "hello"]),
        (Tcp, &["--service", "nosuch"]),
        (Tcp, &["--service", "md5", "--once"]),
        (Udp, &["--once"]),
    ] {
        assert_eq!(Server::refusal(transport, &[&["0"], args].concat()).status, 2, "{args:?}");
    }
}

/// What a server says to a peer at once, if anything: whatever it says to the peer it says before it answers the
/// probe.
fn said_back(server: &Server, peer: &UdpSocket, message: &[u8]) -> Option<Vec<u8>> {
    peer.send_to(message, server.address).unwrap();
    ask(&udp_peer(server), b"a probe");
    peer.set_nonblocking(true).unwrap();
    let mut answer = [0; 128];
    match uninterrupted(|| peer.recv(&mut answer)) {
        Ok(len) => Some(answer[..len].to_vec()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

/// A stranger sends one server a datagram that seems to come from the other. Sockets on another loopback address, at
/// the port of each server, stand in for the forger: they hand on what each server says to the other.
#[test]
fn two_servers_that_a_forged_datagram_sets_on_each_other_fall_silent() {
    for (first, second) in [("md5", "md5"), ("md5", "hello"), ("hello", "md5"), ("hello", "hello")] {
        let servers = [first, second].map(|service| Server::service(Udp, service, &["--quiet"]));
        let stand_ins = [1, 0].map(|other: usize| {
            let port = servers[other].address.port();
            UdpSocket::bind(("127.0.0.9", port)).unwrap()
        });
        let mut message = b"Hello".to_vec();
        let mut turns = 0;
        for (server, stand_in) in servers.iter().zip(&stand_ins).cycle() {
            let Some(answer) = said_back(server, stand_in, &message) else { break };
            message = answer;
            turns += 1;
            assert!(turns < 10, "{first} and {second} talk for ever");
        }
        assert!(turns > 0, "nobody said anything");
    }
}

#[test]
fn what_may_come_from_a_server_or_from_nobody_gets_silence() {
    for (service, datagram) in [
        ("md5", &b""[..]),
        ("md5", b"0123456789abcdef0123456789abcdef"),
        ("hello", b""),
        ("hello", b"Hello Hello x"),
        ("hello", b"0123456789abcdef0123456789abcdef"),
    ] {
        let server = Server::service(Udp, service, &[]);
        assert_eq!(said_back(&server, &udp_socket(), datagram), None, "{service} {datagram:?}");
    }
}

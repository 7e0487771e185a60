//! The client, and servers that fail or misbehave.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use proto::transport::Transport::{Tcp, Udp};

use crate::peers::{address_of, receive, refusing_socket, udp_socket, uninterrupted};
use crate::running::{Ended, Server, exchange, run};

use super::said;

/// Status 3, and one line on standard error.
fn assert_fails(client: &mut Command, reason: &str) {
    let Ended { status, stderr, .. } = run(client);
    assert_eq!((status, stderr.lines().count()), (3, 1), "{stderr}");
    assert!(stderr.starts_with("exchange: 127.0.0.") && stderr.contains(reason), "{stderr}");
}

#[test]
fn a_server_that_refuses_is_reported_with_status_3() {
    for (transport, args, reason) in [
        (Udp, &["md5", "AT"][..], "over UDP: the server may be down, or serve TCP (--tcp)"),
        (Tcp, &["md5", "AT", "--tcp"], "over TCP: the server may be down, or serve UDP (without --tcp)"),
        (Udp, &["hello", "AT", "x"], "over UDP: the server may be down"),
        (Tcp, &["framed", "AT", "x"], "over TCP: the server may be down"),
    ] {
        let nobody = refusing_socket(transport);
        let address = address_of(&nobody);
        let args = args.iter().map(|word| if *word == "AT" { &*address } else { word });
        let stderr = format!("exchange: nobody listens at {address} {reason}\n");
        assert_eq!(run(exchange().args(args)), Ended { status: 3, stdout: String::new(), stderr });
    }
}

#[test]
fn a_server_that_hangs_up_in_the_middle_of_an_answer_is_reported_with_status_3() {
    for (args, start, reason) in [
        (&["md5", "--tcp", "x"][..], &b"0123456789"[..], "closed the connection before its answer"),
        (&["framed", "x"], b"\0\0\0\x05ab", "cut off in the middle of a message, after 6 bytes"),
        (&["framed", "x"], b"", "the server has closed the connection"),
        (&["framed", "x"], b"9dd4", "bytes is longer than 16777216: is it the framed service?"),
        (&["framed", "--max-message", "9", "x"], b"\0\0\0\x0a", "a message of 10 bytes is longer than 9\n"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(uninterrupted(|| stream.read(&mut [0; 64])).unwrap() > 0);
            stream.write_all(start).unwrap();
        });
        assert_fails(exchange().args([args[0], &address]).args(&args[1..]), reason);
    }
}

#[test]
fn a_server_that_is_silent_is_reported_as_that() {
    let udp = udp_socket();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp, tcp) = (udp.local_addr().unwrap().to_string(), tcp.local_addr().unwrap().to_string());
    for (args, server, hint) in [
        (&["md5", &*udp, "x"][..], &udp, "is md5 served there over UDP? For TCP add --tcp"),
        (&["md5", "--tcp", &tcp, "x"], &tcp, "is md5 served there over TCP? For UDP leave --tcp out"),
        (&["hello", &udp, "Hello, server!"], &udp, "is hello served there, over UDP?"),
        (&["framed", &tcp, "x"], &tcp, "is framed served there, over TCP?"),
        (&["framed", "--pipeline", &tcp, "x", "y"], &tcp, "is framed served there, over TCP?"),
    ] {
        let ended = run(exchange().args(args).args(["--timeout", "0.05"]));
        assert_eq!(ended.status, 3);
        assert_eq!(ended.stderr, format!("exchange: {server}: no answer in 0.05 s: {hint}\n"));
    }
}

/// A server that takes a message and answers it a byte at a time, 32 of them in 1.6 s.
fn trickling(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(uninterrupted(|| stream.read(&mut [0; 64])).unwrap() > 0);
        // The client says no more, so that each read takes as long as it may.
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        for byte in answer {
            let _ = uninterrupted(|| stream.read(&mut [0; 64]));
            if stream.write_all(&[byte]).is_err() {
                break;
            }
        }
    });
    address
}

#[test]
fn a_server_that_answers_a_byte_at_a_time_does_not_move_the_deadline() {
    let digest = b"9dd4e461268c8034f5c8564e155c67a6";
    for (args, answer, reason) in [
        (&["md5", "--tcp", "x"][..], digest.to_vec(), "no answer in 0.3 s"),
        (&["framed", "x"], [b"\0\0\0\x20", &digest[..]].concat(), "no answer in 0.3 s"),
        (&["framed", "--pipeline", "x"], [b"\0\0\0\x20", &digest[..]].concat(), "no answer in 0.3 s"),
    ] {
        let address = trickling(answer);
        assert_fails(exchange().args([args[0], &address, "--timeout", "0.3"]).args(&args[1..]), reason);
    }
}

#[test]
fn a_line_of_standard_input_that_is_not_utf8_is_told_with_its_number() {
    for (transport, args) in [(Udp, &["md5"][..]), (Tcp, &["framed"]), (Tcp, &["framed", "--pipeline"])] {
        let server = Server::service(transport, args[0], &[]);
        let mut client = exchange();
        client.args(args).args([&*server.address.to_string(), "-"]).stdin(Stdio::piped());
        let mut client = client.spawn().unwrap();
        client.stdin.take().unwrap().write_all(b"one\n\xff\n").unwrap();
        let Ended { status, stderr, .. } = client.wait_with_output().unwrap().into();
        assert_eq!((status, &*stderr), (3, "exchange: standard input: line 2 is not UTF-8\n"));
    }
}

#[test]
fn what_in_an_answer_would_steer_a_terminal_is_printed_escaped_and_all_else_as_it_is() {
    let text = "zo\u{eb}\t\"a\\b\" \u{1b}[2J\r\n\u{9b}\u{202e}e\u{301}";
    let shown = "zo\u{eb}\t\"a\\b\" \\u{1b}[2J\\r\\n\\u{9b}\\u{202e}e\u{301}";
    let server = Server::service(Tcp, "framed", &[]);
    let long = "a".repeat(2000);
    for options in [&["framed"][..], &["framed", "--pipeline"]] {
        let messages = [&*format!("0123456789{text}"), &format!("0123456789{long}")];
        assert_eq!(said(&server, &[options, &messages].concat()), format!("{shown}\n{long}\n"));
    }
    let server = Server::service(Udp, "hello", &[]);
    assert_eq!(said(&server, &["hello", text]), format!("Hello {shown}\n"));
}

#[test]
fn a_message_that_no_server_answers_is_not_sent_at_all() {
    let (udp, tcp) = (udp_socket(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (at, at_tcp) = (udp.local_addr().unwrap().to_string(), tcp.local_addr().unwrap().to_string());
    let digits = "0123456789abcdef0123456789abcdef";
    for (args, reason) in [
        (&["md5", &*at, digits][..], "it has the form of a server's answer"),
        (&["hello", &at, digits], "it has the form of a server's answer"),
        (&["hello", &at, "Hello Hello x"], "it has the form of a server's answer"),
        (&["hello", &at, &"a".repeat(65_502)], "it is longer than 65501 bytes"),
        (&["md5", &at, ""], "it is empty"),
        (&["md5", "--tcp", &at_tcp, ""], "an empty message"),
    ] {
        assert_fails(exchange().args(args), reason);
    }
    udp.set_nonblocking(true).unwrap();
    assert_eq!(uninterrupted(|| udp.recv(&mut [0; 64])).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn the_digest_of_something_else_is_not_taken_for_that_of_the_message() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(uninterrupted(|| stream.read(&mut [0; 64])).unwrap() > 0);
        stream.write_all(b"0cc175b9c0f1b6a831c399e269772661").unwrap();
    });
    assert_fails(exchange().args(["md5", "--tcp", &address, "ab"]), "digest of something else");
}

#[test]
fn what_says_hello_to_somebody_else_is_no_answer() {
    let server = udp_socket();
    let client = exchange().args(["hello", &server.local_addr().unwrap().to_string(), "x"]).spawn().unwrap();
    let (peer, _) = receive(&server);
    for datagram in [&b"Hello y"[..], b"", b"Hello", b"Hello x"] {
        server.send_to(datagram, peer).unwrap();
    }
    assert_eq!(Ended::from(client.wait_with_output().unwrap()).stdout, "Hello x\n");
}

//! Framed texts: the library's client and raw bytes at the real server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;

use client::small::{FramedClient, FramedError};
use proto::small::framed::FrameError;
use proto::transport::Transport::Tcp;

use crate::attacks::resident_kib;
use crate::peers::{PATIENCE, tcp_peer, uninterrupted};
use crate::running::{Ended, Server, exchange, run};

fn server(more: &[&str]) -> Server {
    Server::service(Tcp, "framed", &[&["--quiet"], more].concat())
}

fn client(server: &Server, buffer_size: usize) -> FramedClient {
    FramedClient::connect("127.0.0.1", server.address.port(), buffer_size).unwrap()
}

/// The text without its first ten characters, found another way than the server finds it.
fn rest(text: &str) -> String {
    text.chars().skip(10).collect()
}

fn frame(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

#[test]
fn the_specifications_example_is_answered_byte_for_byte() {
    let server = server(&[]);
    let mut peer = tcp_peer(&server);
    peer.write_all(b"\0\0\0\x1eFour score and seven years ago").unwrap();
    let mut answer = [0; 24];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"\0\0\0\x14 and seven years ago");
    let told =
        run(exchange().args(["framed", &server.address.to_string(), "Four score and seven years ago"]));
    assert_eq!(told, Ended { status: 0, stdout: " and seven years ago\n".into(), stderr: String::new() });
}

#[test]
fn messages_shorter_and_longer_than_either_buffer_come_through_in_series() {
    for (server_buffer, client_buffer) in [("1", 1), ("7", 4096), ("4096", 7), ("4096", 4096)] {
        let server = server(&["--buffer-size", server_buffer]);
        let mut client = client(&server, client_buffer);
        for len in [0, 9, 10, 11, 4095, 4096, 4097, 20_000] {
            let text = "ab🦀dë".chars().cycle().take(len).collect::<String>();
            client.send_message(&text).unwrap();
            assert_eq!(client.receive_message().unwrap(), rest(&text), "{len} characters");
        }
        client.shutdown().unwrap();
    }
}

#[test]
fn a_message_of_650000_characters_comes_through() {
    let text = "0123456789abc".repeat(50_000);
    let server = server(&[]);
    let mut client = client(&server, 4096);
    client.send_message(&text).unwrap();
    assert_eq!(client.receive_message().unwrap(), rest(&text));
}

/// Short enough that a call of the system for each byte takes no time that a client would not wait.
#[test]
fn a_message_comes_through_that_is_read_byte_by_byte() {
    let text = "0123456789abc".repeat(1_000);
    let server = server(&["--buffer-size", "1"]);
    let mut client = client(&server, 4096);
    client.send_message(&text).unwrap();
    assert_eq!(client.receive_message().unwrap(), rest(&text));
}

#[test]
fn pipelined_messages_are_answered_in_order_however_long_they_are() {
    let server = server(&[]);
    let texts =
        ["the first message", "", &"the third message, which is long. ".repeat(100_000)].map(str::to_owned);
    let mut answers = Vec::new();
    client(&server, 4096).pipeline(&texts, |answer| answers.push(answer)).unwrap();
    assert_eq!(answers, texts.each_ref().map(|text| rest(text)));
}

#[test]
fn a_message_cut_in_two_anywhere_is_one_message() {
    let server = server(&[]);
    let mut peer = tcp_peer(&server);
    let message = frame("zoë 🦀 grüßt die 🌍");
    let expected = frame(&rest("zoë 🦀 grüßt die 🌍"));
    for cut in 1..message.len() {
        let (head, tail) = message.split_at(cut);
        peer.write_all(head).unwrap();
        peer.write_all(tail).unwrap();
        let mut answer = vec![0; expected.len()];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(answer, expected, "cut at {cut}");
    }
}

/// All that a server says on a connection until it ends it.
fn last_words(mut peer: TcpStream) -> Vec<u8> {
    let mut words = Vec::new();
    peer.read_to_end(&mut words).unwrap();
    words
}

#[test]
fn nonsense_ends_its_connection_with_a_reason_and_touches_no_other() {
    let server = server(&["--max-message", "100"]);
    let mut bystander = client(&server, 4096);
    for nonsense in [&b"\0\0\0\x65"[..], b"\xff\xff\xff\xff", b"\0\0\0\x02\xc3\x28"] {
        let mut peer = tcp_peer(&server);
        peer.write_all(&[&frame("what was said before")[..], nonsense].concat()).unwrap();
        assert_eq!(last_words(peer), frame("aid before"), "{nonsense:?}");
    }
    bystander.send_message("0123456789 is still served").unwrap();
    assert_eq!(bystander.receive_message().unwrap(), " is still served");
    let log = server.stop(libc::SIGTERM).stderr;
    assert!(log.contains("closed: a message of 101 bytes is longer than 100"), "{log}");
    assert!(log.contains("closed: a message is not UTF-8"), "{log}");
}

#[test]
fn a_client_that_is_gone_at_any_byte_leaves_the_server_to_the_next() {
    let server = server(&["--debug"]);
    let message = frame("a message for nobody");
    for end in 0..=message.len() {
        let mut peer = tcp_peer(&server);
        peer.write_all(&message[..end]).unwrap();
    }
    let mut next = client(&server, 4096);
    next.send_message("0123456789next").unwrap();
    assert_eq!(next.receive_message().unwrap(), "next");
    let log = server.stop(libc::SIGTERM).stderr;
    let cut_off = log.lines().filter(|line| line.contains("it ended in the middle of a message")).count();
    // A client that is gone with its answer unread resets its connection.
    assert_eq!(cut_off, message.len() - 1, "{log}");
}

#[test]
fn an_end_between_messages_and_one_within_a_message_are_told_apart() {
    let server = server(&[]);
    let mut between = client(&server, 4096);
    between.send_message("0123456789before").unwrap();
    assert_eq!(between.receive_message().unwrap(), "before");
    drop(server);
    assert!(matches!(between.receive_message(), Err(FramedError::Ended | FramedError::Reset)));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut within = FramedClient::connect("127.0.0.1", listener.local_addr().unwrap().port(), 4096).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(&frame("half a message")[..7]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(matches!(within.receive_message(), Err(FramedError::CutOff { received: 7 })));
}

#[test]
fn several_clients_at_once_are_served() {
    let server = server(&[]);
    let mut clients: Vec<_> = (0..50).map(|_| client(&server, 4096)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_message(&format!("0123456789client {number}")).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate().rev() {
        assert_eq!(client.receive_message().unwrap(), format!("client {number}"));
    }
}

/// 20 clients each begin a message of a million bytes, of which 16 may be under way.
#[test]
fn long_messages_under_way_share_a_bounded_memory_and_keep_nobody_from_short_ones() {
    let server = server(&["--max-message", "1000000"]);
    let begun = [&1_000_000_u32.to_be_bytes()[..], &[b'a'; 999_999]].concat();
    let (ended, turned_away) = mpsc::channel();
    for _ in 0..20 {
        let (mut peer, begun, ended) = (tcp_peer(&server), begun.clone(), ended.clone());
        thread::spawn(move || {
            let is_sent = peer.write_all(&begun).is_ok();
            assert!(
                !is_sent || matches!(uninterrupted(|| peer.read(&mut [0])), Ok(0) | Err(_)),
                "an answer to half a message"
            );
            let _ = ended.send(());
        });
    }
    turned_away.recv_timeout(PATIENCE / 2).expect("one is turned away");
    let mut next = client(&server, 4096);
    let short = "is served".repeat(7000);
    next.send_message(&short).unwrap();
    assert_eq!(next.receive_message().unwrap(), rest(&short));
}

#[test]
fn a_connection_at_rest_holds_nothing_of_the_memory_for_messages() {
    let server = server(&["--max-message", "1000000"]);
    let text = "a".repeat(1_000_000);
    let mut resting: Vec<_> = (0..40).map(|_| client(&server, 65_536)).collect();
    for client in &mut resting {
        client.send_message(&text).unwrap();
        assert_eq!(client.receive_message().unwrap().len(), 999_990);
    }
}

/// The memory for a message goes with its last byte, even if the next message has begun.
#[test]
fn a_connection_with_a_few_bytes_of_its_next_message_holds_only_these() {
    let server = server(&["--max-message", "1000000"]);
    let asked = [frame(&"a".repeat(1_000_000)), vec![0; 3]].concat();
    let before_kib = resident_kib(&server);
    let _resting: Vec<_> = (0..40)
        .map(|_| {
            let mut peer = tcp_peer(&server);
            peer.write_all(&asked).unwrap();
            peer.read_exact(&mut vec![0; 4 + 999_990]).unwrap();
            peer
        })
        .collect();
    let kib = resident_kib(&server);
    assert!(kib < before_kib + 8192, "{before_kib} -> {kib} KiB");
}

#[test]
fn a_server_that_stops_ends_connections_at_rest_at_once_and_others_after_their_message() {
    let server = server(&[]);
    let mut writing = tcp_peer(&server);
    let (head, tail) = (&frame("0123456789x")[..7], &frame("0123456789x")[7..]);
    writing.write_all(head).unwrap();
    // Who is answered came after the half of a message.
    let mut resting = client(&server, 4096);
    resting.send_message("0123456789x").unwrap();
    assert_eq!(resting.receive_message().unwrap(), "x");
    server.signal(libc::SIGTERM);
    assert!(matches!(resting.receive_message(), Err(FramedError::Ended)));
    writing.write_all(tail).unwrap();
    assert_eq!(last_words(writing), frame("x"));
    assert_eq!(server.end().status, 0);
}

#[test]
fn an_answer_beyond_what_a_client_takes_is_refused_before_it_comes() {
    let server = server(&[]);
    let mut client = client(&server, 4096).message_max(3);
    client.send_message("0123456789four").unwrap();
    assert!(matches!(
        client.receive_message(),
        Err(FramedError::Malformed(FrameError::TooLong { len: 4, max: 3 }))
    ));
}

#[test]
fn what_was_asked_before_a_message_that_is_cut_off_is_answered_however_slowly_it_is_read() {
    let server = server(&["--buffer-size", "16777216"]);
    let peer = tcp_peer(&server);
    let texts = ["a".repeat(6_000_000), "b".repeat(100_000), "c".repeat(100_000)];
    let asked: Vec<u8> = texts.iter().flat_map(|text| frame(text)).chain(*b"\0\0").collect();
    let mut writing = peer.try_clone().unwrap();
    let sending = thread::spawn(move || {
        writing.write_all(&asked).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    // Nothing is read before all is sent, or the server reads no further.
    let mut first = [0; 4];
    peer.peek(&mut first).unwrap();
    let expected: Vec<u8> = texts.iter().flat_map(|text| frame(&rest(text))).collect();
    assert!(last_words(peer) == expected, "answers are missing");
    sending.join().unwrap();
}

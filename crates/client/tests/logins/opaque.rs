//! Logins by OPAQUE.

use std::io::{Read, Write};
use std::iter;
use std::net::TcpListener;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use letmein_auth_client::{
    HostPort, Login, LoginError, Mechanism, Outcome, Password, Progress, Transport, Verdict,
};
use proto::challenge::Challenge;
use proto::opaque::wire::{self, BEGIN_LEN, CHALLENGE_MESSAGE_LEN, MAGIC, OFFER_LEN, ServerMessage, request};

use crate::server::{Served, as_it_is, babble, serve_tcp, serve_udp, users, users_of_md5};
use crate::{TIMEOUT, nobody};

const TRANSPORTS: [Transport; 2] = [Transport::Udp, Transport::Tcp];

fn serve(transport: Transport) -> Served {
    match transport {
        Transport::Udp => serve_udp(users(), as_it_is),
        Transport::Tcp => serve_tcp(users(), b"", 0),
    }
}

fn login(server: &HostPort, transport: Transport) -> Login {
    Login::to(server.clone()).over(transport).within(TIMEOUT).mechanism(Mechanism::Opaque)
}

fn run(login: &Login, user: &str, password: &str) -> Result<Outcome, LoginError> {
    login.run(&user.parse().unwrap(), &Password::new(password).unwrap())
}

fn verdict(login: &Login, user: &str, password: &str) -> Verdict {
    run(login, user, password).unwrap().verdict
}

/// KE1 of all BEGINs that a server has heard.
fn heard_ke1(server: &Served) -> Vec<Vec<u8>> {
    let begins = server.heard.try_iter().filter(|message| message.len() == BEGIN_LEN);
    begins.map(|begin| begin[79..175].to_vec()).collect()
}

#[test]
fn a_right_password_is_welcome_and_a_wrong_one_or_an_unknown_name_is_refused_over_udp_and_tcp() {
    for transport in TRANSPORTS {
        let server = serve(transport);
        let login = login(&server.address, transport);
        assert_eq!(verdict(&login, "alice", "passwordone"), Verdict::Welcome);
        for (user, password) in [("alice", "wrong"), ("nobody", "passwordone"), ("alic", "epasswordone")] {
            assert_eq!(verdict(&login, user, password), Verdict::Refused, "{user}");
        }
    }
}

#[test]
fn a_password_is_stretched_as_the_record_says() {
    for transport in TRANSPORTS {
        let server = serve(transport);
        let login = login(&server.address, transport);
        let verdicts = ["passwordone", "wrong"].map(|password| verdict(&login, "bob", password));
        assert_eq!(verdicts, [Verdict::Welcome, Verdict::Refused]);
    }
}

#[test]
fn each_mechanism_refuses_the_users_of_the_other() {
    for transport in TRANSPORTS {
        let server = serve(transport);
        let login = login(&server.address, transport);
        assert_eq!(verdict(&login, "userone", "passwordone"), Verdict::Refused);
        assert_eq!(verdict(&login.mechanism(Mechanism::Md5), "alice", "passwordone"), Verdict::Refused);
    }
}

#[test]
fn both_ends_of_a_welcome_export_the_same_key_and_no_other_login_has_one() {
    for transport in TRANSPORTS {
        let server = serve(transport);
        let login = login(&server.address, transport);
        let ours = run(&login, "alice", "passwordone").unwrap().session.unwrap();
        let theirs = server.sessions.recv().unwrap();
        let exported = [&ours, &theirs].map(|key| key.export::<32>("test", b"1").unwrap());
        assert_eq!(*exported[0], *exported[1]);
        assert_ne!(*exported[0], *ours.export::<32>("test", b"2").unwrap());
        assert!(run(&login, "alice", "wrong").unwrap().session.is_none());
        let by_md5 = run(&login.mechanism(Mechanism::Md5), "userone", "passwordone").unwrap();
        assert!(by_md5.verdict == Verdict::Welcome && by_md5.session.is_none());
        assert!(server.sessions.try_recv().is_err());
    }
}

#[test]
fn a_login_is_welcome_only_where_the_server_has_the_same_binding() {
    let server = serve_tcp(users(), b"connection 1", 0);
    let bound = |bytes: &[u8]| login(&server.address, Transport::Tcp).binding(bytes);
    for (binding, expected) in [
        (&b"connection 1"[..], Verdict::Welcome),
        (b"connection 2", Verdict::Refused),
        (b"", Verdict::Refused),
    ] {
        assert_eq!(verdict(&bound(binding).unwrap(), "alice", "passwordone"), expected);
    }
    assert!(bound(&[0; 64]).is_ok() && bound(&[0; 65]).is_err());
}

#[test]
fn a_server_that_asks_for_too_much_stretching_is_not_obeyed() {
    let greedy = |mut reply: Vec<u8>| {
        if reply.len() == OFFER_LEN {
            // 4 GiB less one KiB.
            reply[26..30].fill(0xff);
        }
        vec![reply]
    };
    let server = serve_udp(users(), greedy);
    let error = run(&login(&server.address, Transport::Udp), "alice", "passwordone").unwrap_err();
    assert_eq!(error.code(), "stretching");
    assert!(error.to_string().contains("more than 256 MiB"), "{error}");
}

#[test]
fn a_changed_offer_is_a_refusal_of_which_the_server_is_told() {
    let changed = |mut reply: Vec<u8>| {
        if reply.len() == OFFER_LEN {
            reply[349] ^= 1;
        }
        vec![reply]
    };
    let server = serve_udp(users(), changed);
    let login = login(&server.address, Transport::Udp);
    assert_eq!(verdict(&login, "alice", "passwordone"), Verdict::Refused);
    let last = server.heard.recv_timeout(TIMEOUT).into_iter().chain(server.heard.iter()).nth(2).unwrap();
    assert_eq!((last.len(), &last[71..135]), (311, &[0; 64][..]));
}

#[test]
fn a_datagram_forged_longer_than_any_message_ends_no_login() {
    let server = serve_udp(users(), |reply| vec![vec![0xff; 4096], reply]);
    let login = login(&server.address, Transport::Udp);
    assert_eq!(verdict(&login, "alice", "passwordone"), Verdict::Welcome);
}

/// The exchange that says the same KE1 remembers what it has stretched.
#[test]
fn a_login_through_restarts_stretches_once() {
    let server = serve_tcp(users(), b"", 2);
    let login = login(&server.address, Transport::Tcp);
    assert_eq!(verdict(&login, "bob", "passwordone"), Verdict::Welcome);
    assert_one_ke1(&heard_ke1(&server), 3);
}

#[test]
fn a_login_at_several_servers_stretches_once() {
    let stuck =
        serve_udp(
            users(),
            |reply| {
                if reply.len() == CHALLENGE_MESSAGE_LEN { vec![reply] } else { Vec::new() }
            },
        );
    let server = serve_udp(users(), as_it_is);
    let login = login(&stuck.address, Transport::Udp).or(server.address.clone());
    assert_eq!(verdict(&login, "bob", "passwordone"), Verdict::Welcome);
    assert_one_ke1(&[heard_ke1(&stuck), heard_ke1(&server)].concat(), 2);
}

fn assert_one_ke1(heard: &[Vec<u8>], count_min: usize) {
    assert!(heard.len() >= count_min && heard.iter().all(|ke1| ke1 == &heard[0]), "{heard:?}");
}

#[test]
fn each_step_is_a_sentence() {
    let server = serve(Transport::Tcp);
    let (mut steps, address) = (Vec::new(), &server.address);
    let mut watch = |step: Progress<'_>| steps.push(step.to_string());
    let password = Password::new("passwordone").unwrap();
    login(address, Transport::Tcp).run_watched(&"alice".parse().unwrap(), &password, &mut watch).unwrap();
    let first = format!("Sending authentication request to server 127.0.0.1 {}", address.port);
    let then = [
        "Sending username alice and blinded password to server",
        "Sending username alice and proof to server",
    ];
    assert_eq!(steps, [&first, then[0], then[1]]);
}

/// Servers that do not speak OPAQUE, and what they answer instead.
fn others(transport: Transport) -> Vec<(&'static str, Served)> {
    let of_md5 = match transport {
        Transport::Udp => serve_udp(users_of_md5(), as_it_is),
        Transport::Tcp => serve_tcp(users_of_md5(), b"", 0),
    };
    let garbage: [&'static [u8]; 6] = [
        b"0123456789abcdef",
        b"New challenge 0123456789abcdef",
        b"Welcome to our service.",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\xfflmi\x02\x01\x01\x23\x45\x67\x89\xab\xcd\xef",
        &[0xff; 700],
    ];
    let garbage = garbage.map(|says| ("garbage", babble(transport, says)));
    let silent = ("silent", babble(transport, b""));
    garbage.into_iter().chain([silent, ("MD5", of_md5)]).collect()
}

#[test]
fn a_login_by_opaque_sends_nothing_else_whatever_answers_or_does_not() {
    for transport in TRANSPORTS {
        for (what, server) in others(transport) {
            let login = login(&server.address, transport).within(Duration::from_millis(600));
            let error = run(&login, "userone", "passwordone").unwrap_err();
            let hint = "; servers before 0.2, or without a key of records, do not know this mechanism";
            assert!(error.to_string().ends_with(hint), "{what} over {transport}: {error}");
            let heard: Vec<_> = match transport {
                Transport::Udp => server.heard.try_iter().collect(),
                // What a connection brings is told at its end.
                Transport::Tcp => server.heard.recv_timeout(TIMEOUT).into_iter().collect(),
            };
            assert!(!heard.is_empty() && heard.iter().all(|bytes| is_of_opaque(bytes)), "{what}: {heard:?}");
        }
    }
}

/// Whether bytes are whole messages of OPAQUE, one after the other.
fn is_of_opaque(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Ok(Some(len)) = wire::client_message_len(bytes) else { return false };
        if !bytes.starts_with(&MAGIC) || wire::decode_from_client(&bytes[..len.min(bytes.len())]).is_err() {
            return false;
        }
        bytes = &bytes[len..];
    }
    true
}

#[test]
fn a_login_by_opaque_where_nobody_listens_is_refused_by_the_system_over_tcp() {
    let (_taken, address) = nobody();
    let error = run(&login(&address, Transport::Tcp), "alice", "passwordone").unwrap_err();
    assert!(matches!(error, LoginError::Refused { .. }), "{error}");
}

/// Breaks each connection after its BEGIN, and tells of it.
fn serve_broken(begins: Sender<()>) -> HostPort {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, mut message) = (connection.unwrap(), [0; BEGIN_LEN]);
            let mut challenge = Vec::new();
            ServerMessage::Challenge(Challenge::from_random(7)).append_to(&mut challenge);
            // A client whose time is over says no more.
            let has_begun = connection.read_exact(&mut message[..request().len()]).is_ok()
                && connection.write_all(&challenge).is_ok()
                && connection.read_exact(&mut message).is_ok();
            if has_begun && begins.send(()).is_err() {
                return;
            }
        }
    });
    address
}

#[test]
fn a_server_that_breaks_connections_is_tried_again_while_another_is_silent() {
    for breaks in [1, 2] {
        let (silent, server) = (babble(Transport::Tcp, b""), serve_tcp(users(), b"", breaks));
        let login = login(&silent.address, Transport::Tcp).or(server.address.clone());
        // The silent one is waited for until the end.
        let login = login.wait().within(Duration::from_secs(10));
        assert_eq!(verdict(&login, "alice", "passwordone"), Verdict::Welcome, "{breaks}");
    }
}

/// Each BEGIN is a guess to a server, and a path that breaks connections would use up those of the user.
#[test]
fn a_login_begins_at_a_server_that_breaks_connections_three_times_and_then_lets_it_rest() {
    for (servers, waits) in [(1, false), (1, true), (3, false), (3, true)] {
        let (sender, begins) = mpsc::channel();
        let mut others = iter::repeat_with(|| serve_broken(sender.clone())).take(servers);
        let first = login(&others.next().unwrap(), Transport::Tcp);
        let login = others.fold(first, Login::or);
        // A rest is longer than this wait.
        let login =
            if waits { login.wait().within(Duration::from_millis(2900)) } else { login.within(TIMEOUT) };
        let error = run(&login, "alice", "passwordone").unwrap_err();
        assert_eq!((error.code(), begins.try_iter().count()), ("closed", 3 * servers));
    }
}

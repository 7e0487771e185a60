//! Whole logins over the loopback of any system, at a server made of the protocol.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use letmein_auth_client::{HostPort, Login, LoginError, Password, Transport, Verdict};
use proto::Now;
use proto::challenge::Challenge;
use proto::mechanism::Mechanisms;
use proto::opaque::Binding;
use proto::server::opaque::OpaqueDesk;
use proto::server::penalty::{Penalties, Policy};
use proto::server::stream::LoginStream;
use proto::server::{Case, Keys, Server};
use proto::users::{Builder, Conditions, Users};

const NOW: Now = Now { uptime: Duration::from_secs(1), unix_s: 1_767_225_600 };
const TIMEOUT: Duration = Duration::from_secs(60);

fn users() -> Users {
    let mut builder = Builder::for_text(100).unwrap();
    let password = Password::new("passwordone").unwrap();
    builder.push(&"userone".parse().unwrap(), &password, Conditions::none()).unwrap();
    builder.finish().unwrap()
}

fn penalties() -> Penalties {
    Penalties::new(&[3; 16], Policy::default())
}

/// Serves until the program ends, and sends `noise` ahead of each reply.
fn serve_udp(noise: &'static [u8]) -> HostPort {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let (users, mut server) = (users(), Server::new(&Keys::known(1), Arc::new(penalties()), None));
        let mut room = [0; 2048];
        loop {
            // Windows makes an error of a client that has left.
            let Ok((len, peer)) = socket.recv_from(&mut room) else { continue };
            let mut reply = Vec::new();
            server.datagram(&users, NOW, peer.into(), &room[..len], &mut reply);
            if !reply.is_empty() {
                socket.send_to(noise, peer).unwrap();
                socket.send_to(&reply, peer).unwrap();
            }
        }
    });
    address.to_string().parse().unwrap()
}

fn serve_tcp() -> HostPort {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (users, penalties) = (users(), penalties());
        listener.incoming().for_each(|stream| converse(stream.unwrap(), &users, &penalties));
    });
    address.to_string().parse().unwrap()
}

fn converse(mut stream: TcpStream, users: &Users, penalties: &Penalties) {
    let peer = stream.peer_addr().unwrap();
    let mut conversation = LoginStream::new(Challenge::from_random(7), Mechanisms::ALL);
    let mut desk = OpaqueDesk::new(Transport::Tcp, &[1; 32], [2; 32], Binding::none());
    let case = Case { users, penalties, now: NOW, peer: peer.into() };
    let (mut received, mut room) = (Vec::new(), [0; 512]);
    while !conversation.is_over() {
        match stream.read(&mut room).unwrap() {
            0 => return,
            len => received.extend_from_slice(&room[..len]),
        }
        let mut rest = &received[..];
        let mut replies = Vec::new();
        while conversation.receive(case, &mut desk, &mut rest, &mut replies).is_some() {}
        stream.write_all(&replies).unwrap();
        received.drain(..received.len() - rest.len());
    }
}

fn log_in(server: HostPort, transport: Transport, password: &str) -> Result<Verdict, LoginError> {
    let login = Login::to(server).over(transport).within(TIMEOUT);
    let outcome = login.run(&"userone".parse().unwrap(), &Password::new(password).unwrap())?;
    Ok(outcome.verdict)
}

#[test]
fn a_right_password_is_welcome_and_a_wrong_one_is_refused_over_udp_and_tcp() {
    for (server, transport) in [(serve_udp(b""), Transport::Udp), (serve_tcp(), Transport::Tcp)] {
        let log_in = |password| log_in(server.clone(), transport, password).unwrap();
        assert_eq!([log_in("passwordone"), log_in("wrong")], [Verdict::Welcome, Verdict::Refused]);
    }
}

#[test]
fn a_datagram_forged_longer_than_any_message_ends_no_login() {
    let verdict = log_in(serve_udp(&[b'W'; 4096]), Transport::Udp, "passwordone");
    assert_eq!(verdict.unwrap(), Verdict::Welcome);
}

#[test]
fn a_server_that_nobody_runs_refuses_over_tcp() {
    // The port of a connection is taken, and nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = taken.local_addr().unwrap().to_string().parse().unwrap();
    let ended = log_in(server, Transport::Tcp, "passwordone");
    assert!(matches!(ended, Err(LoginError::Refused { .. })), "{ended:?}");
}

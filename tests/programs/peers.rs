//! The other end of the network, as far as tests play it byte by byte.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use client::{Password, Transport};
use proto::challenge::Challenge;
use proto::proof::Secret;
use socket2::{Domain, Socket, Type};

use crate::running::Server;

pub(crate) const REQUEST: &[u8] = b"Authentication Request";
/// The request of the first clients, who want the verdict in letters.
pub(crate) const OLD_REQUEST: &[u8] = b"Authentication request";
pub(crate) const WELCOME: &[u8] = b"Welcome to our service.";
pub(crate) const REFUSED: &[u8] = b"User authorization failed.";

/// Only a test that fails waits as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The 32 digits that prove a password.
pub(crate) fn digest(name: &str, password: &str, challenge: &[u8]) -> String {
    let secret = Secret::new(&name.parse().unwrap(), &Password::new(password).unwrap());
    let challenge = Challenge::from_lower_digits(challenge).expect("16 lower-case hexadecimal digits");
    String::from_utf8(secret.digest(challenge).digits().into()).unwrap()
}

/// An answer that does not carry the challenge back.
pub(crate) fn answer(name: &str, password: &str, challenge: &[u8]) -> Vec<u8> {
    format!("{name}:{}", digest(name, password, challenge)).into()
}

/// An answer that does.
pub(crate) fn echoing_answer(name: &str, password: &str, challenge: &[u8]) -> Vec<u8> {
    [&answer(name, password, challenge), &b":"[..], challenge].concat()
}

/// A socket of 127.0.0.1 that says nothing by itself.
pub(crate) fn udp_socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A socket that hears this server, at this very address, and nobody else.
pub(crate) fn udp_peer(server: &Server) -> UdpSocket {
    let socket = udp_socket();
    socket.connect(server.address).unwrap();
    socket
}

/// The same, with any address of this machine.
pub(crate) fn stranger(server: &Server, source: Ipv4Addr) -> UdpSocket {
    let socket = UdpSocket::bind((source, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server.address).unwrap();
    socket
}

/// Does it again where a signal has interrupted it. A read that has a timeout is interrupted also by signals for which
/// there is no handler, such as those that stop and continue all processes (signal(7)).
pub(crate) fn uninterrupted<T>(mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match act() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The next datagram, and whose it is.
pub(crate) fn receive(socket: &UdpSocket) -> (SocketAddr, Vec<u8>) {
    let mut datagram = [0; 256];
    let (len, peer) = uninterrupted(|| socket.recv_from(&mut datagram)).unwrap();
    (peer, datagram[..len].to_vec())
}

/// Sends a datagram, and gives the next that comes.
pub(crate) fn ask(peer: &UdpSocket, datagram: &[u8]) -> Vec<u8> {
    peer.send(datagram).unwrap();
    receive(peer).1
}

pub(crate) fn tcp_peer(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// An address for a port that is given up and taken again: it is no client's, so no port of it is taken by chance,
/// or still kept for a connection that has ended.
pub(crate) const QUIET_HOST: [u8; 4] = [127, 0, 0, 77];

/// A port at which all are refused, and which nobody takes, for as long as the socket lives: over UDP it hears only
/// itself, over TCP it does not listen.
pub(crate) fn refusing_socket(transport: Transport) -> Socket {
    let kind = match transport {
        Transport::Udp => Type::DGRAM,
        Transport::Tcp => Type::STREAM,
    };
    let socket = Socket::new(Domain::IPV4, kind, None).unwrap();
    socket.bind(&SocketAddr::from((QUIET_HOST, 0)).into()).unwrap();
    if transport == Transport::Udp {
        socket.connect(&socket.local_addr().unwrap()).unwrap();
    }
    socket
}

pub(crate) fn address_of(socket: &Socket) -> String {
    socket.local_addr().unwrap().as_socket().unwrap().to_string()
}

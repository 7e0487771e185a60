//! Servers made of the protocol, which serve until the program ends and tell what they hear.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use letmein_auth_client::{HostPort, Password, Transport};
use proto::Now;
use proto::challenge::Challenge;
use proto::opaque::Binding;
use proto::opaque::key::ServerKey;
use proto::opaque::registration::register;
use proto::opaque::session::SessionKey;
use proto::opaque::stretching::Stretching;
use proto::opaque::wire::{self, FINISH_LEN};
use proto::server::opaque::OpaqueDesk;
use proto::server::penalty::{Penalties, Policy};
use proto::server::stream::LoginStream;
use proto::server::{Case, Keys, Seed, Server};
use proto::users::{Builder, Conditions, Users};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const NOW: Now = Now::new(Duration::from_secs(1), 1_767_225_600);

/// A server, and all that it hears and agrees upon.
pub(crate) struct Served {
    pub(crate) address: HostPort,
    /// Datagrams, or the bytes of a connection that were read at once.
    pub(crate) heard: Receiver<Vec<u8>>,
    /// The keys of those who are welcome by OPAQUE.
    pub(crate) sessions: Receiver<SessionKey>,
}

/// userone, with a password; alice, with a record; and bob, whose password is stretched.
pub(crate) fn users() -> &'static Users {
    static USERS: LazyLock<Users> = LazyLock::new(|| {
        let mut builder = with_userone();
        let mut random = ChaCha20Rng::from_seed([1; 32]);
        let key = ServerKey::generate(&mut random);
        builder.set_key(key.clone());
        let password = Password::new("passwordone").unwrap();
        for (name, stretching) in [("alice", Stretching::NONE), ("bob", Stretching::LIGHT)] {
            let name = name.parse().unwrap();
            let record = register(&key, &name, &password, stretching, &mut random).unwrap();
            builder.push_record(&name, &record, Conditions::none()).unwrap();
        }
        builder.finish().unwrap()
    });
    &USERS
}

/// userone alone, so that the server speaks MD5 alone.
pub(crate) fn users_of_md5() -> &'static Users {
    static USERS: LazyLock<Users> = LazyLock::new(|| with_userone().finish().unwrap());
    &USERS
}

fn with_userone() -> Builder {
    let mut builder = Builder::for_text(1000).unwrap();
    let password = Password::new("passwordone").unwrap();
    builder.push(&"userone".parse().unwrap(), &password, Conditions::none()).unwrap();
    builder
}

fn penalties() -> Penalties {
    Penalties::new(&[3; 16], Policy::default())
}

/// Sends a reply, and nothing else.
pub(crate) fn as_it_is(reply: Vec<u8>) -> Vec<Vec<u8>> {
    vec![reply]
}

/// Serves over UDP. `shape` says which datagrams are sent for a reply of the protocol, which may be empty.
pub(crate) fn serve_udp(users: &'static Users, shape: fn(Vec<u8>) -> Vec<Vec<u8>>) -> Served {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let ((hears, heard), (agrees, sessions)) = (mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        let mut server = Server::new(&Keys::known(1), Seed([1; 32]), Arc::new(penalties()), None);
        let mut room = [0; 2048];
        loop {
            // Windows makes an error of a client that has left.
            let Ok((len, peer)) = socket.recv_from(&mut room) else { continue };
            let mut reply = Vec::new();
            let reaction = server.datagram(users, NOW, peer.into(), &room[..len], &mut reply);
            while server.has_waiting() {
                server.offer(users, NOW, &mut reply);
            }
            // Not every test listens.
            let _ = hears.send(room[..len].to_vec());
            let _ = reaction.session.map(|session| agrees.send(session));
            for datagram in shape(reply).iter().filter(|datagram| !datagram.is_empty()) {
                let _ = socket.send_to(datagram, peer);
            }
        }
    });
    Served { address: address.to_string().parse().unwrap(), heard, sessions }
}

/// Serves over TCP, with a binding. The first connections, as many as `cut`, end when the last message of a login by
/// OPAQUE has come.
pub(crate) fn serve_tcp(users: &'static Users, binding: &'static [u8], cut: usize) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ((hears, heard), (agrees, sessions)) = (mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        let penalties = penalties();
        for (number, stream) in listener.incoming().enumerate() {
            let desk = OpaqueDesk::new(
                Transport::Tcp,
                &Keys::known(1),
                Seed([2; 32]),
                Binding::new(binding).unwrap(),
            );
            let door = Door { users, penalties: &penalties, hears: &hears, agrees: &agrees };
            door.converse(stream.unwrap(), desk, number < cut);
        }
    });
    Served { address: address.to_string().parse().unwrap(), heard, sessions }
}

struct Door<'a> {
    users: &'a Users,
    penalties: &'a Penalties,
    hears: &'a Sender<Vec<u8>>,
    agrees: &'a Sender<SessionKey>,
}

impl Door<'_> {
    fn converse(&self, mut stream: TcpStream, mut desk: OpaqueDesk, is_cut: bool) {
        let peer = stream.peer_addr().unwrap().into();
        let case = Case { users: self.users, penalties: self.penalties, now: NOW, peer };
        let mut conversation = LoginStream::new(Challenge::from_random(7), self.users.mechanisms());
        let (mut received, mut room) = (Vec::new(), [0; 1024]);
        while !conversation.is_over() {
            let len = stream.read(&mut room).unwrap_or(0);
            received.extend_from_slice(&room[..len]);
            let _ = self.hears.send(room[..len].to_vec());
            if len == 0 || (is_cut && wire::client_message_len(&received) == Ok(Some(FINISH_LEN))) {
                return;
            }
            let (mut rest, mut replies) = (&received[..], Vec::new());
            while let Some(reaction) = conversation.receive(case, &mut desk, &mut rest, &mut replies) {
                let _ = reaction.session.map(|session| self.agrees.send(session));
            }
            let _ = stream.write_all(&replies);
            received.drain(..received.len() - rest.len());
        }
    }
}

/// What a server over UDP or TCP says and hears that is none.
pub(crate) fn babble(transport: Transport, says: &'static [u8]) -> Served {
    match transport {
        Transport::Udp => babble_over_udp(says),
        Transport::Tcp => babble_over_tcp(says),
    }
}

fn babble_over_udp(says: &'static [u8]) -> Served {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (address, (hears, heard)) = (socket.local_addr().unwrap(), mpsc::channel());
    thread::spawn(move || {
        let mut room = [0; 2048];
        loop {
            let Ok((len, peer)) = socket.recv_from(&mut room) else { continue };
            let _ = hears.send(room[..len].to_vec());
            if !says.is_empty() {
                let _ = socket.send_to(says, peer);
            }
        }
    });
    Served { address: address.to_string().parse().unwrap(), heard, sessions: mpsc::channel().1 }
}

fn babble_over_tcp(says: &'static [u8]) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, (hears, heard)) = (listener.local_addr().unwrap(), mpsc::channel());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut all) = (stream.unwrap(), Vec::new());
            let _ = stream.write_all(says);
            let mut room = [0; 2048];
            while let Ok(len @ 1..) = stream.read(&mut room) {
                all.extend_from_slice(&room[..len]);
                let _ = stream.write_all(says);
            }
            let _ = hears.send(all);
        }
    });
    Served { address: address.to_string().parse().unwrap(), heard, sessions: mpsc::channel().1 }
}

//! Encrypts a message under a key that the two ends of a login have, and nobody else: `session_key`. Both ends are
//! here, each in a thread of its own, and talk over UDP on this machine.
//!
//! A login by OPAQUE ends with a session key. Each purpose has a key of its own, which is exported from that under a
//! label; nothing of it crosses the network.

use std::error::Error;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use letmein_auth_client::{Login, Mechanism, Password, SessionKey, Username};
use proto::Now;
use proto::opaque::key::ServerKey;
use proto::opaque::registration::register;
use proto::opaque::stretching::Stretching;
use proto::server::penalty::{Penalties, Policy};
use proto::server::{Keys, Seed, Server};
use proto::users::{Builder, Conditions, Users};
use rand::TryRng;
use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// What the key is for. Another purpose has another label.
const LABEL: &str = "letmein example, client to server";
/// What it is bound to besides: here a version of what is said.
const CONTEXT: &[u8] = b"1";

type Failed = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let (user, password) = ("userone".parse()?, Password::new("passwordone")?);
    let (logins, messages) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    let (login_addr, message_addr) = (logins.local_addr()?, messages.local_addr()?);
    let users = users(&user, &password)?;
    let server = thread::spawn(move || receive_secret(&users, &logins, &messages));

    let login = Login::to(login_addr.to_string().parse()?).mechanism(Mechanism::Opaque);
    let outcome = login.run(&user, &password)?;
    let session = outcome.session.ok_or("the server refuses")?;
    // A key of one login that encrypts one message may have any nonce. For more messages count, and start at 0.
    let secret = cipher(&session)?.encrypt(&Nonce::default(), &b"The gate is open."[..]);
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    sender.send_to(&secret.map_err(|_| "too long")?, message_addr)?;

    println!("{}", server.join().map_err(|_| "the server panicked")??);
    Ok(())
}

/// What both ends do with the session key.
fn cipher(session: &SessionKey) -> Result<ChaCha20Poly1305, Failed> {
    let key = session.export::<32>(LABEL, CONTEXT)?;
    Ok(ChaCha20Poly1305::new((&*key).into()))
}

/// Serves one login, and then one message of whoever has logged in.
fn receive_secret(users: &Users, logins: &UdpSocket, messages: &UdpSocket) -> Result<String, Failed> {
    let session = serve_login(users, logins)?;
    let mut secret = [0; 512];
    let (len, _) = messages.recv_from(&mut secret)?;
    let text = cipher(&session)?.decrypt(&Nonce::default(), secret.get(..len).unwrap_or_default());
    Ok(String::from_utf8(text.map_err(|_| "somebody else has sent this")?)?)
}

/// Serves until somebody is welcome. The session key comes with the welcome, once.
fn serve_login(users: &Users, socket: &UdpSocket) -> Result<SessionKey, Failed> {
    let started = Instant::now();
    let keys = Keys::draw(|bytes| SysRng.try_fill_bytes(bytes))?;
    let mut server =
        Server::new(&keys, Seed([1; 32]), Arc::new(Penalties::new(&[0; 16], Policy::default())), None);
    let mut datagram = [0; 1024];
    loop {
        let (len, peer) = socket.recv_from(&mut datagram)?;
        let now = Now::new(started.elapsed() + Duration::from_secs(1), 0);
        let mut reply = Vec::new();
        let datagram = datagram.get(..len).unwrap_or_default();
        let session = server.datagram(users, now, peer.into(), datagram, &mut reply).session;
        while server.has_waiting() {
            server.offer(users, now, &mut reply);
        }
        if !reply.is_empty() {
            socket.send_to(&reply, peer)?;
        }
        if let Some(session) = session {
            return Ok(session);
        }
    }
}

/// One user, whose password the server never has: only what was made of it.
fn users(name: &Username, password: &Password) -> Result<Users, Failed> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed)?;
    let mut random = ChaCha20Rng::from_seed(seed);
    let key = ServerKey::generate(&mut random);
    let record = register(&key, name, password, Stretching::DEFAULT, &mut random)?;
    let mut builder = Builder::for_text(1000)?;
    builder.set_key(key);
    builder.push_record(name, &record, Conditions::none())?;
    Ok(builder.finish().map_err(|_| "one user is too many")?)
}

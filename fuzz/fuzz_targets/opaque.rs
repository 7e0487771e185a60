//! Messages of OPAQUE: what is decoded is what is encoded; and no bytes panic a server, make it say more than it heard,
//! or let anybody in.
#![no_main]

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use letmein_auth_proto::Now;
use letmein_auth_proto::credentials::Password;
use letmein_auth_proto::opaque::key::ServerKey;
use letmein_auth_proto::opaque::registration::register;
use letmein_auth_proto::opaque::stretching::Stretching;
use letmein_auth_proto::opaque::wire::{ClientMessage, ServerMessage, decode_from_client, request};
use letmein_auth_proto::server::event::Event;
use letmein_auth_proto::server::penalty::{Penalties, Policy};
use letmein_auth_proto::server::{Keys, Seed, Server};
use letmein_auth_proto::users::{Builder, Conditions, Users};
use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

static USERS: LazyLock<Users> = LazyLock::new(|| {
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    let (key, name) = (ServerKey::generate(&mut random), "alice".parse().expect("a name"));
    let password = Password::new("right").expect("a password");
    let record = register(&key, &name, &password, Stretching::NONE, &mut random).expect("a record");
    let mut builder = Builder::for_text(1000).expect("memory");
    builder.set_key(key);
    builder.push_record(&name, &record, Conditions::none()).expect("room");
    builder.finish().expect("users")
});

fuzz_target!(|bytes: &[u8]| {
    match decode_from_client(bytes) {
        Ok(ClientMessage::Request) => assert_eq!(bytes, request()),
        Ok(ClientMessage::Begin(begin)) => assert_eq!(bytes, begin.to_bytes()),
        Ok(ClientMessage::Finish(finish)) => assert_eq!(bytes, finish.to_bytes()),
        Err(_) => {}
    }
    if let Some(message) = ServerMessage::decode(bytes) {
        let mut again = Vec::new();
        message.append_to(&mut again);
        assert_eq!(again, bytes);
    }
    let penalties = Arc::new(Penalties::new(&[1; 16], Policy::none()));
    let mut server = Server::new(&Keys::known(1), Seed([1; 32]), penalties, None);
    let now = Now::new(Duration::from_secs(5), 1_767_225_600);
    let peer = SocketAddr::from(([192, 0, 2, 1], 5000)).into();
    // The challenge of this server at that time to that peer, so that a BEGIN gets further than an AGAIN.
    let mut challenge = Vec::new();
    server.datagram(&USERS, now, peer, &request(), &mut challenge);
    let mut datagram = bytes.to_vec();
    if bytes.get(5) == Some(&2)
        && let (Some(given), Some(room)) = (challenge.get(6..14), datagram.get_mut(6..14))
    {
        room.copy_from_slice(given);
    }
    let mut reply = Vec::new();
    let reaction = server.datagram(&USERS, now, peer, &datagram, &mut reply);
    assert!(!matches!(reaction.event, Event::Welcomed { .. }));
    while server.offer(&USERS, now, &mut reply).is_some() {}
    assert!(reply.len() <= datagram.len());
});

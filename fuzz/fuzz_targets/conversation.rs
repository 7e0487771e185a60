//! However a connection's bytes are cut into segments, the same is said to them.
#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use letmein_auth_proto::Now;
use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::mechanism::Mechanisms;
use letmein_auth_proto::opaque::Binding;
use letmein_auth_proto::server::opaque::OpaqueDesk;
use letmein_auth_proto::server::penalty::{Penalties, Policy};
use letmein_auth_proto::server::stream::{BUFFER_LEN, LoginStream};
use letmein_auth_proto::server::{Case, Keys, Seed};
use letmein_auth_proto::transport::Transport;
use letmein_auth_proto::users::Users;
use letmein_auth_users::parse;
use libfuzzer_sys::fuzz_target;

/// What is said, and whether the connection is over, when the bytes come in segments of at most so many.
fn said(users: &Users, bytes: &[u8], segment_len: usize) -> (Vec<u8>, bool) {
    let now = Now::new(Duration::from_secs(5), 1_767_225_600);
    let peer: SocketAddr = "192.0.2.1:5000".parse().expect("an address");
    let penalties = Penalties::new(&[1; 16], Policy::none());
    let mut conversation = LoginStream::new(Challenge::from_random(7), Mechanisms::ALL);
    let mut desk = OpaqueDesk::new(Transport::Tcp, &Keys::known(1), Seed([2; 32]), Binding::none());
    let case = Case { users, penalties: &penalties, now, peer: peer.into() };
    let (mut said, mut received) = (Vec::new(), Vec::new());
    for segment in bytes.chunks(segment_len) {
        received.extend_from_slice(segment);
        let mut rest = &received[..];
        while conversation.receive(case, &mut desk, &mut rest, &mut said).is_some() {}
        let taken = received.len() - rest.len();
        received.drain(..taken);
        if conversation.is_over() {
            break;
        }
        assert!(received.len() <= BUFFER_LEN, "more is kept than a message has");
    }
    (said, conversation.is_over())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (segment_len, bytes) = input;
    let users = parse("[users]\nuserone = \"passwordone\"").expect("a users file");
    let segment_len = usize::from(segment_len).clamp(1, BUFFER_LEN);
    let one_by_one = said(&users, bytes, 1);
    assert_eq!(said(&users, bytes, segment_len), one_by_one);
});

//! The exchange allocates nothing for a message, whatever the message is.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::client::{Client, Resends, Step};
use letmein_auth_proto::credentials::Password;
use letmein_auth_proto::mechanism::Mechanisms;
use letmein_auth_proto::opaque::exchange::ClientExchange;
use letmein_auth_proto::opaque::key::ServerKey;
use letmein_auth_proto::opaque::registration::register;
use letmein_auth_proto::opaque::stretching::Stretching;
use letmein_auth_proto::opaque::wire::MESSAGE_MAX;
use letmein_auth_proto::opaque::{self, Binding};
use letmein_auth_proto::proof::Secret;
use letmein_auth_proto::server::opaque::OpaqueDesk;
use letmein_auth_proto::server::penalty::{Penalties, Policy};
use letmein_auth_proto::server::stream::LoginStream;
use letmein_auth_proto::server::{Case, Keys, Seed, Server};
use letmein_auth_proto::transport::Transport;
use letmein_auth_proto::users::{Builder, Conditions, Users};
use letmein_auth_proto::wire::REPLY_MAX;
use letmein_auth_proto::{Now, Peer};
use letmein_auth_users::parse;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const NOW: Now = Now::new(Duration::from_secs(5), 1_767_225_600);

fn penalties() -> Penalties {
    Penalties::new(&[4; 16], Policy::default()).with_pool()
}

fn peer() -> Peer {
    SocketAddr::from(([192, 0, 2, 1], 5000)).into()
}

/// Answers of userone to a challenge: right and wrong, with it and without.
fn answers(challenge: Challenge) -> Vec<String> {
    let answer = |user: &str, password| {
        let secret = Secret::new(&user.parse().unwrap(), &Password::new(password).unwrap());
        format!("{user}:{}", secret.digest(challenge))
    };
    let right = answer("userone", "passwordone");
    let (wrong, unknown) = (answer("userone", "wrong"), answer("nobody", "wrong"));
    let echoing = [&right, &wrong, &unknown].map(|answer| format!("{answer}:{challenge}"));
    [vec![right, wrong, unknown], echoing.to_vec()].concat()
}

#[test]
fn a_datagram_allocates_nothing() {
    for other in ["", "other = { password = 'new', old_password = 'old', old_until = 2099-12-31 }"] {
        allocate_nothing(&parse(&format!("[users]\nuserone = \"passwordone\"\n{other}")).unwrap());
    }
}

/// All datagrams that a server with these users gets.
fn allocate_nothing(users: &Users) {
    let mut server = Server::new(&Keys::known(1), Seed([1; 32]), Arc::new(penalties()), None);
    let mut reply = Vec::with_capacity(REPLY_MAX);
    server.datagram(users, NOW, peer(), b"Authentication Request", &mut reply);
    let mut datagrams = answers(Challenge::from_digits(&reply).unwrap());
    datagrams.extend(answers(Challenge::from_random(7)));
    datagrams.extend(["Authentication Request", "Authentication request", "", "nonsense"].map(str::to_owned));
    datagrams.push("x".repeat(129));
    for datagram in datagrams {
        reply.clear();
        let allocations = measure(|| {
            server.datagram(users, NOW, peer(), datagram.as_bytes(), &mut reply);
        });
        assert_eq!(allocations.count_total, 0, "{datagram}");
    }
}

#[test]
fn a_conversation_allocates_nothing() {
    let users = parse("[users]\nuserone = \"passwordone\"").unwrap();
    let (challenge, penalties) = (Challenge::from_random(7), penalties());
    let mut desk = OpaqueDesk::new(Transport::Tcp, &Keys::known(1), Seed([2; 32]), Binding::none());
    let case = Case { users: &users, penalties: &penalties, now: NOW, peer: peer() };
    let mut replies = Vec::with_capacity(2 * REPLY_MAX);
    for answer in answers(challenge) {
        replies.clear();
        let said = format!("Authentication Request\r\n{answer}");
        let allocations = measure(|| {
            let mut conversation = LoginStream::new(challenge, Mechanisms::ALL);
            let mut received = said.as_bytes();
            while conversation.receive(case, &mut desk, &mut received, &mut replies).is_some() {}
            assert!(conversation.is_over());
        });
        assert_eq!(allocations.count_total, 0, "{answer}");
    }
}

/// A login by OPAQUE, right and wrong, of a user and of an unknown name.
#[test]
fn a_login_by_opaque_allocates_nothing_at_the_server() {
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    let (key, right) = (ServerKey::generate(&mut random), Password::new("right").unwrap());
    let mut builder = Builder::for_text(1000).unwrap();
    builder.set_key(key.clone());
    let record = register(&key, &"alice".parse().unwrap(), &right, Stretching::NONE, &mut random).unwrap();
    builder.push_record(&"alice".parse().unwrap(), &record, Conditions::none()).unwrap();
    let users = builder.finish().unwrap();
    let penalties = Arc::new(Penalties::new(&[4; 16], Policy::default()));
    let mut server = Server::new(&Keys::known(1), Seed([1; 32]), penalties, None);
    for (user, password) in [("alice", "right"), ("alice", "wrong"), ("nobody", "right")] {
        let (name, password) = (user.parse().unwrap(), Password::new(password).unwrap());
        let exchange = ClientExchange::new(&name, &password, Binding::none(), &mut random).unwrap();
        let mut client = opaque::client::Client::new(exchange, Resends::Timed, Duration::from_secs(15), 1);
        let (mut reply, mut messages) = (Vec::with_capacity(MESSAGE_MAX), 0);
        while let Step::Send { bytes, .. } = client.next(Duration::ZERO) {
            reply.clear();
            let allocations = measure(|| {
                server.datagram(&users, NOW, peer(), bytes, &mut reply);
                server.offer(&users, NOW, &mut reply);
            });
            assert_eq!(allocations.count_total, 0, "message {messages} of {user}");
            messages += 1;
            client.receive(Duration::ZERO, &reply);
        }
        assert_eq!(messages, 3);
    }
}

#[test]
fn a_client_allocates_nothing_once_it_is_made() {
    let password = Password::new("passwordone").unwrap();
    let deadline = Duration::from_secs(15);
    let mut client = Client::new(&"userone".parse().unwrap(), &password, Resends::Timed, deadline, 1);
    let allocations = measure(|| {
        assert!(matches!(client.next(Duration::ZERO), Step::Send { .. }));
        client.receive(Duration::ZERO, b"5bf76b8a82f5f462");
        assert!(matches!(client.next(Duration::ZERO), Step::Send { .. }));
        client.receive(Duration::ZERO, b"Welcome to our service.");
        assert!(matches!(client.next(Duration::from_secs(1)), Step::Done(Ok(_))));
    });
    assert_eq!(allocations.count_total, 0);
}

//! The time of the exchange for a datagram, without the network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::credentials::{Password, Username};
use letmein_auth_proto::proof::Secret;
use letmein_auth_proto::server::penalty::{Penalties, Policy};
use letmein_auth_proto::server::{Keys, Seed, Server};
use letmein_auth_proto::users::Users;
use letmein_auth_proto::wire::REPLY_MAX;
use letmein_auth_proto::{Now, Peer};
use letmein_auth_users::parse;

fn main() {
    divan::main();
}

/// Late enough that an answer without its challenge has the most challenges to try.
const NOW: Now = Now::new(Duration::from_secs(100), 1_767_225_600);
/// A server without budgets, so that no answer is ignored.
fn server() -> Server {
    Server::new(&Keys::known(1), Seed([1; 32]), Arc::new(Penalties::new(&[4; 16], Policy::none())), None)
}

const PEERS: u16 = 1024;

fn peers() -> impl Iterator<Item = Peer> + Clone {
    (1..=PEERS).map(|port| SocketAddr::from(([192, 0, 2, 1], port)).into())
}

fn users(count: u32) -> Users {
    parse(&users_text(count)).expect("a users file")
}

fn users_text(count: u32) -> String {
    let lines = (0..count).map(|number| format!("user{number:07} = \"password{number:07}\"\n"));
    "[users]\n".to_owned() + &lines.collect::<String>()
}

fn digest(name: &str, password: &str, challenge: Challenge) -> String {
    let name: Username = name.parse().expect("a name");
    Secret::new(&name, &Password::new(password).expect("a password")).digest(challenge).to_string()
}

/// The kind of answer to a challenge.
#[derive(Clone, Copy, Debug)]
enum AnswerKind {
    Right,
    RightWithoutChallenge,
    Wrong,
    WrongWithoutChallenge,
    Unknown,
}

impl AnswerKind {
    fn to(self, challenge: Challenge) -> String {
        let (name, password) = match self {
            Self::Right | Self::RightWithoutChallenge => ("user0000001", "password0000001"),
            Self::Wrong | Self::WrongWithoutChallenge => ("user0000001", "another"),
            Self::Unknown => ("nobody", "another"),
        };
        let answer = format!("{name}:{}", digest(name, password, challenge));
        match self {
            Self::Right | Self::Wrong | Self::Unknown => format!("{answer}:{challenge}"),
            Self::RightWithoutChallenge | Self::WrongWithoutChallenge => answer,
        }
    }
}

/// Measures the datagrams in turn, over and over.
fn datagrams(bencher: Bencher<'_, '_>, users: &Users, mut server: Server, datagrams: &[(Peer, String)]) {
    let (mut next, mut reply) = (datagrams.iter().cycle(), Vec::with_capacity(REPLY_MAX));
    bencher.bench_local(|| {
        if let Some((peer, datagram)) = next.next() {
            reply.clear();
            divan::black_box(server.datagram(users, NOW, *peer, datagram.as_bytes(), &mut reply));
        }
    });
}

#[divan::bench(sample_size = 1024, args = ["Authentication Request", "nonsense", "name:no-digest"])]
fn a_datagram_that_is_no_answer(bencher: Bencher<'_, '_>, datagram: &str) {
    let all: Vec<_> = peers().map(|peer| (peer, datagram.to_owned())).collect();
    datagrams(bencher, &users(3), server(), &all);
}

#[divan::bench(sample_size = 1024, args = [AnswerKind::Right, AnswerKind::Wrong, AnswerKind::Unknown, AnswerKind::RightWithoutChallenge, AnswerKind::WrongWithoutChallenge])]
fn an_answer(bencher: Bencher<'_, '_>, answer: AnswerKind) {
    answers(bencher, &users(3), answer);
}

#[divan::bench(sample_size = 1024, args = [AnswerKind::Right, AnswerKind::Wrong, AnswerKind::Unknown, AnswerKind::RightWithoutChallenge, AnswerKind::WrongWithoutChallenge])]
fn an_answer_while_a_user_has_two_passwords(bencher: Bencher<'_, '_>, answer: AnswerKind) {
    let changing = "changing = { password = \"new\", old_password = \"old\", old_until = 2099-12-31 }\n";
    answers(bencher, &parse(&(users_text(3) + changing)).expect("a users file"), answer);
}

fn answers(bencher: Bencher<'_, '_>, users: &Users, answer: AnswerKind) {
    let mut server = server();
    let ask = |peer| {
        let mut reply = Vec::new();
        server.datagram(users, NOW, peer, b"Authentication Request", &mut reply);
        Challenge::from_digits(&reply).expect("a challenge")
    };
    let all: Vec<_> =
        peers().zip(peers().map(ask)).map(|(peer, challenge)| (peer, answer.to(challenge))).collect();
    datagrams(bencher, users, server, &all);
}

#[divan::bench(sample_size = 1024, args = [10, 10_000, 1_000_000])]
fn a_look_up_among_users(bencher: Bencher<'_, '_>, count: u32) {
    let users = users(count);
    // Far apart from each other in the file, and more than a processor keeps near.
    let names: Vec<_> =
        (0..1_u64 << 18).map(|step| format!("user{:07}", step * 7_919_317 % u64::from(count))).collect();
    let mut next = names.iter().cycle();
    bencher.bench_local(|| next.next().is_some_and(|name| users.contains(name)));
}

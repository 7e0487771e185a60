//! The vectors of docs/vectors.json, by which clients in other languages are checked as well.

use std::collections::VecDeque;
use std::time::Duration;

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::client::{Client, Failure, Receipt, Resends, Step};
use letmein_auth_proto::credentials::Password;
use letmein_auth_proto::dialect::Dialect;
use letmein_auth_proto::wire::{ClientMessage, ServerMessage, Verdict, decode};
use serde::Deserialize;

use crate::digest;

#[derive(Deserialize)]
struct Vectors {
    digests: Vec<DigestVector>,
    to_server: Vec<MessageVector>,
    to_client: Vec<MessageVector>,
    conversations: Vec<Conversation>,
}

#[derive(Deserialize)]
struct DigestVector {
    name: String,
    password: String,
    challenge: String,
    digest: String,
}

#[derive(Deserialize)]
struct MessageVector {
    message: String,
    is: String,
}

/// What a client sends, each time with the replies to it, and the exit status of its program. It logs in with the name
/// and the password of the first digest.
#[derive(Deserialize)]
struct Conversation {
    title: String,
    transport: String,
    exchanges: Vec<Vec<String>>,
    status: u8,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../../docs/vectors.json")).unwrap()
}

#[test]
fn every_digest_is_that_of_its_vector() {
    for vector in vectors().digests {
        let challenge = Challenge::from_digits(vector.challenge.as_bytes()).unwrap();
        let found = digest(&vector.name, &vector.password, challenge).to_string();
        assert_eq!(found, vector.digest, "{}", vector.name);
    }
}

#[test]
fn the_vectors_in_the_document_are_the_first_of_all() {
    let document = include_str!("../../../../docs/PROTOCOL.md");
    let rows = document.lines().skip_while(|line| !line.starts_with("| vector |")).skip(2);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 3);
    for (row, vector) in rows.iter().zip(vectors().digests) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells[1..], [vector.name, vector.password, vector.challenge, vector.digest]);
    }
}

#[test]
fn a_server_reads_every_message_to_it_as_its_vector_says() {
    for vector in vectors().to_server {
        let read_as = match decode(vector.message.as_bytes()) {
            Ok(ClientMessage::Request(Dialect::Words)) => "request for words",
            Ok(ClientMessage::Request(Dialect::Letters)) => "request for letters",
            Ok(ClientMessage::Answer(answer)) if answer.echo.is_some() => "answer with challenge",
            Ok(ClientMessage::Answer(_)) => "answer",
            Err(_) => "malformed",
        };
        assert_eq!(read_as, vector.is, "{:?}", vector.message);
    }
}

#[test]
fn a_client_reads_every_message_to_it_as_its_vector_says() {
    for vector in vectors().to_client {
        let read_as = match ServerMessage::decode(vector.message.as_bytes()) {
            Some(ServerMessage::Challenge(_)) => "challenge",
            Some(ServerMessage::NewChallenge(_)) => "new challenge",
            Some(ServerMessage::Verdict(Verdict::Welcome, _)) => "welcome",
            Some(ServerMessage::Verdict(Verdict::Refused, _)) => "refusal",
            None => "nothing",
        };
        assert_eq!(read_as, vector.is, "{:?}", vector.message);
    }
}

#[test]
fn a_client_says_in_every_conversation_what_its_vector_says_and_ends_as_it_says() {
    let vectors = vectors();
    for conversation in &vectors.conversations {
        let mut client = client(&vectors.digests[0], &conversation.transport);
        let status = match play(&mut client, conversation) {
            Ok(Verdict::Welcome) => 0,
            Ok(Verdict::Refused) => 1,
            Err(_) => 3,
        };
        assert_eq!(status, conversation.status, "{}", conversation.title);
    }
}

/// The time of a login.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The time after which a reply arrives.
const DELAY: Duration = Duration::from_micros(100);

fn client(user: &DigestVector, transport: &str) -> Client {
    let resends = match transport {
        "udp" => Resends::Timed,
        "tcp" => Resends::Never,
        other => panic!("no such transport: {other}"),
    };
    Client::new(&user.name.parse().unwrap(), &Password::new(&user.password).unwrap(), resends, TIMEOUT, 1)
}

/// Answers what the client says. A stream ends after the last reply.
fn play(client: &mut Client, conversation: &Conversation) -> Result<Verdict, Failure> {
    let Conversation { title, transport, exchanges, .. } = conversation;
    let (mut exchanges, mut now) = (exchanges.iter(), Duration::ZERO);
    let (mut replies, mut received) = (VecDeque::new(), Vec::new());
    let outcome = loop {
        match client.next(now) {
            Step::Send { bytes, .. } => {
                let exchange = exchanges.next().expect(title);
                assert_eq!(str::from_utf8(bytes), Ok(&*exchange[0]), "{title}");
                replies.extend(&exchange[1..]);
            }
            Step::WaitUntil(time) => match replies.pop_front() {
                Some(reply) => {
                    now += DELAY;
                    if transport == "udp" {
                        received.clear();
                    }
                    received.extend_from_slice(reply.as_bytes());
                    if client.receive(now, &received) == Receipt::Taken {
                        received.clear();
                    }
                }
                None if transport == "udp" => now = time,
                None => break Err(Failure::NoVerdict),
            },
            Step::Done(outcome) => break outcome,
        }
    };
    assert_eq!(exchanges.next(), None, "{title}");
    outcome
}

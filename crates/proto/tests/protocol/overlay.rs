//! A base and an overlay of what has changed since: whoever logs in sees the same as of one snapshot of the same users.

mod edges;

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::mem::discriminant;
use std::time::Duration;

use letmein_auth_proto::challenge::Challenge;
use letmein_auth_proto::client::Step;
use letmein_auth_proto::credentials::{Password, Username};
use letmein_auth_proto::opaque::key::ServerKey;
use letmein_auth_proto::opaque::record::Record;
use letmein_auth_proto::opaque::registration::register;
use letmein_auth_proto::opaque::stretching::Stretching;
use letmein_auth_proto::server::Server;
use letmein_auth_proto::server::event::{Event, Reason, Refusal};
use letmein_auth_proto::users::{BuildError, Builder, Conditions, OldPassword, Standing, Users};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::link::opaque_client;
use crate::{at, echoing_answer, peer, plain_answer, server};

const CLIENT: &str = "192.0.2.1:5000";
const PASSWORDS: [&str; 4] = ["first", "second", "third", "passwordone"];

/// What a user logs in by.
#[derive(Clone)]
enum Credential {
    Password(&'static str),
    /// The present password, the one before it, and the end of that one.
    Two(&'static str, &'static str, u64),
    Record(Record),
}

/// The users that there are.
type Model = BTreeMap<String, (Credential, Conditions)>;

fn username(name: &str) -> Username {
    name.parse().unwrap()
}

fn password(password: &str) -> Password {
    Password::new(password).unwrap()
}

fn key() -> ServerKey {
    ServerKey::generate(&mut ChaCha20Rng::seed_from_u64(1))
}

fn builder() -> Builder {
    let mut builder = Builder::for_text(100_000).unwrap();
    builder.set_key(key());
    builder
}

fn push(builder: &mut Builder, name: &str, user: &(Credential, Conditions)) {
    let (name, (credential, conditions)) = (username(name), user.clone());
    match credential {
        Credential::Password(present) => builder.push(&name, &password(present), conditions).unwrap(),
        Credential::Two(present, old, ends_unix_s) => {
            let old = OldPassword { password: password(old), ends_unix_s };
            builder.push_with_old(&name, &password(present), Some(&old), conditions).unwrap();
        }
        Credential::Record(record) => builder.push_record(&name, &record, conditions).unwrap(),
    }
}

fn plain(model: &Model) -> Users {
    let mut builder = builder();
    model.iter().for_each(|(name, user)| push(&mut builder, name, user));
    builder.finish().unwrap()
}

/// The users of the model, as those of a base in which these names have changed.
fn over(base: &Users, model: &Model, changed: &BTreeSet<String>) -> Users {
    let mut builder = builder();
    for name in changed {
        match model.get(name) {
            Some(user) => push(&mut builder, name, user),
            None => builder.push_removed(&username(name)).unwrap(),
        }
    }
    builder.finish_over(base).unwrap()
}

/// A user of any kind.
fn draw(name: &str, random: &mut SmallRng) -> (Credential, Conditions) {
    let one = *PASSWORDS.choose(random).unwrap();
    let other = PASSWORDS.into_iter().find(|it| *it != one).unwrap();
    let stretching =
        *[Stretching::NONE, Stretching::new(8, 1, 1).unwrap(), Stretching::new(16, 1, 1).unwrap()]
            .choose(random)
            .unwrap();
    let credential = match random.random_range(0..6) {
        0 => Credential::Two(one, other, u64::MAX),
        1 => Credential::Two(one, other, 1),
        2 | 3 => {
            let mut drawn = ChaCha20Rng::seed_from_u64(random.random());
            let record = register(&key(), &username(name), &password(one), stretching, &mut drawn).unwrap();
            Credential::Record(record)
        }
        _ => Credential::Password(one),
    };
    let any = Conditions::none();
    let conditions = match random.random_range(0..8) {
        0 => Conditions { standing: Standing::Disabled, ..any },
        1 => Conditions { expires_unix_s: Some(1), ..any },
        2 => Conditions { from: vec!["192.0.2.0/24".parse().unwrap()], ..any },
        3 => Conditions { from: vec!["198.51.100.0/24".parse().unwrap()], ..any },
        _ => any,
    };
    (credential, conditions)
}

/// All that a server says and notes of logins with this name and password, by MD5 and by OPAQUE.
fn transcript(users: &Users, name: &str, password: &str) -> Vec<String> {
    let mut server = server(1);
    let mut reply = Vec::new();
    server.datagram(users, at(100.0), peer(CLIENT), b"Authentication Request", &mut reply);
    let challenge = Challenge::from_digits(&reply).unwrap();
    let mut said = Vec::new();
    for answer in [echoing_answer, plain_answer].map(|answer| answer(name, password, challenge)) {
        said.push(tell(&mut server, users, answer.as_bytes(), &mut reply));
    }
    let mut client = opaque_client(name, password, Duration::from_secs(5), 1);
    let mut now = Duration::ZERO;
    loop {
        match client.next(now) {
            Step::Send { bytes, .. } => {
                let bytes = bytes.to_vec();
                said.push(tell(&mut server, users, &bytes, &mut reply));
                client.receive(now, &reply);
            }
            Step::WaitUntil(time) => now = time,
            Step::Done(outcome) => {
                said.push(format!("{outcome:?}"));
                return said;
            }
        }
    }
}

fn tell(server: &mut Server, users: &Users, message: &[u8], reply: &mut Vec<u8>) -> String {
    reply.clear();
    let reaction = server.datagram(users, at(100.0), peer(CLIENT), message, reply);
    let event = format!("{:?}", reaction.event);
    server.offer(users, at(100.0), reply);
    format!("{event}: {reply:?}")
}

fn assert_alike(layered: &Users, plain: &Users, names: &[String], context: &str) {
    let sorted = |users: &Users| {
        let mut names: Vec<_> = users.names().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(sorted(layered), sorted(plain), "{context}");
    assert_eq!((layered.len(), layered.is_empty()), (plain.len(), plain.is_empty()), "{context}");
    assert_eq!(layered.mechanisms(), plain.mechanisms(), "{context}");
    assert_eq!(discriminant(layered.samples()), discriminant(plain.samples()), "{context}");
    let denied =
        |users: &Users| users.denied(100).map(|(name, why)| format!("{name} {why}")).collect::<BTreeSet<_>>();
    assert_eq!(denied(layered), denied(plain), "{context}");
    let ended = |users: &Users| users.ended_old_passwords(100).map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(ended(layered), ended(plain), "{context}");
    let free =
        |users: &Users| users.unconditional().map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(free(layered), free(plain), "{context}");
    for name in names {
        assert_eq!(layered.contains(name), plain.contains(name), "{name}, {context}");
        let is_there = plain.contains(name).then_some(true);
        assert_eq!(layered.is_unchanged(plain, name), is_there, "{name}, {context}");
    }
}

/// Random changes on random changes, each compared with one snapshot of the same users.
#[test]
fn users_of_every_kind_log_in_or_are_refused_as_among_one_snapshot_of_them() {
    let names: Vec<String> =
        (0..24).map(|number| format!("user{number}")).chain(iter::once("userone".into())).collect();
    let mut random = SmallRng::seed_from_u64(1);
    for seed in 0..12 {
        let mut model = Model::new();
        // The first base is empty.
        for name in names.iter().filter(|_| seed != 0) {
            if random.random_bool(0.7) {
                model.insert(name.clone(), draw(name, &mut random));
            }
        }
        let base = plain(&model);
        let mut before = plain(&model);
        let (mut changed, mut layered) = (BTreeSet::new(), over(&base, &model, &BTreeSet::new()));
        assert_alike(&layered, &before, &names, "no change");
        for step in 0..4 {
            for _ in 0..random.random_range(1..6) {
                let name = names.choose(&mut random).unwrap().clone();
                if random.random_bool(0.4) {
                    model.remove(&name);
                } else {
                    model.insert(name.clone(), draw(&name, &mut random));
                }
                changed.insert(name);
            }
            let (context, after) = (format!("base {seed}, step {step}"), plain(&model));
            let next = over(&layered, &model, &changed);
            // Whom each login exempts follows from all logins before.
            next.adopt(&layered);
            after.adopt(&before);
            assert_alike(&next, &after, &names, &context);
            let differs = |users: &Users, old: &Users, name: &str| {
                users.is_unchanged(old, name) != users.contains(name).then_some(true)
                    || users.contains(name) != old.contains(name)
            };
            let all: Vec<_> = next.names_that_may_differ(&layered).collect();
            assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len(), "{context}");
            for name in &names {
                assert!(!differs(&after, &before, name) || all.contains(&&**name), "{name}, {context}");
            }
            for name in names.iter().map(String::as_str).chain(["nobody"]) {
                for password in [PASSWORDS[random.random_range(0..4)], "wrong"] {
                    let told = [&next, &after].map(|users| transcript(users, name, password));
                    assert_eq!(told[0], told[1], "{name}, {password}, {context}");
                }
            }
            (layered, before) = (next, after);
        }
    }
}

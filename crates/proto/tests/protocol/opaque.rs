//! Logins by OPAQUE: through bad networks, against attackers, and over connections.

mod conversations;
mod given_back;
mod guesses;
mod logins;
mod refusals;

use std::sync::LazyLock;

use letmein_auth_proto::credentials::Password;
use letmein_auth_proto::opaque::key::ServerKey;
use letmein_auth_proto::opaque::record::{RECORD_LEN, Record};
use letmein_auth_proto::opaque::registration::register;
use letmein_auth_proto::opaque::stretching::Stretching;
use letmein_auth_proto::users::{Builder, Conditions, Standing, Users};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Who is in the file: alice may log in, disabled may not, elsewhere only from another network, md5 has a password, and
/// the record of damaged has no public key. All passwords are `right`.
fn users() -> &'static Users {
    static USERS: LazyLock<Users> = LazyLock::new(|| users_with(Stretching::NONE));
    &USERS
}

pub(crate) fn users_with(stretching: Stretching) -> Users {
    users_where(stretching, Some(Conditions::none()))
}

/// The same with conditions of alice, or without her.
fn users_where(stretching: Stretching, alice: Option<Conditions>) -> Users {
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    let key = ServerKey::generate(&mut random);
    let mut builder = Builder::for_text(10_000).unwrap();
    builder.set_key(key.clone());
    let right = Password::new("right").unwrap();
    let users = [("alice", alice), ("disabled", Some(disabled())), ("elsewhere", Some(elsewhere()))];
    for (name, conditions) in users {
        let Some(conditions) = conditions else { continue };
        let name = name.parse().unwrap();
        let record = register(&key, &name, &right, stretching, &mut random).unwrap();
        builder.push_record(&name, &record, conditions).unwrap();
    }
    let damaged = Record::new(stretching, key.id(), [0xff; RECORD_LEN]);
    builder.push_record(&"damaged".parse().unwrap(), &damaged, Conditions::none()).unwrap();
    builder.push(&"md5".parse().unwrap(), &right, Conditions::none()).unwrap();
    builder.finish().unwrap()
}

/// Only these, each with a record and the password `right`.
fn users_named(names: &[String]) -> Users {
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    let key = ServerKey::generate(&mut random);
    let mut builder = Builder::for_text(100_000).unwrap();
    builder.set_key(key.clone());
    for name in names {
        let name = name.parse().unwrap();
        let right = Password::new("right").unwrap();
        let record = register(&key, &name, &right, Stretching::NONE, &mut random).unwrap();
        builder.push_record(&name, &record, Conditions::none()).unwrap();
    }
    builder.finish().unwrap()
}

fn disabled() -> Conditions {
    Conditions { standing: Standing::Disabled, ..Conditions::none() }
}

fn elsewhere() -> Conditions {
    Conditions { from: vec!["203.0.113.0/24".parse().unwrap()], ..Conditions::none() }
}

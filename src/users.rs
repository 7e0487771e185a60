//! Who may log in: an immutable snapshot of `users.toml`, shared by all workers.

mod credentials;
mod file;
mod parse;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

pub use credentials::{NAME_MAX, NameError, PASSWORD_MAX, Password, PasswordError, Username};
pub use file::{Loaded, UsersError, Warning, load};
pub use parse::{Problem, parse};

use crate::auth::proof::{Blocks, Secret};

/// The users of the shipped `users.toml`. Everybody knows their passwords.
pub const SAMPLES: [(&str, &str); 3] =
    [("userone", "passwordone"), ("usertwo", "passwordtwo"), ("userthree", "passwordthree")];

/// Everybody who may log in, and under which conditions.
pub struct Users {
    by_name: HashMap<Username, User>,
    /// The work of the longest entry, which every answer costs.
    blocks: Blocks,
    decoy: Secret,
    samples: Samples,
}

/// How much of a users file is the shipped samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// No user has a sample's password.
    None,
    /// This user has, and perhaps others; not all do.
    Some(Username),
    /// There is nothing but samples in the file.
    Only(Username),
}

impl Users {
    fn new(users: impl IntoIterator<Item = (Username, User)>, samples: Samples) -> Self {
        let decoy = Secret::decoy();
        let by_name: HashMap<_, _> = users.into_iter().collect();
        let blocks = by_name.values().map(|user| user.secret.blocks()).fold(decoy.blocks(), Blocks::max);
        Self { by_name, blocks, decoy, samples }
    }

    /// The user of this name, and a secret to check an answer with in any case.
    pub(crate) fn find(&self, name: &str) -> (Option<(&str, &Conditions)>, &Secret) {
        match self.by_name.get_key_value(name) {
            Some((name, user)) => (Some((name.as_str(), &user.conditions)), &user.secret),
            None => (None, &self.decoy),
        }
    }

    /// Those who can log in from anywhere at any time.
    pub(crate) fn unconditional(&self) -> impl Iterator<Item = (Username, Secret)> {
        self.by_name
            .iter()
            .filter(|(_, user)| user.conditions.is_none())
            .map(|(name, user)| (name.clone(), user.secret.clone()))
    }

    pub(crate) fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// How much of the file is the shipped samples.
    #[must_use]
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether nobody can log in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// One entry of the file.
struct User {
    secret: Secret,
    conditions: Conditions,
}

/// When and from where a user may log in.
#[derive(Default)]
pub(crate) struct Conditions {
    standing: Standing,
    /// The first second, since 1970-01-01 UTC, in which the user is refused.
    expires_unix_s: Option<u64>,
    /// The networks that the user may log in from; from anywhere, if there are none.
    from: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Enabled,
    Disabled,
}

/// Why a user with the right password is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// `disabled = true`
    #[error("disabled")]
    Disabled,
    /// `expires` is over.
    #[error("expired")]
    Expired,
    /// The source is in none of the networks of `from`.
    #[error("not allowed from this address")]
    NotFromHere,
}

impl Conditions {
    fn is_none(&self) -> bool {
        let Self { standing, expires_unix_s, from } = self;
        *standing == Standing::Enabled && expires_unix_s.is_none() && from.is_empty()
    }

    /// Whether the user may log in at this time from this address.
    pub(crate) fn admit(&self, unix_s: u64, source: IpAddr) -> Result<(), Denial> {
        let Self { standing, expires_unix_s, from } = self;
        let source = source.to_canonical();
        if *standing == Standing::Disabled {
            Err(Denial::Disabled)
        } else if expires_unix_s.is_some_and(|expiry| unix_s >= expiry) {
            Err(Denial::Expired)
        } else if !from.is_empty() && !from.iter().any(|network| network.contains(&source)) {
            Err(Denial::NotFromHere)
        } else {
            Ok(())
        }
    }
}

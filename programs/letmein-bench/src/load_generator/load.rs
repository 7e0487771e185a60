//! The logins to make, and what a client sends when.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::opaque::{OpaqueLogin, OpaqueUser};
use proto::challenge::Challenge;
use proto::credentials::{Password, Username};
use proto::mechanism::Mechanism;
use proto::proof::{Secret, SecretRef};
use proto::users::Users;
use proto::wire::Verdict;

pub(crate) struct Load {
    pub(super) credentials: Credentials,
    wrong: f64,
    unknown: f64,
    echo: ChallengeEcho,
    expects_welcome: bool,
    random: SmallRng,
}

/// Whose logins they are, and by which mechanism.
pub(super) enum Credentials {
    Md5 { people: Vec<(String, Secret)>, nobody: Secret },
    Opaque(Box<OpaqueUser>),
}

/// Whether answers carry their challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChallengeEcho {
    /// As in those of our own client.
    Included,
    /// As in those of the first clients.
    Omitted,
}

/// Why there are no logins to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoadError {
    /// The users file has nobody who can log in from anywhere at any time.
    #[error("there is no user who can log in from anywhere at any time")]
    NoUsers,
    /// The shares are not percentages, or more than a hundred together.
    #[error("shares of wrong passwords and unknown users are percentages, and together at most 100")]
    BadShares,
}

/// A login: its user, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Right(usize),
    Wrong(usize),
    Unknown(u32),
}

impl Load {
    /// Logins of one user.
    #[must_use]
    pub(crate) fn of_user(name: &Username, password: &Password) -> Self {
        Self::of_people(vec![(name.as_str().to_owned(), Secret::new(name, password))])
    }

    /// Logins of one user by OPAQUE.
    #[must_use]
    pub(crate) fn of_opaque_user(user: OpaqueUser) -> Self {
        Self::of(Credentials::Opaque(user.into()))
    }

    /// Logins of all users of a file who can log in from anywhere at any time, by turns.
    ///
    /// # Errors
    /// If there are none.
    pub(crate) fn of_users(users: &Users) -> Result<Self, LoadError> {
        let person = |(name, secret): (&str, SecretRef<'_>)| (name.to_owned(), secret.to_owned());
        let people: Vec<_> = users.unconditional().map(person).collect();
        if people.is_empty() { Err(LoadError::NoUsers) } else { Ok(Self::of_people(people)) }
    }

    fn of_people(people: Vec<(String, Secret)>) -> Self {
        Self::of(Credentials::Md5 { people, nobody: Secret::decoy() })
    }

    fn of(credentials: Credentials) -> Self {
        Self {
            credentials,
            wrong: 0.0,
            unknown: 0.0,
            echo: ChallengeEcho::Included,
            expects_welcome: false,
            random: SmallRng::seed_from_u64(0),
        }
    }

    /// With these percentages of wrong passwords and of unknown users.
    ///
    /// # Errors
    /// If they are not percentages.
    pub(crate) fn with_failures(self, wrong: f64, unknown: f64) -> Result<Self, LoadError> {
        if wrong >= 0.0 && unknown >= 0.0 && wrong + unknown <= 100.0 {
            Ok(Self { wrong, unknown, ..self })
        } else {
            Err(LoadError::BadShares)
        }
    }

    /// With answers that carry their challenge, or do not.
    #[must_use]
    pub(crate) fn with_echo(self, echo: ChallengeEcho) -> Self {
        Self { echo, ..self }
    }

    /// By what the logins prove the password.
    #[must_use]
    pub(crate) fn mechanism(&self) -> Mechanism {
        match self.credentials {
            Credentials::Md5 { .. } => Mechanism::Md5,
            Credentials::Opaque(_) => Mechanism::Opaque,
        }
    }

    /// The user of OPAQUE.
    pub(super) fn opaque_user(&self) -> Option<&OpaqueUser> {
        match &self.credentials {
            Credentials::Md5 { .. } => None,
            Credentials::Opaque(user) => Some(user),
        }
    }

    /// From now on the right verdict is always a welcome, which is all that the floor says.
    pub(super) fn expect_welcome(&mut self) {
        self.expects_welcome = true;
    }

    /// From now on the right verdict depends on the login.
    pub(super) fn expect_verdicts(&mut self) {
        self.expects_welcome = false;
    }

    pub(super) fn draw(&mut self) -> Intent {
        let users = match &self.credentials {
            Credentials::Md5 { people, .. } => people.len(),
            Credentials::Opaque(_) => 1,
        };
        let user = self.random.random_range(0..users);
        let share = self.random.random_range(0.0..100.0);
        if share < self.wrong {
            Intent::Wrong(user)
        } else if share < self.wrong + self.unknown {
            Intent::Unknown(self.random.random())
        } else {
            Intent::Right(user)
        }
    }

    pub(super) fn expected(&self, intent: Intent) -> Verdict {
        match intent {
            Intent::Wrong(_) | Intent::Unknown(_) if !self.expects_welcome => Verdict::Refused,
            Intent::Right(_) | Intent::Wrong(_) | Intent::Unknown(_) => Verdict::Welcome,
        }
    }

    /// What a client of OPAQUE computes before it sends anything. `None` by MD5.
    pub(super) fn begin_opaque(&mut self, intent: Intent) -> Option<OpaqueLogin> {
        let Credentials::Opaque(user) = &mut self.credentials else { return None };
        match intent {
            Intent::Right(_) => user.begin(),
            Intent::Wrong(_) => user.begin_wrongly(),
            Intent::Unknown(number) => user.begin_unknown(number),
        }
    }

    pub(super) fn answer(&self, intent: Intent, challenge: Challenge, message: &mut Vec<u8>) {
        message.clear();
        let Credentials::Md5 { people, nobody } = &self.credentials else { return };
        let digest = match intent {
            Intent::Right(user) | Intent::Wrong(user) => {
                let Some((name, secret)) = people.get(user) else { return };
                message.extend_from_slice(name.as_bytes());
                let is_right = matches!(intent, Intent::Right(_));
                if is_right { secret.digest(challenge) } else { nobody.digest(challenge) }
            }
            Intent::Unknown(number) => {
                message.extend_from_slice(b"nobody-");
                message.extend_from_slice(&proto::hex::to_hex::<4, 8>(number.to_be_bytes()));
                nobody.digest(challenge)
            }
        };
        message.push(b':');
        message.extend_from_slice(&digest.digits());
        match self.echo {
            ChallengeEcho::Included => {
                message.push(b':');
                message.extend_from_slice(&challenge.digits());
            }
            ChallengeEcho::Omitted => {}
        }
    }
}

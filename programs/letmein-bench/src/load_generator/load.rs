//! The logins to make, and what a client sends when.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use proto::backoff::Backoff;
use proto::challenge::Challenge;
use proto::credentials::{Password, Username};
use proto::dialect::Dialect;
use proto::proof::{Secret, SecretRef};
use proto::users::Users;
use proto::wire::{ServerMessage, Verdict};

pub(crate) struct Load {
    people: Vec<(String, Secret)>,
    nobody: Secret,
    wrong: f64,
    unknown: f64,
    echo: ChallengeEcho,
    expects_welcome: bool,
    random: SmallRng,
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
enum Intent {
    Right(usize),
    Wrong(usize),
    Unknown(u32),
}

impl Load {
    /// Logins of one user.
    #[must_use]
    pub(crate) fn of_user(name: &Username, password: &Password) -> Self {
        Self::of(vec![(name.as_str().to_owned(), Secret::new(name, password))])
    }

    /// Logins of all users of a file who can log in from anywhere at any time, by turns.
    ///
    /// # Errors
    /// If there are none.
    pub(crate) fn of_users(users: &Users) -> Result<Self, LoadError> {
        let person = |(name, secret): (&str, SecretRef<'_>)| (name.to_owned(), secret.to_owned());
        let people: Vec<_> = users.unconditional().map(person).collect();
        if people.is_empty() { Err(LoadError::NoUsers) } else { Ok(Self::of(people)) }
    }

    fn of(people: Vec<(String, Secret)>) -> Self {
        Self {
            people,
            nobody: Secret::decoy(),
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

    /// From now on the right verdict is always a welcome, which is all that the floor says.
    pub(super) fn expect_welcome(&mut self) {
        self.expects_welcome = true;
    }

    /// From now on the right verdict depends on the login.
    pub(super) fn expect_verdicts(&mut self) {
        self.expects_welcome = false;
    }

    fn draw(&mut self) -> Intent {
        let user = self.random.random_range(0..self.people.len());
        let share = self.random.random_range(0.0..100.0);
        if share < self.wrong {
            Intent::Wrong(user)
        } else if share < self.wrong + self.unknown {
            Intent::Unknown(self.random.random())
        } else {
            Intent::Right(user)
        }
    }

    fn expected(&self, intent: Intent) -> Verdict {
        match intent {
            Intent::Wrong(_) | Intent::Unknown(_) if !self.expects_welcome => Verdict::Refused,
            Intent::Right(_) | Intent::Wrong(_) | Intent::Unknown(_) => Verdict::Welcome,
        }
    }

    fn answer(&self, intent: Intent, challenge: Challenge, message: &mut Vec<u8>) {
        message.clear();
        let digest = match intent {
            Intent::Right(user) | Intent::Wrong(user) => {
                let Some((name, secret)) = self.people.get(user) else { return };
                message.extend_from_slice(name.as_bytes());
                let is_right = matches!(intent, Intent::Right(_));
                if is_right { secret.digest(challenge) } else { self.nobody.digest(challenge) }
            }
            Intent::Unknown(number) => {
                message.extend_from_slice(b"nobody-");
                message.extend_from_slice(&proto::hex::to_hex::<4, 8>(number.to_be_bytes()));
                self.nobody.digest(challenge)
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

/// A client, from login to login.
///
/// It is not `proto::client::Client`: a new one is made for each login, from a password, and a users file gives
/// secrets alone; all its answers are right and carry the challenge; and it listens on after the verdict, for one that
/// is forged, so that a closed loop would measure how long it listens.
pub(super) struct VirtualClient {
    intent: Intent,
    stage: LoginStage,
    message: Vec<u8>,
    intended: Instant,
    begun: Instant,
    send_at: Instant,
    backoff: Backoff,
}

/// How far a client's login has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoginStage {
    /// There is none under way.
    Idle,
    Requesting,
    Answering,
}

/// What a message means to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// There is something to answer.
    Challenge,
    /// The login is over.
    Verdict {
        /// Whether it is the one that was expected.
        is_right: bool,
    },
    /// It was a message for another time.
    Nothing,
    /// It is no message of the protocol, or not a whole one yet.
    Other,
}

/// What there is to do for a client that has heard nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// There is nothing to do.
    Waits,
    /// Its message is to be sent again.
    SendsAgain,
    /// It is lost.
    GivesUp,
}

impl VirtualClient {
    pub(super) fn new(seed: u64) -> Self {
        let (now, backoff) = (Instant::now(), Backoff::new(seed));
        let intent = Intent::Unknown(0);
        Self {
            intent,
            stage: LoginStage::Idle,
            message: Vec::new(),
            intended: now,
            begun: now,
            send_at: now,
            backoff,
        }
    }

    /// Begins a login that was to begin at `intended`.
    pub(super) fn begin(&mut self, load: &mut Load, now: Instant, intended: Instant) {
        self.intent = load.draw();
        self.stage = LoginStage::Requesting;
        self.message.clear();
        self.message.extend_from_slice(Dialect::Words.request());
        (self.intended, self.begun) = (intended, now);
        self.schedule(now);
    }

    /// What it has to say now.
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    /// How long the login has taken, from when it was to begin.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.intended)
    }

    pub(super) fn hear(&mut self, load: &Load, now: Instant, bytes: &[u8]) -> Heard {
        match (ServerMessage::decode(bytes), self.stage) {
            (Some(ServerMessage::Challenge(challenge)), LoginStage::Requesting)
            | (Some(ServerMessage::NewChallenge(challenge)), LoginStage::Answering) => {
                self.answer(load, now, challenge)
            }
            (Some(ServerMessage::Verdict(verdict, _)), LoginStage::Answering) => {
                self.stage = LoginStage::Idle;
                Heard::Verdict { is_right: verdict == load.expected(self.intent) }
            }
            (None, _) => Heard::Other,
            (Some(_), LoginStage::Idle | LoginStage::Requesting | LoginStage::Answering) => Heard::Nothing,
        }
    }

    fn answer(&mut self, load: &Load, now: Instant, challenge: Challenge) -> Heard {
        load.answer(self.intent, challenge, &mut self.message);
        self.stage = LoginStage::Answering;
        self.schedule(now);
        Heard::Challenge
    }

    /// Ends the login without a verdict.
    pub(super) fn end(&mut self) {
        self.stage = LoginStage::Idle;
    }

    pub(super) fn silence(&mut self, patience: Duration, now: Instant) -> Silence {
        if self.stage == LoginStage::Idle {
            Silence::Waits
        } else if now.saturating_duration_since(self.begun) >= patience {
            self.stage = LoginStage::Idle;
            Silence::GivesUp
        } else if now >= self.send_at {
            self.send_at = now + self.backoff.wait();
            Silence::SendsAgain
        } else {
            Silence::Waits
        }
    }

    fn schedule(&mut self, now: Instant) {
        self.backoff.restart();
        self.send_at = now + self.backoff.wait();
    }
}

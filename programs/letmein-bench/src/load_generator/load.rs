//! The logins to make, and what a client sends when.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::opaque::{Given, OpaqueLogin, OpaqueUser};
use proto::backoff::Backoff;
use proto::challenge::Challenge;
use proto::credentials::{Password, Username};
use proto::dialect::Dialect;
use proto::mechanism::Mechanism;
use proto::opaque;
use proto::proof::{Secret, SecretRef};
use proto::users::Users;
use proto::wire::{ServerMessage, Verdict};

pub(crate) struct Load {
    credentials: Credentials,
    wrong: f64,
    unknown: f64,
    echo: ChallengeEcho,
    expects_welcome: bool,
    random: SmallRng,
}

/// Whose logins they are, and by which mechanism.
enum Credentials {
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
enum Intent {
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

    fn draw(&mut self) -> Intent {
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

    fn expected(&self, intent: Intent) -> Verdict {
        match intent {
            Intent::Wrong(_) | Intent::Unknown(_) if !self.expects_welcome => Verdict::Refused,
            Intent::Right(_) | Intent::Wrong(_) | Intent::Unknown(_) => Verdict::Welcome,
        }
    }

    /// What a client of OPAQUE computes before it sends anything. `None` by MD5.
    fn begin_opaque(&mut self, intent: Intent) -> Option<OpaqueLogin> {
        let Credentials::Opaque(user) = &mut self.credentials else { return None };
        match intent {
            Intent::Right(_) => user.begin(),
            Intent::Wrong(_) => user.begin_wrongly(),
            Intent::Unknown(number) => user.begin_unknown(number),
        }
    }

    fn answer(&self, intent: Intent, challenge: Challenge, message: &mut Vec<u8>) {
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

/// A client, from login to login.
///
/// It is not `proto::client::Client`: a new one is made for each login, from a password, and a users file gives
/// secrets alone; all its answers are right and carry the challenge; and it listens on after the verdict, for one that
/// is forged, so that a closed loop would measure how long it listens. Nor is it `proto::opaque::client::Client`, which
/// does not wait for the verdict on a password that it knows to be wrong.
pub(super) struct VirtualClient {
    intent: Intent,
    stage: LoginStage,
    message: Vec<u8>,
    intended: Instant,
    begun: Instant,
    send_at: Instant,
    backoff: Backoff,
    /// The rest of a login by OPAQUE.
    opaque: Option<OpaqueLogin>,
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
            opaque: None,
        }
    }

    /// Begins a login that was to begin at `intended`.
    pub(super) fn begin(&mut self, load: &mut Load, now: Instant, intended: Instant) {
        self.intent = load.draw();
        self.stage = LoginStage::Requesting;
        self.opaque = load.begin_opaque(self.intent);
        self.message.clear();
        match load.mechanism() {
            Mechanism::Md5 => self.message.extend_from_slice(Dialect::Words.request()),
            Mechanism::Opaque => self.message.extend_from_slice(&opaque::wire::request()),
        }
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

    pub(super) fn hear(&mut self, load: &mut Load, now: Instant, bytes: &[u8]) -> Heard {
        match &mut load.credentials {
            Credentials::Md5 { .. } => self.hear_md5(load, now, bytes),
            Credentials::Opaque(user) => match &mut self.opaque {
                Some(login) => {
                    let given = user.hear(login, bytes, &mut self.message);
                    self.take(load, now, given)
                }
                None => Heard::Nothing,
            },
        }
    }

    /// Takes what a login by OPAQUE gives for a message.
    fn take(&mut self, load: &Load, now: Instant, given: Given) -> Heard {
        match given {
            Given::Answer => {
                self.stage = LoginStage::Answering;
                self.schedule(now);
                Heard::Challenge
            }
            Given::Verdict(verdict) => self.conclude(load, verdict),
            Given::Nothing => Heard::Nothing,
            Given::Other => Heard::Other,
        }
    }

    fn conclude(&mut self, load: &Load, verdict: Verdict) -> Heard {
        self.end();
        Heard::Verdict { is_right: verdict == load.expected(self.intent) }
    }

    fn hear_md5(&mut self, load: &Load, now: Instant, bytes: &[u8]) -> Heard {
        match (ServerMessage::decode(bytes), self.stage) {
            (Some(ServerMessage::Challenge(challenge)), LoginStage::Requesting)
            | (Some(ServerMessage::NewChallenge(challenge)), LoginStage::Answering) => {
                self.answer(load, now, challenge)
            }
            (Some(ServerMessage::Verdict(verdict, _)), LoginStage::Answering) => self.conclude(load, verdict),
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

    /// Ends the login.
    pub(super) fn end(&mut self) {
        self.stage = LoginStage::Idle;
        self.opaque = None;
    }

    pub(super) fn silence(&mut self, patience: Duration, now: Instant) -> Silence {
        if self.stage == LoginStage::Idle {
            Silence::Waits
        } else if now.saturating_duration_since(self.begun) >= patience {
            self.end();
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

//! A client that makes one login after the other, without a socket.

use std::time::{Duration, Instant};

use super::load::{Credentials, Intent, Load};
use super::opaque::{Given, OpaqueLogin};
use proto::backoff::Backoff;
use proto::challenge::Challenge;
use proto::dialect::Dialect;
use proto::mechanism::Mechanism;
use proto::opaque;
use proto::wire::{ServerMessage, Verdict};

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

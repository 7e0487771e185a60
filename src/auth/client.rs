//! The client's side: what to send now, until when to wait, or what came of it.
//!
//! The caller owns the socket and the clock, and repeats:
//!
//! ```text
//! match client.next(now) {
//!     Step::Send { bytes, .. } => send them
//!     Step::WaitUntil(time)    => receive until then; hand over what came: client.receive(now, bytes)
//!     Step::Done(outcome)      => stop
//! }
//! ```
//!
//! All times are durations since an instant of the caller's choice. Nothing that arrives moves the deadline.

use std::time::Duration;

use crate::auth::challenge::Challenge;
use crate::auth::proof::{Digest, Secret};
use crate::auth::wire::{Form, Message, ServerMessage, Verdict};
use crate::backoff::Backoff;
use crate::users::{Password, Username};

/// How many `New challenge` a client answers.
const NEW_CHALLENGES_MAX: u32 = 5;

/// What the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Send these bytes.
    Send {
        /// One whole message.
        bytes: &'a [u8],
        /// What it is, for whoever watches.
        sending: Sending,
    },
    /// Wait for bytes from the server until this time.
    WaitUntil(Duration),
    /// The login has come to its end.
    Done(Result<Verdict, Silence>),
}

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// The request for a challenge.
    Request,
    /// The request again, after a wait for a reply.
    RequestAgain(Duration),
    /// The answer to a challenge.
    Answer(Digest),
    /// The answer again, after a wait for a reply.
    AnswerAgain(Duration),
}

/// How the deadline found the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// There was no challenge.
    NoChallenge,
    /// There was a challenge, but no verdict.
    NoVerdict,
}

/// Whether bytes were what the client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// They were a message, and it took the login a step on.
    Taken,
    /// They were something else; as if they had never come.
    Ignored,
}

/// Whether messages are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resends {
    /// For datagrams, which get lost.
    Timed,
    /// For streams, which see to it themselves.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Requesting,
    Answering { challenge: Challenge, digest: Digest },
    Over(Verdict),
}

/// One login.
pub struct Client {
    name: Username,
    secret: Secret,
    phase: Phase,
    message: Message,
    resends: Resends,
    backoff: Backoff,
    send_at: Duration,
    deadline: Duration,
    new_challenges: u32,
}

impl Client {
    /// A login that has its verdict by `deadline`, or none. The seed is for the jitter of resends.
    #[must_use]
    pub fn new(
        name: &Username,
        password: &Password,
        resends: Resends,
        deadline: Duration,
        seed: u64,
    ) -> Self {
        Self {
            name: name.clone(),
            secret: Secret::new(name, password),
            phase: Phase::Requesting,
            message: Message::request(Form::Words),
            resends,
            backoff: Backoff::new(seed),
            send_at: Duration::ZERO,
            deadline,
            new_challenges: 0,
        }
    }

    /// What to do at the time `now`.
    pub fn next(&mut self, now: Duration) -> Step<'_> {
        if let Phase::Over(verdict) = self.phase {
            return Step::Done(Ok(verdict));
        }
        if now >= self.deadline {
            return Step::Done(Err(self.silence()));
        }
        if now < self.send_at {
            return Step::WaitUntil(self.send_at.min(self.deadline));
        }
        let sending = self.sending();
        self.schedule(now);
        Step::Send { bytes: self.message.as_ref(), sending }
    }

    /// Hands over what came from the server: a datagram, or what a stream has brought since the last message.
    pub fn receive(&mut self, now: Duration, bytes: &[u8]) -> Receipt {
        match (ServerMessage::decode(bytes), self.phase) {
            (Some(ServerMessage::Challenge(challenge)), Phase::Requesting) => self.answer(now, challenge),
            (Some(ServerMessage::NewChallenge(new)), Phase::Answering { challenge, .. })
                if new != challenge && self.new_challenges < NEW_CHALLENGES_MAX =>
            {
                self.new_challenges += 1;
                self.answer(now, new)
            }
            (Some(ServerMessage::Verdict(verdict, _)), Phase::Answering { .. }) => {
                self.phase = Phase::Over(verdict);
                Receipt::Taken
            }
            (Some(_) | None, _) => Receipt::Ignored,
        }
    }

    fn answer(&mut self, now: Duration, challenge: Challenge) -> Receipt {
        let digest = self.secret.digest(challenge);
        self.phase = Phase::Answering { challenge, digest };
        self.message = Message::answer(&self.name, digest, challenge);
        self.backoff.restart();
        self.send_at = now;
        Receipt::Taken
    }

    fn sending(&self) -> Sending {
        match (self.phase, self.backoff.waited()) {
            (Phase::Answering { digest, .. }, None) => Sending::Answer(digest),
            (Phase::Answering { .. }, Some(waited)) => Sending::AnswerAgain(waited),
            (Phase::Requesting | Phase::Over(_), None) => Sending::Request,
            (Phase::Requesting | Phase::Over(_), Some(waited)) => Sending::RequestAgain(waited),
        }
    }

    fn schedule(&mut self, now: Duration) {
        self.send_at = match self.resends {
            Resends::Timed => now + self.backoff.wait(),
            Resends::Never => Duration::MAX,
        };
    }

    fn silence(&self) -> Silence {
        match self.phase {
            Phase::Requesting => Silence::NoChallenge,
            Phase::Answering { .. } | Phase::Over(_) => Silence::NoVerdict,
        }
    }
}

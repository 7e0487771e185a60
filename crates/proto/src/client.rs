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
//!
//! Anybody may send a datagram in the server's name. So the client does not take the first verdict for the last: it
//! goes on listening for a while, sends nothing, and ends with [`Failure::Conflict`] if what it hears cannot all be
//! one server's.

use std::time::Duration;

use crate::backoff::{Backoff, FIRST_WAIT};
use crate::challenge::Challenge;
use crate::credentials::{Password, Username};
use crate::dialect::Dialect;
use crate::proof::{Digest, Secret};
use crate::wire::{Message, ServerMessage, Verdict};

/// How many `New challenge` a client answers: no server is restarted more often within a login.
const NEW_CHALLENGES_MAX: usize = 5;
/// A request may be doubled by the network, and its copies may reach the server in two ticks.
const CHALLENGES_PER_REQUEST: usize = 2;
/// All that come for the requests of 15 s: no network holds back more.
const CHALLENGES_MAX: usize = 32;
/// The shortest time to listen after a verdict: a reply from a server of the same network takes no longer.
const LISTENING_MIN: Duration = Duration::from_millis(2);
/// The longest, unless challenges are in doubt: people notice a longer one.
const LISTENING_MAX: Duration = Duration::from_millis(100);

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
    Done(Result<Verdict, Failure>),
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

/// Why a login has no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no challenge by the deadline.
    NoChallenge,
    /// There was a challenge, but no verdict by the deadline.
    NoVerdict,
    /// The server's address sent what no single server sends.
    Conflict,
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
enum Stage {
    Requesting,
    Answering {
        challenge: Challenge,
        digest: Digest,
    },
    /// There is a verdict, since this time; another may come.
    Listening {
        challenge: Challenge,
        verdict: Verdict,
        since: Duration,
    },
    Over(Result<Verdict, Failure>),
}

/// One login.
pub struct Client {
    name: Username,
    secret: Secret,
    stage: Stage,
    message: Message,
    resends: Resends,
    backoff: Backoff,
    send_at: Duration,
    deadline: Duration,
    first_sent: Option<Duration>,
    requests: usize,
    /// How often the answer to the challenge at hand was sent.
    answers: usize,
    /// Different ones, whether they were answered or not.
    challenges: Vec<Challenge>,
    /// Different ones, all of them answered.
    new_challenges: Vec<Challenge>,
    /// The verdict that a `New challenge` made doubtful.
    doubtful: Option<Verdict>,
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
            stage: Stage::Requesting,
            message: Message::request(Dialect::Words),
            resends,
            backoff: Backoff::new(seed),
            send_at: Duration::ZERO,
            deadline,
            first_sent: None,
            requests: 0,
            answers: 0,
            challenges: Vec::with_capacity(CHALLENGES_MAX),
            new_challenges: Vec::with_capacity(NEW_CHALLENGES_MAX),
            doubtful: None,
        }
    }

    /// What to do at the time `now`.
    pub fn next(&mut self, now: Duration) -> Step<'_> {
        match self.stage {
            Stage::Over(outcome) => return Step::Done(outcome),
            Stage::Listening { verdict, since, .. } => return self.listen(now, verdict, since),
            Stage::Requesting if now >= self.deadline => return Step::Done(Err(Failure::NoChallenge)),
            Stage::Answering { .. } if now >= self.deadline => return Step::Done(Err(Failure::NoVerdict)),
            Stage::Requesting | Stage::Answering { .. } if now < self.send_at => {
                return Step::WaitUntil(self.send_at.min(self.deadline));
            }
            Stage::Requesting => self.requests += 1,
            Stage::Answering { .. } => self.answers += 1,
        }
        self.first_sent.get_or_insert(now);
        let sending = self.sending();
        self.schedule(now);
        Step::Send { bytes: self.message.as_ref(), sending }
    }

    /// Hands over what came from the server: a datagram, or what a stream has brought since the last message.
    pub fn receive(&mut self, now: Duration, bytes: &[u8]) -> Receipt {
        match (ServerMessage::decode(bytes), self.stage) {
            (None, _) | (Some(_), Stage::Over(_)) => Receipt::Ignored,
            (Some(ServerMessage::Challenge(challenge)), _) => self.challenge(now, challenge),
            (
                Some(ServerMessage::NewChallenge(new)),
                Stage::Answering { challenge, .. } | Stage::Listening { challenge, .. },
            ) if new != challenge => self.new_challenge(now, new),
            (Some(ServerMessage::Verdict(verdict, _)), Stage::Answering { challenge, .. }) => {
                self.verdict(now, challenge, verdict)
            }
            (Some(ServerMessage::Verdict(other, _)), Stage::Listening { verdict, .. })
                if other != verdict =>
            {
                self.conflict()
            }
            (Some(ServerMessage::NewChallenge(_) | ServerMessage::Verdict(..)), _) => Receipt::Ignored,
        }
    }

    /// Whether the server has given a challenge.
    pub fn has_challenge(&self) -> bool {
        !self.challenges.is_empty()
    }

    fn challenge(&mut self, now: Duration, challenge: Challenge) -> Receipt {
        if !self.challenges.contains(&challenge) {
            if self.challenges.len() >= CHALLENGES_MAX.min(CHALLENGES_PER_REQUEST * self.requests) {
                return self.conflict();
            }
            self.challenges.push(challenge);
        }
        match self.stage {
            Stage::Requesting => self.answer(now, challenge),
            Stage::Answering { .. } | Stage::Listening { .. } | Stage::Over(_) => Receipt::Ignored,
        }
    }

    /// A challenge in place of the one that was answered last.
    fn new_challenge(&mut self, now: Duration, new: Challenge) -> Receipt {
        if self.new_challenges.contains(&new) {
            return Receipt::Ignored;
        }
        if self.new_challenges.len() >= NEW_CHALLENGES_MAX {
            return self.conflict();
        }
        if let Stage::Listening { verdict, .. } = self.stage {
            // Of one answer, one server does not both give the verdict and not know the challenge.
            if self.answers <= 1 && self.new_challenges.is_empty() {
                return self.conflict();
            }
            // The server may have been restarted between two answers, or somebody may have forged all that came
            // before. Either way the server that sent this one gives the verdict.
            self.doubtful = Some(verdict);
        }
        self.new_challenges.push(new);
        self.answer(now, new)
    }

    fn verdict(&mut self, now: Duration, challenge: Challenge, verdict: Verdict) -> Receipt {
        if self.doubtful.is_some_and(|doubtful| doubtful != verdict) {
            return self.conflict();
        }
        self.stage = match self.resends {
            Resends::Timed => Stage::Listening { challenge, verdict, since: now },
            Resends::Never => Stage::Over(Ok(verdict)),
        };
        Receipt::Taken
    }

    /// Ends a login over datagrams. Nobody forges what a stream brings, and nonsense in it is ignored.
    fn conflict(&mut self) -> Receipt {
        match self.resends {
            Resends::Timed => {
                self.stage = Stage::Over(Err(Failure::Conflict));
                Receipt::Taken
            }
            Resends::Never => Receipt::Ignored,
        }
    }

    fn answer(&mut self, now: Duration, challenge: Challenge) -> Receipt {
        let digest = self.secret.digest(challenge);
        self.stage = Stage::Answering { challenge, digest };
        self.message = Message::answer(&self.name, digest, challenge);
        self.answers = 0;
        self.backoff.restart();
        self.send_at = now;
        Receipt::Taken
    }

    /// Waits for what contradicts a verdict: for as long as the login took to get it, in which the server has been
    /// heard if it is as near as that; longer if there was a challenge too many, since one of them may be forged.
    fn listen(&self, now: Duration, verdict: Verdict, since: Duration) -> Step<'static> {
        let took = since.saturating_sub(self.first_sent.unwrap_or(since));
        let shortest = if self.challenges.len() > 1 { FIRST_WAIT } else { LISTENING_MIN };
        let until = self.deadline.min(since + took.min(LISTENING_MAX).max(shortest));
        if now < until { Step::WaitUntil(until) } else { Step::Done(Ok(verdict)) }
    }

    fn sending(&self) -> Sending {
        match (self.stage, self.backoff.waited()) {
            (Stage::Answering { digest, .. }, None) => Sending::Answer(digest),
            (Stage::Answering { .. }, Some(waited)) => Sending::AnswerAgain(waited),
            (Stage::Requesting | Stage::Listening { .. } | Stage::Over(_), None) => Sending::Request,
            (Stage::Requesting | Stage::Listening { .. } | Stage::Over(_), Some(waited)) => {
                Sending::RequestAgain(waited)
            }
        }
    }

    fn schedule(&mut self, now: Duration) {
        self.send_at = match self.resends {
            Resends::Timed => now + self.backoff.wait(),
            Resends::Never => Duration::MAX,
        };
    }
}

//! The client's side of a login: what to send, how long to wait, and the outcome.
//!
//! The caller owns the socket and the clock, and repeats:
//!
//! ```text
//! match client.next(now) {
//!     Step::Send { bytes, .. } => send them
//!     Step::WaitUntil(time)    => receive until then, and pass the bytes on: client.receive(now, bytes)
//!     Step::Done(outcome)      => stop
//! }
//! ```
//!
//! All times are durations since an instant of the caller's choice. No message moves the deadline.
//!
//! Datagrams in the server's name can be forged. So the client does not stop at the first verdict: it listens for a
//! while longer without sending, and ends with [`Failure::Conflict`] if the messages cannot all come from one server.

use std::time::Duration;

use crate::backoff::{Backoff, FIRST_WAIT};
use crate::challenge::Challenge;
use crate::credentials::{Password, Username};
use crate::dialect::{Dialect, Request};
#[cfg(feature = "opaque")]
use crate::opaque::stretching::StretchingError;
use crate::proof::{Digest, Secret};
use crate::wire::{Message, ServerMessage, Verdict};

/// The most `New challenge` messages that a client answers: no server is restarted more often within a login.
const NEW_CHALLENGES_MAX: usize = 5;
/// The most challenges for a request: the network may double it, and the copies may reach the server in two ticks.
const CHALLENGES_PER_REQUEST: usize = 2;
/// The most challenges in a login: enough for all the requests of 15 s.
const CHALLENGES_MAX: usize = 32;
/// The shortest time to listen after a verdict: the server's reply takes no longer within a local network.
const LISTENING_MIN: Duration = Duration::from_millis(2);
/// The longest time to listen after a verdict, unless a challenge may be forged: people would notice more.
const LISTENING_MAX: Duration = Duration::from_millis(100);

/// The caller's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Send these bytes.
    Send {
        /// One whole message.
        bytes: &'a [u8],
        /// The kind of message, for progress messages.
        sending: Sending,
    },
    /// Wait for bytes from the server until this time.
    WaitUntil(Duration),
    /// The login has ended.
    Done(Result<Verdict, Failure>),
}

/// A message that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// The request for a challenge.
    Request,
    /// The request again, after this wait for a reply.
    RequestAgain(Duration),
    /// The answer to a challenge.
    Answer(Digest),
    /// The answer again, after this wait for a reply.
    AnswerAgain(Duration),
    /// The first half of a login by OPAQUE.
    Begin,
    /// The same again, after this wait for a reply.
    BeginAgain(Duration),
    /// The second half of a login by OPAQUE.
    Finish,
    /// The same again, after this wait for a reply.
    FinishAgain(Duration),
}

/// Why a login has no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No challenge came before the deadline.
    NoChallenge,
    /// A challenge came, but no verdict before the deadline.
    NoVerdict,
    /// The messages from the server's address cannot all come from one server.
    Conflict,
    /// The server asks for a stretching of the password that takes too much, or that this client does not know.
    #[cfg(feature = "opaque")]
    Stretching(StretchingError),
    /// There is too little memory to stretch the password.
    #[cfg(feature = "opaque")]
    NoMemory,
}

/// Whether the client could use some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// They were a message that took the login further.
    Taken,
    /// They had no effect.
    Ignored,
}

/// Whether messages are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resends {
    /// They are, since datagrams get lost.
    Timed,
    /// They are not, since a stream resends by itself.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Requesting,
    Answering {
        challenge: Challenge,
        digest: Digest,
    },
    /// A verdict came at this time, and another message may contradict it.
    Listening {
        challenge: Challenge,
        verdict: Verdict,
        since: Duration,
    },
    Over(Result<Verdict, Failure>),
}

/// The state of one login.
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
    /// The number of times the answer to the current challenge was sent.
    answers: usize,
    /// All different challenges for requests, answered or not.
    challenges: Vec<Challenge>,
    /// All different `New challenge` messages, each of which was answered.
    new_challenges: Vec<Challenge>,
    /// The verdict that was followed by a `New challenge`.
    doubtful: Option<Verdict>,
}

impl Client {
    /// A login that ends at `deadline` without a verdict. The seed is for the jitter of resends.
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
            message: Message::request(Request::of(Dialect::Words)),
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

    /// The caller's step at the time `now`.
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

    /// Takes bytes from the server: a datagram, or all bytes of a stream since the last message.
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

    /// Whether the server has sent a challenge.
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
            // One server does not give a verdict and a new challenge for the same answer.
            if self.answers <= 1 && self.new_challenges.is_empty() {
                return self.conflict();
            }
            // The server may have been restarted between two answers, or all earlier messages may be forged. In both
            // cases the sender of this new challenge gives the verdict.
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

    /// Ends a login over datagrams. A stream cannot be forged, and nonsense in it is ignored.
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

    /// Waits for a message that contradicts the verdict: for as long as the login has taken, since a real server that
    /// is no farther away replies within that time; longer after more than one challenge, since one of them may be
    /// forged.
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

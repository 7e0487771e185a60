//! The client's side of a login by OPAQUE: what to send, how long to wait, and the outcome. It is driven as that of the
//! other mechanism is, [`crate::client`].
//!
//! An offer repeats half of the client's nonce, and a verdict has a tag that only the user's server can make, so
//! nothing that is forged by somebody who does not hear the login ends it. An AGAIN can be forged, and costs another
//! BEGIN. One KE1 serves the whole login, so that no datagram from the same port costs the user a second guess.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::challenge::Challenge;
use crate::client::{Failure, Receipt, Resends, Sending, Step};
use crate::dialect::Verdict;
use crate::opaque::exchange::{ClientExchange, ClientFinish, Unfinished};
use crate::opaque::session::{KE3_LEN, SessionKey};
use crate::opaque::stretching::Stretching;
use crate::opaque::wire::{self, Finish, MESSAGE_MAX, Offer, ServerMessage, echo};

/// The most AGAIN messages that a client follows: no server is restarted more often within a login.
const AGAINS_MAX: usize = 5;

/// The state of one login.
pub struct Client {
    exchange: ClientExchange,
    stage: Stage,
    message: Message,
    resends: Resends,
    backoff: Backoff,
    send_at: Duration,
    deadline: Duration,
    /// The challenges of all AGAIN messages.
    agains: Vec<Challenge>,
    /// What was last sent in a FINISH: its verdict counts, whatever came after it.
    finished: Option<ClientFinish>,
    has_challenge: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Requesting,
    Beginning,
    Finishing,
    /// The offer did not verify, and the server is to be told so once.
    Refusing,
    Over(Result<Verdict, Failure>),
}

/// The message that is sent now.
struct Message {
    bytes: [u8; MESSAGE_MAX],
    len: usize,
}

impl Message {
    fn new(message: &[u8]) -> Self {
        let mut bytes = [0; MESSAGE_MAX];
        // No message is longer.
        if let Some(slot) = bytes.get_mut(..message.len()) {
            slot.copy_from_slice(message);
        }
        Self { bytes, len: message.len() }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Client {
    /// A login that ends at `deadline` without a verdict. The seed is for the jitter of resends.
    #[must_use]
    pub fn new(exchange: ClientExchange, resends: Resends, deadline: Duration, seed: u64) -> Self {
        Self {
            exchange,
            stage: Stage::Requesting,
            message: Message::new(&wire::request()),
            resends,
            backoff: Backoff::new(seed),
            send_at: Duration::ZERO,
            deadline,
            agains: Vec::with_capacity(AGAINS_MAX),
            finished: None,
            has_challenge: false,
        }
    }

    /// The next step.
    pub fn next(&mut self, now: Duration) -> Step<'_> {
        if let Stage::Over(outcome) = self.stage {
            return Step::Done(outcome);
        }
        if self.stage == Stage::Refusing {
            self.stage = Stage::Over(Ok(Verdict::Refused));
            return Step::Send { bytes: self.message.bytes(), sending: Sending::Finish };
        }
        if now >= self.deadline {
            let failure = if self.has_challenge { Failure::NoVerdict } else { Failure::NoChallenge };
            self.stage = Stage::Over(Err(failure));
            return Step::Done(Err(failure));
        }
        if now < self.send_at {
            return Step::WaitUntil(self.send_at.min(self.deadline));
        }
        let sending = self.sending();
        self.send_at = match self.resends {
            Resends::Timed => now + self.backoff.wait(),
            Resends::Never => Duration::MAX,
        };
        Step::Send { bytes: self.message.bytes(), sending }
    }

    /// Takes a message from the server: a datagram, or a whole message of a stream. Stretches the password for the
    /// first offer, which may take a tenth of a second.
    pub fn receive(&mut self, now: Duration, bytes: &[u8]) -> Receipt {
        if let Stage::Over(_) | Stage::Refusing = self.stage {
            return Receipt::Ignored;
        }
        match ServerMessage::decode(bytes) {
            None => Receipt::Ignored,
            Some(ServerMessage::Challenge(challenge)) => match self.stage {
                Stage::Requesting => self.begin(now, challenge),
                Stage::Beginning | Stage::Finishing | Stage::Refusing | Stage::Over(_) => Receipt::Ignored,
            },
            Some(ServerMessage::Again(challenge)) => self.again(now, challenge),
            Some(ServerMessage::Offer(offer)) => match self.stage {
                Stage::Beginning => self.offer(now, &offer),
                Stage::Requesting | Stage::Finishing | Stage::Refusing | Stage::Over(_) => Receipt::Ignored,
            },
            Some(ServerMessage::Verdict { verdict, tag }) => match &self.finished {
                Some(ClientFinish { ke3, session }) if session.is_verdict_tag(tag, verdict, ke3) => {
                    self.stage = Stage::Over(Ok(verdict));
                    Receipt::Taken
                }
                Some(_) | None => Receipt::Ignored,
            },
        }
    }

    /// Whether the server has sent a challenge.
    #[must_use]
    pub fn has_challenge(&self) -> bool {
        self.has_challenge
    }

    /// The key that the server has, too, once it has welcomed this user.
    #[must_use]
    pub fn session(&self) -> Option<&SessionKey> {
        match self.stage {
            Stage::Over(Ok(Verdict::Welcome)) => self.finished.as_ref().map(|finished| &finished.session),
            Stage::Requesting | Stage::Beginning | Stage::Finishing | Stage::Refusing | Stage::Over(_) => {
                None
            }
        }
    }

    fn begin(&mut self, now: Duration, challenge: Challenge) -> Receipt {
        let bytes = self.exchange.begin(challenge).to_bytes();
        self.has_challenge = true;
        self.say(now, Stage::Beginning, &bytes)
    }

    /// Begins again with a new challenge, unless it is an old one, or the server said so too often.
    fn again(&mut self, now: Duration, challenge: Challenge) -> Receipt {
        if self.stage == Stage::Requesting
            || self.agains.len() >= AGAINS_MAX
            || self.agains.contains(&challenge)
        {
            return Receipt::Ignored;
        }
        self.agains.push(challenge);
        self.begin(now, challenge)
    }

    fn offer(&mut self, now: Duration, offer: &Offer<'_>) -> Receipt {
        if *offer.echo != echo(self.exchange.ke1()) {
            return Receipt::Ignored;
        }
        let stretching = match Stretching::from_bytes(*offer.stretching) {
            Ok(stretching) => stretching,
            Err(error) => return self.fail(Failure::Stretching(error)),
        };
        let finished = match self.exchange.finish(stretching, offer.ke2) {
            Ok(finish) => Some(finish),
            Err(Unfinished::NotVerified) => None,
            Err(Unfinished::NoMemory) => return self.fail(Failure::NoMemory),
        };
        let (stage, ke3) = match &finished {
            Some(finish) => (Stage::Finishing, finish.ke3),
            None => (Stage::Refusing, [0; KE3_LEN]),
        };
        let message = Finish { name: self.exchange.name(), ke3: &ke3, state: offer.state }.to_bytes();
        self.finished = finished;
        self.say(now, stage, &message)
    }

    fn fail(&mut self, failure: Failure) -> Receipt {
        self.stage = Stage::Over(Err(failure));
        Receipt::Taken
    }

    fn say(&mut self, now: Duration, stage: Stage, message: &[u8]) -> Receipt {
        self.stage = stage;
        self.message = Message::new(message);
        self.backoff.restart();
        self.send_at = now;
        Receipt::Taken
    }

    fn sending(&self) -> Sending {
        match (self.stage, self.backoff.waited()) {
            (Stage::Beginning, None) => Sending::Begin,
            (Stage::Beginning, Some(waited)) => Sending::BeginAgain(waited),
            (Stage::Finishing | Stage::Refusing, None) => Sending::Finish,
            (Stage::Finishing | Stage::Refusing, Some(waited)) => Sending::FinishAgain(waited),
            (Stage::Requesting | Stage::Over(_), None) => Sending::Request,
            (Stage::Requesting | Stage::Over(_), Some(waited)) => Sending::RequestAgain(waited),
        }
    }
}

//! What a client computes in a login by OPAQUE, and how much processor time that takes: none of it is the server's.

use std::io;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rustix::time::{ClockId, clock_gettime};

use proto::credentials::{Password, Username};
use proto::opaque::Binding;
use proto::opaque::exchange::{ClientExchange, ClientFinish};
use proto::opaque::session::KE3_LEN;
use proto::opaque::stretching::Stretching;
use proto::opaque::wire::{Finish, KE1_LEN, Offer, ServerMessage, echo};
use proto::wire::Verdict;

/// A user who has a record at the server.
pub(crate) struct OpaqueUser {
    pub(super) name: Username,
    pub(super) password: Password,
    wrong: Password,
    /// Another seed in each run: to a server, a repeated KE1 is a message that was sent again.
    random: ChaCha20Rng,
    computed: Duration,
    stretches: bool,
}

/// A login by OPAQUE, as far as it differs from one by MD5.
pub(super) struct OpaqueLogin {
    exchange: ClientExchange,
    stage: Stage,
}

/// What was said last.
enum Stage {
    Requesting,
    Beginning,
    /// `None` if the offer did not verify, of which the server is told, too.
    Finishing(Option<ClientFinish>),
}

/// What a login makes of a message.
pub(super) enum Given {
    /// Its answer, which is to be sent.
    Answer,
    Verdict(Verdict),
    /// It was a message for another time.
    Nothing,
    /// It is no message of the protocol, or not a whole one yet.
    Other,
}

impl OpaqueUser {
    /// # Errors
    /// The system's, if it has no random bits.
    pub(crate) fn new(name: &Username, password: &Password) -> io::Result<Self> {
        let wrong = if password.expose() == b"wrong" { "also wrong" } else { "wrong" };
        Ok(Self {
            name: name.clone(),
            password: password.clone(),
            wrong: Password::new(wrong).map_err(io::Error::other)?,
            random: generator()?,
            computed: Duration::ZERO,
            stretches: false,
        })
    }

    /// KE1 of a login that nobody makes.
    pub(super) fn ke1(&self, random: &mut ChaCha20Rng) -> io::Result<[u8; KE1_LEN]> {
        let exchange = ClientExchange::new(&self.name, &self.password, Binding::none(), random);
        Ok(*exchange.map_err(io::Error::other)?.ke1())
    }

    /// The processor time of all that was computed so far.
    pub(super) fn computed(&self) -> Duration {
        self.computed
    }

    /// Whether the server has passwords stretched, which takes a client far longer than all else.
    pub(super) fn stretches(&self) -> bool {
        self.stretches
    }

    pub(super) fn begin(&mut self) -> Option<OpaqueLogin> {
        self.begin_as(&self.name.clone(), &self.password.clone())
    }

    pub(super) fn begin_wrongly(&mut self) -> Option<OpaqueLogin> {
        self.begin_as(&self.name.clone(), &self.wrong.clone())
    }

    pub(super) fn begin_unknown(&mut self, number: u32) -> Option<OpaqueLogin> {
        self.begin_as(&format!("nobody-{number:08x}").parse().ok()?, &self.wrong.clone())
    }

    /// Blinds a password. `None` for one that cannot be; none is known.
    fn begin_as(&mut self, name: &Username, password: &Password) -> Option<OpaqueLogin> {
        let before = processor_time();
        let exchange = ClientExchange::new(name, password, Binding::none(), &mut self.random);
        self.computed += processor_time().saturating_sub(before);
        Some(OpaqueLogin { exchange: exchange.ok()?, stage: Stage::Requesting })
    }

    /// Takes what the server has sent to a login, and writes the answer to `message`.
    pub(super) fn hear(&mut self, login: &mut OpaqueLogin, bytes: &[u8], message: &mut Vec<u8>) -> Given {
        match (ServerMessage::decode(bytes), &login.stage) {
            (None, _) => Given::Other,
            (Some(ServerMessage::Challenge(challenge)), Stage::Requesting)
            | (Some(ServerMessage::Again(challenge)), Stage::Beginning | Stage::Finishing(_)) => {
                login.say(message, Stage::Beginning, |exchange| exchange.begin(challenge).to_bytes())
            }
            (Some(ServerMessage::Offer(offer)), Stage::Beginning) => self.finish(login, &offer, message),
            (Some(ServerMessage::Verdict { verdict, tag }), Stage::Finishing(Some(finish)))
                if finish.session.verdict_tag(verdict, &finish.ke3) == *tag =>
            {
                Given::Verdict(verdict)
            }
            // Who does not know the password cannot verify the verdict on that, either.
            (Some(ServerMessage::Verdict { verdict: Verdict::Refused, .. }), Stage::Finishing(None)) => {
                Given::Verdict(Verdict::Refused)
            }
            (Some(_), Stage::Requesting | Stage::Beginning | Stage::Finishing(_)) => Given::Nothing,
        }
    }

    /// Verifies an offer, and makes the proof.
    fn finish(&mut self, login: &mut OpaqueLogin, offer: &Offer<'_>, message: &mut Vec<u8>) -> Given {
        let Ok(stretching) = Stretching::from_bytes(*offer.stretching) else { return Given::Other };
        if *offer.echo != echo(login.exchange.ke1()) {
            return Given::Nothing;
        }
        let before = processor_time();
        let finish = login.exchange.finish(stretching, offer.ke2).ok();
        self.computed += processor_time().saturating_sub(before);
        self.stretches |= !stretching.is_none();
        let ke3 = finish.as_ref().map_or([0; KE3_LEN], |finish| finish.ke3);
        login.say(message, Stage::Finishing(finish), |exchange| {
            Finish { name: exchange.name(), ke3: &ke3, state: offer.state }.to_bytes()
        })
    }
}

impl OpaqueLogin {
    fn say<const LEN: usize>(
        &mut self,
        message: &mut Vec<u8>,
        stage: Stage,
        bytes: impl FnOnce(&ClientExchange) -> [u8; LEN],
    ) -> Given {
        message.clear();
        message.extend_from_slice(&bytes(&self.exchange));
        self.stage = stage;
        Given::Answer
    }
}

/// A generator with a seed from the system.
pub(super) fn generator() -> io::Result<ChaCha20Rng> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(io::Error::other)?;
    Ok(ChaCha20Rng::from_seed(seed))
}

/// The processor time of this thread: other programs take nothing from it.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

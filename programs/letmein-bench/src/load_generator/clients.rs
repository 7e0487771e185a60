//! The clients of a run, which make one login after another, whatever they reach the server through.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::load::Load;
use super::meter::Meter;
use super::virtual_client::{Heard, Silence, VirtualClient};
use super::{Crew, LOOK, Pacer, Plan};
use proto::transport::Transport;

/// What clients reach the server through: a socket each, or one for all of them. A client is known by its index.
pub(super) trait Channels {
    /// Opens the channel of a client's next login.
    fn open(&mut self, client: usize) -> io::Result<()>;
    /// Sends a message that is no reply, at the latest when this next receives.
    fn send(&mut self, client: usize, message: &[u8]);
    /// Closes the channel of a login that is lost.
    fn close(&mut self, client: usize);
    /// Hands what has arrived to the clients, and sends their answers. Waits up to `rest` if there is nothing.
    fn receive(&mut self, clients: &mut Clients<'_, '_>, rest: Duration) -> io::Result<()>;
}

/// Makes all logins of a plan.
pub(super) fn run(
    plan: &mut Plan,
    channels: &mut impl Channels,
    pacer: &mut Pacer,
    meter: &mut Meter<'_>,
) -> io::Result<()> {
    let mut clients = Clients::new(plan, meter);
    let mut looked = Instant::now();
    loop {
        let now = Instant::now();
        if now - looked >= LOOK {
            looked = now;
            clients.look(channels, now);
        }
        clients.begin_due(channels, pacer, now);
        if pacer.is_over(now) && clients.idle.len() == clients.all.len() {
            return Ok(());
        }
        let rest = pacer.rest(now, Crew::of(clients.idle.len()));
        channels.receive(&mut clients, rest)?;
    }
}

/// All clients, and what becomes of their logins.
pub(super) struct Clients<'a, 'watch> {
    load: &'a mut Load,
    transport: Transport,
    patience: Duration,
    meter: &'a mut Meter<'watch>,
    all: Vec<VirtualClient>,
    /// The longest idle first, so that all addresses are used by turns.
    idle: VecDeque<usize>,
    /// Clients whose login failed, and which wait for the next look.
    resting: Vec<usize>,
}

impl<'a, 'watch> Clients<'a, 'watch> {
    fn new(plan: &'a mut Plan, meter: &'a mut Meter<'watch>) -> Self {
        let clients = plan.pace.clients();
        Self {
            load: &mut plan.load,
            transport: plan.transport,
            patience: plan.patience,
            meter,
            all: (0..clients).map(|seed| VirtualClient::new(seed as u64)).collect(),
            idle: (0..clients).collect(),
            resting: Vec::new(),
        }
    }

    /// What a client has to say now.
    pub(super) fn message(&self, client: usize) -> &[u8] {
        self.all.get(client).map_or(&[], VirtualClient::message)
    }

    /// Gives a client what the server has sent, and counts the verdict.
    pub(super) fn hear(&mut self, index: usize, now: Instant, bytes: &[u8]) -> Heard {
        let Some(client) = self.all.get_mut(index) else { return Heard::Nothing };
        let heard = client.hear(self.load, now, bytes);
        match heard {
            Heard::Verdict { is_right } => {
                self.meter.verdict(now, client.age(now), is_right);
                self.idle.push_back(index);
            }
            Heard::Other => self.meter.heard_other(),
            Heard::Challenge | Heard::Nothing => {}
        }
        heard
    }

    /// Counts a login that an error has ended.
    pub(super) fn fail(&mut self, index: usize, error: &io::Error) {
        self.meter.broken(error);
        if let Some(client) = self.all.get_mut(index) {
            client.end();
        }
        self.resting.push(index);
    }

    /// Begins the logins that are due, as far as there are clients that are idle.
    fn begin_due(&mut self, channels: &mut impl Channels, pacer: &mut Pacer, now: Instant) {
        while !self.idle.is_empty()
            && let Some(intended) = pacer.next(now)
            && let Some(index) = self.idle.pop_front()
            && let Some(client) = self.all.get_mut(index)
        {
            match channels.open(index) {
                Ok(()) => {
                    client.begin(self.load, now, intended);
                    channels.send(index, client.message());
                }
                Err(error) => self.fail(index, &error),
            }
        }
    }

    /// Finds the clients that have waited long enough.
    fn look(&mut self, channels: &mut impl Channels, now: Instant) {
        self.meter.tick(now);
        self.idle.extend(self.resting.drain(..));
        for (index, client) in self.all.iter_mut().enumerate() {
            match (client.silence(self.patience, now), self.transport) {
                (Silence::Waits, _) | (Silence::SendsAgain, Transport::Tcp) => {}
                (Silence::SendsAgain, Transport::Udp) => {
                    self.meter.resent(1);
                    channels.send(index, client.message());
                }
                (Silence::GivesUp, _) => {
                    self.meter.lost(1);
                    channels.close(index);
                    self.idle.push_back(index);
                }
            }
        }
    }
}

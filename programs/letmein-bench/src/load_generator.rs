//! The load generator: makes many logins at a server, and measures how long they take and what they cost it.
//!
//! | module | what it is |
//! |---|---|
//! | `load` | the logins: users, wrong passwords, unknown names; what a client sends when |
//! | `opaque` | what a client computes by OPAQUE, and how long that takes |
//! | `clients` | the clients, which make one login after another |
//! | `one_socket` | what they have over UDP on this machine: one socket, an address of 127.0.0.0/8 a login |
//! | `datagrams` | batches of datagrams at that socket |
//! | `many_sockets` | what they have elsewhere and over TCP: a socket a login |
//! | `floor` | an echo of messages of the same sizes, the least that a server can do |
//! | `ke2` | the floor of OPAQUE, the server's half of the exchange without a server |
//! | `meter` | verdicts, latencies and failures, counted |
//! | `process` | the server's processor time and memory |
//! | `plot` | the same as a picture |
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a load generator is made of sockets and clocks"
)]

mod clients;
mod datagrams;
mod floor;
mod ke2;
mod load;
mod many_sockets;
mod meter;
mod one_socket;
mod opaque;
mod plot;
mod process;
mod virtual_client;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZero;
use std::time::{Duration, Instant};

pub(crate) use ke2::{Ke2Figures, run_ke2};
pub(crate) use load::{ChallengeEcho, Load};
pub(crate) use meter::Figures;
pub(crate) use opaque::OpaqueUser;
pub(crate) use plot::draw;
pub(crate) use process::Process;

use rustix::thread::{CpuSet, gettid, set_current_timer_slack};

use many_sockets::ManySockets;
use meter::Meter;
use one_socket::OneSocket;
use proto::mechanism::Mechanism;
use proto::transport::Transport;
use proto::{opaque::wire::MESSAGE_MAX as OPAQUE_MAX, wire::REPLY_MAX};

/// A server, and the load to put on it.
pub(crate) struct Plan {
    pub(crate) server: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) load: Load,
    /// How many at a time, or how often.
    pub(crate) pace: Pace,
    /// For how long logins are begun.
    pub(crate) duration: Duration,
    /// How long after its first message a login without a verdict is lost.
    pub(crate) patience: Duration,
    /// Addresses of 127.0.0.0/8 that logins come from, one after the other; at least one for each client.
    pub(crate) sources: u32,
    /// The server's process, if its cost is to be measured.
    pub(crate) process: Option<Process>,
}

impl Plan {
    /// Whether the generator and the server's process may run on the same processor.
    pub(crate) fn shares_processors(&self) -> bool {
        let own = Process::thread(gettid()).processors();
        let servers = self.process.as_ref().map(Process::processors);
        let (Ok(own), Some(Ok(servers))) = (own, servers) else { return false };
        (0..CpuSet::MAX_CPU).any(|processor| own.is_set(processor) && servers.is_set(processor))
    }
}

impl fmt::Display for Plan {
    /// The subject of the figures.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, ", self.transport.name(), self.server)?;
        match self.load.mechanism() {
            Mechanism::Md5 => {}
            mechanism @ Mechanism::Opaque => write!(f, "{mechanism}, ")?,
        }
        match self.pace {
            Pace::Closed { clients } => write!(f, "{clients} clients")?,
            Pace::Open { rate, .. } => write!(f, "{rate} logins per second")?,
        }
        write!(f, ", {:?}", self.duration)
    }
}

/// When logins begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// Closed loop: each client begins a login when its last has ended.
    Closed {
        /// Logins at a time.
        clients: usize,
    },
    /// Open loop: logins begin at this rate, whether the server keeps up or not.
    Open {
        /// Logins a second.
        rate: f64,
        /// Logins at a time, at most; those beyond wait, and the wait counts.
        clients: usize,
    },
}

impl Pace {
    /// Logins at a time, at most.
    #[must_use]
    pub(crate) fn clients(self) -> usize {
        match self {
            Self::Closed { clients } | Self::Open { clients, .. } => clients,
        }
    }
}

/// The first address that logins come from, on this machine; those below are left to others.
const FIRST_SOURCE: u32 = u32::from_be_bytes([127, 1, 0, 0]);
/// How many addresses there are from it on.
pub(crate) const SOURCES_MAX: u32 = u32::from_be_bytes([127, 255, 0, 0]) - FIRST_SOURCE;
/// Bytes of the longest reply by either mechanism.
const LONGEST_REPLY: usize = if OPAQUE_MAX > REPLY_MAX { OPAQUE_MAX } else { REPLY_MAX };
/// How often clients are checked for messages to resend.
const LOOK: Duration = Duration::from_millis(20);

/// Makes the logins, and measures them. `watch` is called after each second.
///
/// # Errors
/// The system's, for what the generator itself needs. Logins that fail are counted.
pub(crate) fn run(plan: &mut Plan, watch: &mut dyn FnMut(&Figures)) -> io::Result<Figures> {
    // A login begins when it is due, and not up to 50 µs later.
    set_current_timer_slack(NonZero::new(1))?;
    let generator = Process::thread(gettid());
    let before = (generator.cpu(), plan.process.as_ref().and_then(Process::cpu));
    let mut pacer = Pacer::new(plan);
    let mut meter = Meter::start(pacer.started, plan.duration, watch)?;
    match (plan.transport, plan.server) {
        (Transport::Udp, SocketAddr::V4(server)) if server.ip().is_loopback() => {
            let mut channel = OneSocket::bind(server, plan)?;
            clients::run(plan, &mut channel, &mut pacer, &mut meter)?;
        }
        (Transport::Udp | Transport::Tcp, _) => {
            let mut channels = ManySockets::new(plan)?;
            clients::run(plan, &mut channels, &mut pacer, &mut meter)?;
        }
    }
    meter.lost(pacer.never_begun());
    let elapsed = pacer.started.elapsed();
    let mut figures = meter.finish();
    let used = |process: &Process, before| {
        process.cpu().zip(before).map(|(now, then): (Duration, _)| now.saturating_sub(then))
    };
    figures.generator_load = used(&generator, before.0).map(|cpu| cpu.as_secs_f64() / elapsed.as_secs_f64());
    figures.cpu = plan.process.as_ref().and_then(|process| used(process, before.1));
    figures.clients_cpu = plan.load.opaque_user().map(OpaqueUser::computed);
    figures.clients_stretch = plan.load.opaque_user().is_some_and(OpaqueUser::stretches);
    figures.resident_bytes = plan.process.as_ref().and_then(Process::resident_bytes);
    Ok(figures)
}

/// Measures the floor in the same way, on the processors that the server of `plan` may use.
///
/// # Errors
/// The system's.
pub(crate) fn run_floor(plan: &mut Plan, watch: &mut dyn FnMut(&Figures)) -> io::Result<Figures> {
    let address = SocketAddr::new(loopback(plan.server.ip()), 0);
    let floor = floor::Floor::start(plan.transport, address, plan.process.as_ref())?;
    let server = std::mem::replace(&mut plan.server, floor.address);
    let process = plan.process.replace(floor.process);
    plan.load.expect_welcome();
    let figures = run(plan, watch);
    plan.load.expect_verdicts();
    plan.server = server;
    plan.process = process;
    figures
}

fn loopback(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// Says which logins are due.
struct Pacer {
    pace: Pace,
    started: Instant,
    end: Instant,
    /// When those that could not begin in time are given up.
    last_moment: Instant,
    begun: u64,
    /// Logins that an open loop has to begin in all.
    due: u64,
}

impl Pacer {
    fn new(plan: &Plan) -> Self {
        let started = Instant::now();
        let end = started + plan.duration;
        let due = match plan.pace {
            Pace::Closed { .. } => 0,
            Pace::Open { rate, .. } => (plan.duration.as_secs_f64() * rate).ceil() as u64,
        };
        Self { pace: plan.pace, started, end, last_moment: end + plan.patience, begun: 0, due }
    }

    /// When the next login was to begin, if it is due.
    fn next(&mut self, now: Instant) -> Option<Instant> {
        let intended = self.intended(now)?;
        let is_due = intended <= now && !self.is_over(now);
        is_due.then(|| {
            self.begun += 1;
            intended
        })
    }

    /// When the next login is to begin, if there is to be one.
    fn intended(&self, now: Instant) -> Option<Instant> {
        match self.pace {
            Pace::Closed { .. } => Some(now),
            Pace::Open { rate, .. } => (self.begun < self.due)
                .then(|| self.started + Duration::from_secs_f64(self.begun as f64 / rate)),
        }
    }

    /// How long to wait for something to begin, if no login ends before.
    fn rest(&self, now: Instant, crew: Crew) -> Duration {
        match (self.pace, crew, self.intended(now)) {
            (Pace::Open { .. }, Crew::SomeIdle, Some(intended)) => {
                intended.saturating_duration_since(now).min(LOOK)
            }
            (Pace::Open { .. } | Pace::Closed { .. }, Crew::SomeIdle | Crew::AllBusy, _) => LOOK,
        }
    }

    /// Whether no more logins begin.
    fn is_over(&self, now: Instant) -> bool {
        match self.pace {
            Pace::Closed { .. } => now >= self.end,
            Pace::Open { .. } => self.begun >= self.due || now >= self.last_moment,
        }
    }

    /// How many logins were due and could not begin.
    fn never_begun(&self) -> u64 {
        self.due.saturating_sub(self.begun)
    }
}

/// Whether there is a client to begin a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crew {
    SomeIdle,
    AllBusy,
}

impl Crew {
    fn of(idle: usize) -> Self {
        if idle > 0 { Self::SomeIdle } else { Self::AllBusy }
    }
}

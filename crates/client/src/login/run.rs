//! A login in progress: rounds over the addresses of the servers.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rand::TryRng;
use rand::rngs::SysRng;

use super::any_client::{AnyClient, Credentials};
use super::attempt::{self, AttemptError, Given, Happening};
use super::begins::Begins;
use super::{Absence, Login, LoginError, Outcome, Progress, TIMEOUT};
use crate::host_port::HostPort;
use proto::client::{self, Resends, Sending};
use proto::credentials::{Password, Username};
use proto::transport::Transport;

/// How long a server that refuses or resets connections is tried again: as long as a restart may take.
const REFUSED_GRACE: Duration = Duration::from_secs(1);
/// The pause before the next round of attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// If an address has said nothing for this long, the next one is tried as well.
const PATIENCE: Duration = Duration::from_millis(500);

/// A login in progress.
pub(super) struct Run<'a> {
    login: &'a Login,
    user: &'a Username,
    credentials: Credentials<'a>,
    watch: &'a mut dyn FnMut(Progress<'_>),
    started: Instant,
    sends: u32,
    begins: Begins,
    /// When the network first refused. Nothing that arrives restarts this.
    unreachable_since: Option<Instant>,
}

/// An address to try.
#[derive(Clone)]
struct Candidate {
    server: HostPort,
    address: SocketAddr,
}

/// What comes from the thread of an attempt.
enum AttemptReport {
    Happening(Happening),
    Ended(Result<Given, AttemptError>),
}

/// Ends all attempts of a round when dropped.
#[derive(Default)]
struct Attempts {
    is_over: Arc<AtomicBool>,
}

impl Drop for Attempts {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        login: &'a Login,
        user: &'a Username,
        password: &'a Password,
        watch: &'a mut dyn FnMut(Progress<'_>),
    ) -> Result<Self, LoginError> {
        let credentials = Credentials::new(login, user, password)?;
        Ok(Self {
            login,
            user,
            credentials,
            watch,
            started: Instant::now(),
            sends: 0,
            begins: Begins::default(),
            unreachable_since: None,
        })
    }

    /// Tries all addresses, and again if that may help.
    pub(super) fn until_verdict(mut self) -> Result<Outcome, LoginError> {
        let mut refusal = None;
        loop {
            let error = match self.round() {
                Ok(outcome) => return Ok(outcome),
                // The deadline may have cut the round off, or all addresses rest.
                Err(error) => match refusal.take() {
                    Some(before) => more_telling(before, error),
                    None => error,
                },
            };
            if self.gives_up_after(&error) {
                return Err(error);
            }
            if self.login.absence == Absence::Wait {
                (self.watch)(Progress::Waiting(&error));
            }
            thread::sleep(self.share().min(RETRY_PAUSE));
            if self.left() == Some(Duration::ZERO) {
                return Err(error);
            }
            refusal = Some(error);
        }
    }

    /// Tries every address that does not rest: the next one as soon as those before have failed or are silent. The
    /// first verdict counts.
    fn round(&mut self) -> Result<Outcome, LoginError> {
        let mut targets = self.look_up()?;
        targets.retain(|target| !self.rests(target));
        if targets.len() == 1
            && let Some(target) = targets.pop_front()
        {
            return self.attempt_here(target);
        }
        let mut error = LoginError::NoAddress { hosts: self.hosts(), family: self.login.family };
        // Every address is asked before the time is over.
        let patience = PATIENCE.min(self.share() / (targets.len() as u32 + 1));
        let (attempts, (sender, reports)) = (Attempts::default(), mpsc::channel());
        let (mut running, mut next_at, begun, share) = (0, Instant::now(), Instant::now(), self.share());
        while running > 0 || !targets.is_empty() {
            if Instant::now() >= next_at
                && let Some(target) = targets.pop_front()
            {
                match self.attempt_beside(target, &attempts, sender.clone()) {
                    Ok(()) => running += 1,
                    Err(failure) => error = more_telling(error, failure),
                }
                next_at = Instant::now() + patience;
            }
            let wait = if targets.is_empty() { TIMEOUT } else { next_at.duration_since(Instant::now()) };
            let Ok((target, report)) = reports.recv_timeout(wait) else { continue };
            match report {
                AttemptReport::Happening(Happening::Sending(sending)) => self.sends(target.address, sending),
                AttemptReport::Happening(Happening::Heard) => next_at = Instant::now() + patience,
                AttemptReport::Ended(Ok(given)) => return Ok(self.outcome(target.address, given)),
                AttemptReport::Ended(Err(failure)) => {
                    let failure = self.error(target.clone(), failure);
                    // At another address the messages may be forged as well.
                    if matches!(failure, LoginError::Conflict(_)) {
                        return Err(failure);
                    }
                    (running, next_at) = (running - 1, Instant::now());
                    // While another is silent, this one may be back.
                    let is_over = begun.elapsed() >= share || self.gives_up_after(&failure);
                    if running > 0 && !is_over && !self.rests(&target) {
                        targets.push_back(target);
                        next_at = Instant::now() + RETRY_PAUSE;
                    }
                    error = more_telling(error, failure);
                }
            }
        }
        Err(error)
    }

    /// The addresses of all servers, in their order. A server that cannot be looked up is left out, unless all are.
    fn look_up(&self) -> Result<VecDeque<Candidate>, LoginError> {
        let (mut targets, mut failure) = (VecDeque::new(), None);
        for (index, server) in self.login.servers.iter().enumerate() {
            let servers_left = self.login.servers.len() - index;
            match server.resolve(self.share() / servers_left as u32) {
                Ok(addresses) => {
                    for address in addresses.into_iter().filter(|it| self.login.family.contains(it)) {
                        if !targets.iter().any(|target: &Candidate| target.address == address) {
                            targets.push_back(Candidate { server: server.clone(), address });
                        }
                    }
                }
                Err(error) => failure = Some(LoginError::Unresolved { host: server.host.clone(), error }),
            }
        }
        match failure {
            Some(failure) if targets.is_empty() => Err(failure),
            _ => Ok(targets),
        }
    }

    /// Tries the only address there is.
    fn attempt_here(&mut self, target: Candidate) -> Result<Outcome, LoginError> {
        let (transport, share, client) = (self.login.transport, self.share(), self.client()?);
        let tell = &mut |happening| match happening {
            Happening::Sending(sending) => self.sends(target.address, sending),
            Happening::Heard => {}
        };
        let ended = attempt::run(transport, target.address, client, share, &AtomicBool::new(false), tell);
        ended.map(|given| self.outcome(target.address, given)).map_err(|failure| self.error(target, failure))
    }

    /// Tries an address on a thread of its own.
    fn attempt_beside(
        &self,
        target: Candidate,
        attempts: &Attempts,
        sender: Sender<(Candidate, AttemptReport)>,
    ) -> Result<(), LoginError> {
        let (transport, share, client) = (self.login.transport, self.share(), self.client()?);
        let is_over = attempts.is_over.clone();
        let (server, address) = (target.server.clone(), target.address);
        let attempt = move || {
            // Nobody receives this any more once the round is over.
            let report = |report| drop(sender.send((target.clone(), report)));
            let tell = &mut |happening| report(AttemptReport::Happening(happening));
            report(AttemptReport::Ended(attempt::run(transport, address, client, share, &is_over, tell)));
        };
        let started = thread::Builder::new().spawn(attempt);
        started
            .map(drop)
            .map_err(|error| self.error(Candidate { server, address }, AttemptError::Unreachable(error)))
    }

    fn hosts(&self) -> String {
        self.login.servers.iter().map(|server| &*server.host).collect::<Vec<_>>().join(",")
    }

    fn client(&self) -> Result<AnyClient, LoginError> {
        let resends = match self.login.transport {
            Transport::Udp => Resends::Timed,
            Transport::Tcp => Resends::Never,
        };
        let seed = SysRng.try_next_u64().map_err(|error| LoginError::NoRandomness(error.into()))?;
        Ok(self.credentials.client(resends, self.share(), seed))
    }

    fn sends(&mut self, server: SocketAddr, sending: Sending) {
        if sending == Sending::Begin {
            self.begins.note(server, Instant::now());
        }
        (self.watch)(Progress::Sending { server, user: self.user, sending });
        self.sends += 1;
    }

    fn rests(&self, target: &Candidate) -> bool {
        self.begins.rests(target.address, Instant::now())
    }

    /// The time that is left; `None` without a timeout.
    fn left(&self) -> Option<Duration> {
        self.login.timeout.map(|timeout| timeout.saturating_sub(self.started.elapsed()))
    }

    /// The time that an attempt, or a look-up, may take. One that waits does so in rounds, between which addresses that
    /// have rested are tried again.
    fn share(&self) -> Duration {
        let left = self.left().unwrap_or(TIMEOUT);
        if self.login.absence == Absence::Wait { left.min(TIMEOUT) } else { left }
    }

    fn gives_up_after(&mut self, error: &LoginError) -> bool {
        if self.left() == Some(Duration::ZERO) {
            return true;
        }
        match (self.login.absence, error) {
            (_, LoginError::Conflict(_)) => true,
            #[cfg(feature = "opaque")]
            (_, LoginError::Stretching { .. } | LoginError::NoMemory { .. }) => true,
            (Absence::Wait, _) => false,
            (
                Absence::Fail,
                LoginError::Refused { .. } | LoginError::Unreachable { .. } | LoginError::Closed { .. },
            ) => self.unreachable_since.get_or_insert_with(Instant::now).elapsed() >= REFUSED_GRACE,
            (Absence::Fail, _) => true,
        }
    }

    fn outcome(&self, server: SocketAddr, given: Given) -> Outcome {
        Outcome {
            verdict: given.verdict,
            server,
            transport: self.login.transport,
            sends: self.sends,
            elapsed: given.heard.duration_since(self.started),
            #[cfg(feature = "opaque")]
            session: given.session,
        }
    }

    fn error(&self, Candidate { server, address }: Candidate, failure: AttemptError) -> LoginError {
        let after = Duration::from_millis(self.started.elapsed().as_millis() as u64);
        let (transport, mechanism) = (self.login.transport, self.login.mechanism);
        match failure {
            AttemptError::Client(client::Failure::NoChallenge) => {
                LoginError::NoAnswer { server, after, mechanism }
            }
            AttemptError::Client(client::Failure::Conflict) => LoginError::Conflict(address),
            #[cfg(feature = "opaque")]
            AttemptError::Client(client::Failure::Stretching(error)) => {
                LoginError::Stretching { server: address, error }
            }
            #[cfg(feature = "opaque")]
            AttemptError::Client(client::Failure::NoMemory) => LoginError::NoMemory { server: address },
            // There is no verdict. Whether there are other failures, of OPAQUE, is up to the protocol's features.
            AttemptError::Client(_) => LoginError::NoVerdict { server, after, mechanism },
            #[cfg(feature = "opaque")]
            AttemptError::Crowded => LoginError::Crowded { after },
            AttemptError::Mute => LoginError::Mute { server, after, mechanism },
            AttemptError::Foreign => LoginError::OtherService { server: address, mechanism },
            AttemptError::Closed(error) => LoginError::Closed { server: address, error, mechanism },
            AttemptError::Unreachable(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                LoginError::Refused { server: address, transport }
            }
            AttemptError::Unreachable(error) => LoginError::Unreachable { server: address, error, mechanism },
        }
    }
}

/// The later error, unless it tells only that nothing came, and the earlier one tells more.
fn more_telling(before: LoginError, after: LoginError) -> LoginError {
    let is_vague = |error: &LoginError| {
        matches!(
            error,
            LoginError::NoAnswer { .. }
                | LoginError::Mute { .. }
                | LoginError::NoAddress { .. }
                | LoginError::Unresolved { .. }
        )
    };
    if is_vague(&after) && !is_vague(&before) { before } else { after }
}

//! A login over the network: drives [`Client`] with a socket and a clock.

mod error;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use rand::TryRng;
use rand::rngs::SysRng;

use crate::channel::{Channel, Inbox, is_broken, is_timeout};
use crate::host_port::HostPort;
pub use error::LoginError;
use error::maybe_blocking;
use proto::client::{self, Client, Receipt, Sending, Step};
use proto::credentials::{Password, Username};
use proto::transport::Transport;
use proto::wire::Verdict;

/// The default timeout of a login.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server that refuses or resets connections is tried again: as long as a restart may take.
const REFUSED_GRACE: Duration = Duration::from_secs(1);
/// The pause before the next round of attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The settings of a login: the server, the transport and the timeout.
///
/// ```no_run
/// use letmein_auth_client::{Login, Password, Verdict};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let login = Login::to("127.0.0.1:8591".parse()?);
/// let outcome = login.run(&"userone".parse()?, &Password::new("passwordone")?)?;
/// match outcome.verdict {
///     Verdict::Welcome => println!("in after {:?}", outcome.elapsed),
///     Verdict::Refused => println!("out"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Login {
    server: HostPort,
    transport: Transport,
    family: Family,
    timeout: Option<Duration>,
    absence: Absence,
}

/// Which of a server's addresses are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// All addresses.
    Any,
    /// Only the IPv4 addresses.
    V4,
    /// Only the IPv6 addresses.
    V6,
}

/// What to do about a server that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absence {
    Fail,
    Wait,
}

/// The result of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the server accepts the name and the password.
    pub verdict: Verdict,
    /// The address that gave the verdict.
    pub server: SocketAddr,
    /// The transport of the login.
    pub transport: Transport,
    /// The number of messages sent, including resends.
    pub sends: u32,
    /// The time from the first look-up to the verdict. Over UDP the client has listened on after that, for at most 0.1
    /// s if there was only one challenge.
    pub elapsed: Duration,
}

/// A step of a login. Its text is a sentence for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    server: SocketAddr,
    user: &'a Username,
    sending: Sending,
}

impl fmt::Display for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, user, sending } = self;
        match sending {
            Sending::Request => {
                let (address, port) = (server.ip(), server.port());
                write!(f, "Sending authentication request to server {address} {port}")
            }
            Sending::RequestAgain(waited) => write!(f, "Retransmitting request after {waited:?}"),
            Sending::Answer(digest) => write!(f, "Sending username {user} and hash {digest} to server"),
            Sending::AnswerAgain(waited) => write!(f, "Retransmitting username and hash after {waited:?}"),
        }
    }
}

impl Login {
    /// A login over UDP, at any address of the server, within [`TIMEOUT`].
    #[must_use]
    pub fn to(server: HostPort) -> Self {
        let (transport, family, timeout) = (Transport::Udp, Family::Any, Some(TIMEOUT));
        Self { server, transport, family, timeout, absence: Absence::Fail }
    }

    /// Uses another transport than UDP.
    #[must_use]
    pub fn over(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// Tries only the addresses of one family.
    #[must_use]
    pub fn family(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// Sets the timeout of the whole login.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Waits until the server is up: without end, unless [`within`](Self::within) sets a timeout afterwards.
    #[must_use]
    pub fn wait(self) -> Self {
        Self { absence: Absence::Wait, timeout: None, ..self }
    }

    /// Logs in. Blocks until there is a verdict or an error.
    ///
    /// # Errors
    /// [`LoginError`] says why there is no verdict. A refusal is a verdict.
    pub fn run(&self, user: &Username, password: &Password) -> Result<Outcome, LoginError> {
        self.run_watched(user, password, &mut |_| {})
    }

    /// Logs in, and calls `watch` at each step.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_watched(
        &self,
        user: &Username,
        password: &Password,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Outcome, LoginError> {
        let started = Instant::now();
        let (sends, heard) = (0, Duration::ZERO);
        let mut run =
            Run { login: self, user, password, watch, started, sends, heard, unreachable_since: None };
        let mut refusal = None;
        loop {
            let error = match run.round() {
                Ok(outcome) => return Ok(outcome),
                // The deadline may cut off the last of many rounds, and the error of an earlier one says more.
                Err(error @ LoginError::NoAnswer { .. }) => refusal.take().unwrap_or(error),
                Err(error) => error,
            };
            if run.gives_up_after(&error) {
                return Err(error);
            }
            refusal = Some(error);
            thread::sleep(run.left().unwrap_or(RETRY_PAUSE).min(RETRY_PAUSE));
        }
    }
}

impl Family {
    fn contains(self, address: &SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Why an attempt at one address gave no verdict.
enum AttemptError {
    Client(client::Failure),
    /// The connection ended after a challenge.
    Closed(io::Error),
    Unreachable(io::Error),
}

impl From<io::Error> for AttemptError {
    fn from(error: io::Error) -> Self {
        // Of all these errors, only that of connecting over TCP can be a timeout.
        if is_timeout(&error) {
            Self::Client(client::Failure::NoChallenge)
        } else if is_end(&error) {
            let reason = format!("it closed the connection without a verdict, and {}", maybe_blocking());
            Self::Unreachable(io::Error::new(error.kind(), reason))
        } else {
            Self::Unreachable(error)
        }
    }
}

/// Whether the other side has ended the connection.
fn is_end(error: &io::Error) -> bool {
    is_broken(error) || error.kind() == io::ErrorKind::UnexpectedEof
}

/// A login in progress.
struct Run<'a> {
    login: &'a Login,
    user: &'a Username,
    password: &'a Password,
    watch: &'a mut dyn FnMut(Progress<'_>),
    started: Instant,
    sends: u32,
    /// When the last message that counted came: of a login that has its verdict, that.
    heard: Duration,
    /// When the network first refused. Nothing that arrives starts this anew.
    unreachable_since: Option<Instant>,
}

impl Run<'_> {
    /// Tries every address once.
    fn round(&mut self) -> Result<Outcome, LoginError> {
        let addresses = self.look_up()?;
        let mut last_error = LoginError::NoAddress(self.login.server.host.clone());
        for (index, server) in addresses.iter().enumerate() {
            match self.attempt(*server, addresses.len() - index) {
                Ok(verdict) => return Ok(self.outcome(*server, verdict)),
                Err(failure) => last_error = self.error(*server, failure),
            }
            // At another address the messages may be forged as well.
            if self.left() == Some(Duration::ZERO) || matches!(last_error, LoginError::Conflict(_)) {
                break;
            }
        }
        Err(last_error)
    }

    fn look_up(&self) -> Result<Vec<SocketAddr>, LoginError> {
        let server = &self.login.server;
        let unresolved = |error| LoginError::Unresolved { host: server.host.clone(), error };
        let addresses = server.resolve(self.left().unwrap_or(TIMEOUT)).map_err(unresolved)?.into_iter();
        Ok(addresses.filter(|address| self.login.family.contains(address)).collect())
    }

    /// Tries one address, for its share of the time that is left.
    fn attempt(&mut self, server: SocketAddr, addresses_left: usize) -> Result<Verdict, AttemptError> {
        let share = self.left().map_or(TIMEOUT, |left| left / addresses_left as u32);
        let started = Instant::now();
        let mut channel = Channel::open(self.login.transport, server, share)?;
        let seed = SysRng.try_next_u64().map_err(io::Error::from)?;
        let mut client = Client::new(self.user, self.password, channel.resends(), share, seed);
        match self.converse(server, &mut channel, &mut client, started) {
            Err(AttemptError::Unreachable(error)) if client.has_challenge() && is_end(&error) => {
                Err(AttemptError::Closed(error))
            }
            ended => ended,
        }
    }

    fn converse(
        &mut self,
        server: SocketAddr,
        channel: &mut Channel,
        client: &mut Client,
        started: Instant,
    ) -> Result<Verdict, AttemptError> {
        let mut inbox = Inbox::default();
        loop {
            match client.next(started.elapsed()) {
                Step::Send { bytes, sending } => {
                    (self.watch)(Progress { server, user: self.user, sending });
                    self.sends += 1;
                    channel.send(bytes)?;
                }
                Step::WaitUntil(time) => {
                    let wait = time.saturating_sub(started.elapsed());
                    if let Some(bytes) = inbox.fill(channel, wait)?
                        && client.receive(started.elapsed(), bytes) == Receipt::Taken
                    {
                        self.heard = self.started.elapsed();
                        inbox.clear();
                    }
                }
                Step::Done(outcome) => return outcome.map_err(AttemptError::Client),
            }
        }
    }

    /// The time that is left; `None` without a timeout.
    fn left(&self) -> Option<Duration> {
        self.login.timeout.map(|timeout| timeout.saturating_sub(self.started.elapsed()))
    }

    fn gives_up_after(&mut self, error: &LoginError) -> bool {
        if self.left() == Some(Duration::ZERO) {
            return true;
        }
        match (self.login.absence, error) {
            (_, LoginError::Conflict(_)) => true,
            (Absence::Wait, _) => false,
            (Absence::Fail, LoginError::Unreachable { .. } | LoginError::Closed { .. }) => {
                self.unreachable_since.get_or_insert_with(Instant::now).elapsed() >= REFUSED_GRACE
            }
            (Absence::Fail, _) => true,
        }
    }

    fn outcome(&self, server: SocketAddr, verdict: Verdict) -> Outcome {
        let (transport, sends, elapsed) = (self.login.transport, self.sends, self.heard);
        Outcome { verdict, server, transport, sends, elapsed }
    }

    fn error(&self, address: SocketAddr, failure: AttemptError) -> LoginError {
        let server = self.login.server.clone();
        let after = Duration::from_millis(self.started.elapsed().as_millis() as u64);
        match failure {
            AttemptError::Client(client::Failure::NoChallenge) => LoginError::NoAnswer { server, after },
            AttemptError::Client(client::Failure::NoVerdict) => LoginError::NoVerdict { server, after },
            AttemptError::Client(client::Failure::Conflict) => LoginError::Conflict(address),
            AttemptError::Closed(error) => LoginError::Closed { server: address, error },
            AttemptError::Unreachable(error) => LoginError::Unreachable { server: address, error },
        }
    }
}

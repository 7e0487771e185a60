//! One login over the network: drives [`Client`] with a socket and a clock.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use rand::TryRng;
use rand::rngs::SysRng;

use crate::channel::{Channel, Inbox, is_broken, is_timeout};
use crate::host_port::HostPort;
use proto::client::{self, Client, Receipt, Sending, Step};
use proto::credentials::{Password, Username};
use proto::server::penalty::{FIRST_SILENCE, LONGEST_SILENCE};
use proto::transport::Transport;
use proto::wire::Verdict;

/// The time for a whole login, unless told otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server that refuses or resets is tried again: as long as a restart may take.
const REFUSED_GRACE: Duration = Duration::from_secs(1);
/// The pause before all addresses are tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A login to be made: where, how, and for how long to try.
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
    /// All of them.
    Any,
    /// Those of IPv4.
    V4,
    /// Those of IPv6.
    V6,
}

/// What to make of a server that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absence {
    Fails,
    IsWaitedOut,
}

/// What came of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the server knows the password.
    pub verdict: Verdict,
    /// The address that gave the verdict.
    pub server: SocketAddr,
    /// What carried it.
    pub transport: Transport,
    /// Messages sent, resends included.
    pub sends: u32,
    /// From the first look-up to the verdict. Over UDP the client has then listened on, for 0.1 s at most unless there
    /// was more than one challenge.
    pub elapsed: Duration,
}

/// Why there is no verdict.
#[derive(Debug)]
pub enum LoginError {
    /// The name of the server has no address.
    Unresolved {
        /// The name.
        host: String,
        /// The resolver's word for it.
        error: io::Error,
    },
    /// The name has addresses, but none of the family that was asked for.
    NoAddress(String),
    /// The server never said anything.
    NoAnswer {
        /// The server.
        server: HostPort,
        /// How long it was tried.
        after: Duration,
    },
    /// The server gave a challenge, but no verdict.
    NoVerdict {
        /// The server.
        server: HostPort,
        /// How long it was tried.
        after: Duration,
    },
    /// The server's address sent what no single server sends: two verdicts, or more challenges than it was asked for.
    Conflict(SocketAddr),
    /// The network said that there is no way, or nobody there.
    Unreachable {
        /// The address.
        server: SocketAddr,
        /// The system's word for it.
        error: io::Error,
    },
    /// The server gave a challenge, and closed the connection instead of giving a verdict.
    Closed {
        /// The address.
        server: SocketAddr,
        /// The system's word for it.
        error: io::Error,
    },
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved { host, error } => write!(f, "cannot resolve {host:?}: {error}"),
            Self::NoAddress(it) => write!(f, "{it:?} has no address of the family asked for"),
            Self::NoAnswer { server, after } => write!(
                f,
                "no answer from {server} in {after:?}: the server may be down, or {}",
                maybe_blocking()
            ),
            Self::NoVerdict { server, after } => write!(
                f,
                "no verdict from {server} in {after:?}, though it gave a challenge: it may be down by now, or {}",
                maybe_blocking()
            ),
            Self::Conflict(it) => write!(
                f,
                "conflicting answers from {it}: somebody may be forging the server's address; use --tcp or a protected network"
            ),
            Self::Unreachable { server, error } => write!(f, "cannot reach {server}: {error}"),
            Self::Closed { server, error } => write!(f, "cannot reach {server}: {error}"),
        }
    }
}

impl std::error::Error for LoginError {}

/// Why a server that is up may say nothing.
fn maybe_blocking() -> String {
    let (seconds, minutes) = (FIRST_SILENCE.as_secs(), LONGEST_SILENCE.as_secs() / 60);
    format!("may be blocking this address after failed logins ({seconds} s to {minutes} min)")
}

/// A step of a login, for whoever watches it. It reads as a sentence.
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
        Self { server, transport, family, timeout, absence: Absence::Fails }
    }

    /// Over another transport.
    #[must_use]
    pub fn over(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// At addresses of one family only.
    #[must_use]
    pub fn family(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// Within another time.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Waiting until the server is up, and for ever if [`within`](Self::within) does not say otherwise afterwards.
    #[must_use]
    pub fn wait(self) -> Self {
        Self { absence: Absence::IsWaitedOut, timeout: None, ..self }
    }

    /// Makes the login. Blocks until there is a verdict or an error.
    ///
    /// # Errors
    /// [`LoginError`] says why there is no verdict. A refusal is a verdict.
    pub fn run(&self, user: &Username, password: &Password) -> Result<Outcome, LoginError> {
        self.run_watched(user, password, &mut |_| {})
    }

    /// Makes the login, and tells `watch` each step of it.
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
                // The deadline may cut off the last of many rounds; what the others said tells more.
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

/// Why one attempt at one address gave no verdict.
enum Failure {
    Client(client::Failure),
    /// The connection ended after a challenge.
    Closed(io::Error),
    Unreachable(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // Of what this is made from, only connecting over TCP runs into its timeout.
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

/// A login under way.
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
            // Another address is no way around a forger.
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

    /// Tries one address, for its share of what is left of the time.
    fn attempt(&mut self, server: SocketAddr, addresses_left: usize) -> Result<Verdict, Failure> {
        let share = self.left().map_or(TIMEOUT, |left| left / addresses_left as u32);
        let started = Instant::now();
        let mut channel = Channel::open(self.login.transport, server, share)?;
        let seed = SysRng.try_next_u64().map_err(io::Error::from)?;
        let mut client = Client::new(self.user, self.password, channel.resends(), share, seed);
        match self.converse(server, &mut channel, &mut client, started) {
            Err(Failure::Unreachable(error)) if client.has_challenge() && is_end(&error) => {
                Err(Failure::Closed(error))
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
    ) -> Result<Verdict, Failure> {
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
                Step::Done(outcome) => return outcome.map_err(Failure::Client),
            }
        }
    }

    /// What is left of the time; `None` if there is no end to it.
    fn left(&self) -> Option<Duration> {
        self.login.timeout.map(|timeout| timeout.saturating_sub(self.started.elapsed()))
    }

    fn gives_up_after(&mut self, error: &LoginError) -> bool {
        if self.left() == Some(Duration::ZERO) {
            return true;
        }
        match (self.login.absence, error) {
            (_, LoginError::Conflict(_)) => true,
            (Absence::IsWaitedOut, _) => false,
            (Absence::Fails, LoginError::Unreachable { .. } | LoginError::Closed { .. }) => {
                self.unreachable_since.get_or_insert_with(Instant::now).elapsed() >= REFUSED_GRACE
            }
            (Absence::Fails, _) => true,
        }
    }

    fn outcome(&self, server: SocketAddr, verdict: Verdict) -> Outcome {
        let (transport, sends, elapsed) = (self.login.transport, self.sends, self.heard);
        Outcome { verdict, server, transport, sends, elapsed }
    }

    fn error(&self, address: SocketAddr, failure: Failure) -> LoginError {
        let server = self.login.server.clone();
        let after = Duration::from_millis(self.started.elapsed().as_millis() as u64);
        match failure {
            Failure::Client(client::Failure::NoChallenge) => LoginError::NoAnswer { server, after },
            Failure::Client(client::Failure::NoVerdict) => LoginError::NoVerdict { server, after },
            Failure::Client(client::Failure::Conflict) => LoginError::Conflict(address),
            Failure::Closed(error) => LoginError::Closed { server: address, error },
            Failure::Unreachable(error) => LoginError::Unreachable { server: address, error },
        }
    }
}

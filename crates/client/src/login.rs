//! A login over the network, at the first of a server's addresses that gives a verdict.

mod any_client;
mod attempt;
mod begins;
mod error;
mod run;
#[cfg(feature = "opaque")]
mod stretching_limit;
#[cfg(feature = "opaque")]
mod system_random;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::host_port::HostPort;
pub use error::LoginError;
use proto::client::Sending;
use proto::credentials::{Password, Username};
use proto::mechanism::Mechanism;
#[cfg(feature = "opaque")]
use proto::opaque::{Binding, BindingTooLong, session::SessionKey};
use proto::transport::Transport;
use proto::wire::Verdict;
use run::Run;
#[cfg(feature = "opaque")]
pub use stretching_limit::StretchingLimit;

/// The port of a server for logins, unless another was chosen.
pub const DEFAULT_PORT: u16 = 8591;
/// The default timeout of a login.
pub const TIMEOUT: Duration = Duration::from_secs(15);

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
    /// At least one.
    servers: Vec<HostPort>,
    transport: Transport,
    family: Family,
    timeout: Option<Duration>,
    absence: Absence,
    mechanism: Mechanism,
    #[cfg(feature = "opaque")]
    binding: Binding,
    #[cfg(feature = "opaque")]
    stretching_limit: Option<StretchingLimit>,
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
#[derive(Clone, Debug)]
#[non_exhaustive]
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
    /// The key that the server has, too, and nobody else: after a welcome by [`Mechanism::Opaque`], and never else.
    #[cfg(feature = "opaque")]
    pub session: Option<SessionKey>,
}

/// A step of a login. Its text is a sentence for the user.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A message is about to be sent.
    Sending {
        /// The address to which it is sent.
        server: SocketAddr,
        /// The user who logs in.
        user: &'a Username,
        /// The message.
        sending: Sending,
    },
    /// The server was not there, and is tried again.
    Waiting(&'a LoginError),
}

impl fmt::Display for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, user, sending) = match self {
            Self::Waiting(error) => return write!(f, "Waiting for the server: {error}"),
            Self::Sending { server, user, sending } => (server, user, sending),
        };
        match sending {
            Sending::Request => {
                let (address, port) = (server.ip(), server.port());
                write!(f, "Sending authentication request to server {address} {port}")
            }
            Sending::RequestAgain(waited) => write!(f, "Retransmitting request after {waited:?}"),
            Sending::Answer(digest) => write!(f, "Sending username {user} and hash {digest} to server"),
            Sending::AnswerAgain(waited) => write!(f, "Retransmitting username and hash after {waited:?}"),
            Sending::Begin => write!(f, "Sending username {user} and blinded password to server"),
            Sending::BeginAgain(waited) => {
                write!(f, "Retransmitting username and blinded password after {waited:?}")
            }
            Sending::Finish => write!(f, "Sending username {user} and proof to server"),
            Sending::FinishAgain(waited) => write!(f, "Retransmitting username and proof after {waited:?}"),
        }
    }
}

impl Login {
    /// A login over UDP and by MD5, at any address of the server, within [`TIMEOUT`].
    #[must_use]
    pub fn to(server: HostPort) -> Self {
        Self {
            servers: vec![server],
            transport: Transport::Udp,
            family: Family::Any,
            timeout: Some(TIMEOUT),
            absence: Absence::Fail,
            mechanism: Mechanism::Md5,
            #[cfg(feature = "opaque")]
            binding: Binding::none(),
            #[cfg(feature = "opaque")]
            stretching_limit: None,
        }
    }

    /// Proves the password in another way than by MD5. There is no falling back: a login by [`Mechanism::Opaque`] sends
    /// nothing that helps anybody to guess the password, whatever the server answers.
    ///
    /// By OPAQUE the server proves that it has the user's record, and both ends get a key. The password is stretched as
    /// the record says, once in a login: with the default that takes 64 MiB and a fifth of a second.
    #[cfg(feature = "opaque")]
    #[must_use]
    pub fn mechanism(self, mechanism: Mechanism) -> Self {
        Self { mechanism, ..self }
    }

    /// Binds a login by [`Mechanism::Opaque`] to up to 64 bytes that the server's program must know, too, such as an
    /// identifier of the connection that the login is for. If it has others, the login is refused. Programs of letmein
    /// have none. A login by MD5 cannot be bound.
    ///
    /// # Errors
    /// There are more than 64 bytes.
    #[cfg(feature = "opaque")]
    pub fn binding(self, bytes: &[u8]) -> Result<Self, BindingTooLong> {
        Ok(Self { binding: Binding::new(bytes)?, ..self })
    }

    /// Waits with the stretching of a password as long as others are stretched under the same limit. The wait counts as
    /// time of the login.
    #[cfg(feature = "opaque")]
    #[must_use]
    pub fn stretching_limit(self, limit: StretchingLimit) -> Self {
        Self { stretching_limit: Some(limit), ..self }
    }

    /// Asks another server of the same users as well, if those before it fail or are silent for half a second.
    #[must_use]
    pub fn or(mut self, server: HostPort) -> Self {
        self.servers.push(server);
        self
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
        Run::new(self, user, password, watch)?.until_verdict()
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

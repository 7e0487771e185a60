//! Why a login has no verdict.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proto::server::penalty::{FIRST_BLOCK, LONGEST_BLOCK};

use crate::host_port::HostPort;
use proto::transport::Transport;

/// Why a login has no verdict.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoginError {
    /// The server's name could not be resolved.
    Unresolved {
        /// The name.
        host: String,
        /// The resolver's error.
        error: io::Error,
    },
    /// This name has no address of the required family.
    NoAddress(String),
    /// The server has not answered at all.
    NoAnswer {
        /// The server.
        server: HostPort,
        /// The time spent on the login.
        after: Duration,
    },
    /// The server sent a challenge, but no verdict.
    NoVerdict {
        /// The server.
        server: HostPort,
        /// The time spent on the login.
        after: Duration,
    },
    /// The messages from this address cannot all come from one server: two verdicts, or too many challenges.
    Conflict(SocketAddr),
    /// Something answers at this address, but not in this protocol.
    OtherService(SocketAddr),
    /// Nobody listens at the address.
    Refused {
        /// The address.
        server: SocketAddr,
        /// The transport over which nobody listens.
        transport: Transport,
    },
    /// There is no route, or the connection broke.
    Unreachable {
        /// The address.
        server: SocketAddr,
        /// The system's error.
        error: io::Error,
    },
    /// The system gives no random bits.
    NoRandomness(io::Error),
    /// The server sent a challenge, and closed the connection without a verdict.
    Closed {
        /// The address.
        server: SocketAddr,
        /// The system's error.
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
            Self::OtherService(it) => {
                write!(f, "something answers at {it}, but it is another service: check the port")
            }
            Self::Refused { server, transport } => write!(
                f,
                "nobody listens at {server} over {transport}: the server may be down, or serve {} instead",
                match transport {
                    Transport::Udp => "TCP (--tcp)",
                    Transport::Tcp => "UDP (without --tcp)",
                }
            ),
            Self::NoRandomness(error) => write!(f, "the system gives no random bits: {error}"),
            Self::Unreachable { server, error } => write!(f, "cannot reach {server}: {error}"),
            Self::Closed { server, error } => write!(f, "cannot reach {server}: {error}"),
        }
    }
}

impl std::error::Error for LoginError {}

impl LoginError {
    /// One word for programs, which stays the same when the sentence changes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unresolved { .. } => "unresolved",
            Self::NoAddress(_) => "no_address",
            Self::NoAnswer { .. } => "no_answer",
            Self::NoVerdict { .. } => "no_verdict",
            Self::Conflict(_) => "conflict",
            Self::OtherService(_) => "other_service",
            Self::Refused { .. } => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::NoRandomness(_) => "no_randomness",
            Self::Closed { .. } => "closed",
        }
    }
}

/// Why a running server may not answer.
pub(super) fn maybe_blocking() -> String {
    let (seconds, minutes) = (FIRST_BLOCK.as_secs(), LONGEST_BLOCK.as_secs() / 60);
    format!("may be blocking this address after failed logins ({seconds} s to {minutes} min)")
}

//! Why a login has no verdict.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proto::server::penalty::{FIRST_BLOCK, LONGEST_BLOCK};

use crate::host_port::HostPort;

/// Why a login has no verdict.
#[derive(Debug)]
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
    /// The connection or the datagrams were refused, or there is no route.
    Unreachable {
        /// The address.
        server: SocketAddr,
        /// The system's error.
        error: io::Error,
    },
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
            Self::Unreachable { server, error } => write!(f, "cannot reach {server}: {error}"),
            Self::Closed { server, error } => write!(f, "cannot reach {server}: {error}"),
        }
    }
}

impl std::error::Error for LoginError {}

/// Why a running server may not answer.
pub(super) fn maybe_blocking() -> String {
    let (seconds, minutes) = (FIRST_BLOCK.as_secs(), LONGEST_BLOCK.as_secs() / 60);
    format!("may be blocking this address after failed logins ({seconds} s to {minutes} min)")
}

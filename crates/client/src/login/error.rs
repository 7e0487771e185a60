//! Why a login has no verdict.

use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::time::Duration;

use proto::blocks::{FIRST_BLOCK, LONGEST_BLOCK};

use super::Family;
use crate::channel::is_broken;
use crate::host_port::HostPort;
use proto::mechanism::Mechanism;
#[cfg(feature = "opaque")]
use proto::opaque::stretching::StretchingError;
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
    /// These names have no address of the required family.
    NoAddress {
        /// The names, with commas between them.
        hosts: String,
        /// The family.
        family: Family,
    },
    /// The server has not answered at all.
    NoAnswer {
        /// The server.
        server: HostPort,
        /// The time spent on the login.
        after: Duration,
        /// What the server was asked by.
        mechanism: Mechanism,
    },
    /// The server has accepted a connection, and has said nothing.
    Mute {
        /// The server.
        server: HostPort,
        /// The time spent on the login.
        after: Duration,
        /// What the server was asked by.
        mechanism: Mechanism,
    },
    /// The server sent a challenge, but no verdict.
    NoVerdict {
        /// The server.
        server: HostPort,
        /// The time spent on the login.
        after: Duration,
        /// What the server was asked by.
        mechanism: Mechanism,
    },
    /// The messages from this address cannot all come from one server: two verdicts, or too many challenges.
    Conflict(SocketAddr),
    /// Something answers at the address, but not in this protocol.
    OtherService {
        /// The address.
        server: SocketAddr,
        /// What the server was asked by.
        mechanism: Mechanism,
    },
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
        /// What the server was asked by.
        mechanism: Mechanism,
    },
    /// The system gives no random bits.
    NoRandomness(io::Error),
    /// The server sent a challenge, and closed the connection without a verdict.
    Closed {
        /// The address.
        server: SocketAddr,
        /// The system's error.
        error: io::Error,
        /// What the login was by.
        mechanism: Mechanism,
    },
    /// The server asks for a stretching of the password that this client refuses.
    #[cfg(feature = "opaque")]
    Stretching {
        /// The address.
        server: SocketAddr,
        /// Why it is refused.
        error: StretchingError,
    },
    /// This machine has too little memory left to stretch the password.
    #[cfg(feature = "opaque")]
    NoMemory {
        /// The address of the server that says how much it takes.
        server: SocketAddr,
    },
    /// So many passwords of other logins had to be stretched first that there was no time left.
    #[cfg(feature = "opaque")]
    Crowded {
        /// The time spent on the login.
        after: Duration,
    },
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved { host, error } => write!(f, "cannot resolve {host:?}: {error}"),
            Self::NoAddress { hosts, family } => write!(f, "{hosts:?} has no {}", address_of(*family)),
            Self::NoAnswer { server, after, mechanism } => write!(
                f,
                "no answer from {server} in {after:?}: the server may be down, or {}{}",
                maybe_blocking(),
                or_old(*mechanism)
            ),
            Self::Mute { server, after, mechanism } => write!(
                f,
                "{server} accepts connections, but has not answered in {after:?}: check the port{}",
                or_old(*mechanism)
            ),
            Self::NoVerdict { server, after, mechanism } => write!(
                f,
                "no verdict from {server} in {after:?}, though it gave a challenge: it may be down by now, or {}",
                maybe_blocking_logins(*mechanism)
            ),
            Self::Conflict(it) => write!(
                f,
                "conflicting answers from {it}: somebody may be forging the server's address; use --tcp or a protected network"
            ),
            Self::OtherService { server, mechanism } => write!(
                f,
                "something answers at {server}, but it is another service: check the port{}",
                or_old(*mechanism)
            ),
            Self::Refused { server, transport } => write!(
                f,
                "nobody listens at {server} over {transport}: the server may be down, or serve {} instead",
                other(*transport)
            ),
            Self::NoRandomness(error) => write!(f, "the system gives no random bits: {error}"),
            Self::Unreachable { server, error, mechanism } if is_end(error) => write!(
                f,
                "{server} closed the connection without a verdict: it may be another service, or {}{}",
                maybe_blocking(),
                or_old(*mechanism)
            ),
            Self::Unreachable { server: SocketAddr::V6(server), .. } if lacks_interface(server) => write!(
                f,
                "cannot reach {server}: a link-local address needs an interface, as in [{}%eth0]:{}",
                server.ip(),
                server.port()
            ),
            Self::Unreachable { server, error, .. } => write!(f, "cannot reach {server}: {error}"),
            Self::Closed { server, mechanism, .. } => write!(
                f,
                "{server} closed the connection without a verdict: it {}",
                maybe_blocking_logins(*mechanism)
            ),
            #[cfg(feature = "opaque")]
            Self::Crowded { after } => {
                write!(f, "the password was not stretched in {after:?}: those of other logins were")
            }
            #[cfg(feature = "opaque")]
            Self::NoMemory { server } => write!(
                f,
                "cannot log in at {server}: this machine has too little memory left to stretch the password; a record \
                 with less stretching takes less"
            ),
            #[cfg(feature = "opaque")]
            Self::Stretching { server, error } => write!(
                f,
                "cannot log in at {server}: {error}; the user's record there needs another stretching"
            ),
        }
    }
}

impl std::error::Error for LoginError {}

impl LoginError {
    /// A stable code for scripts, which stays the same when the sentence changes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unresolved { .. } => "unresolved",
            Self::NoAddress { .. } => "no_address",
            Self::NoAnswer { .. } | Self::Mute { .. } => "no_answer",
            Self::NoVerdict { .. } => "no_verdict",
            Self::Conflict(_) => "conflict",
            Self::OtherService { .. } => "other_service",
            Self::Refused { .. } => "connection_refused",
            Self::Unreachable { .. } => "unreachable",
            Self::NoRandomness(_) => "no_randomness",
            Self::Closed { .. } => "closed",
            #[cfg(feature = "opaque")]
            Self::Stretching { .. } => "stretching",
            #[cfg(feature = "opaque")]
            Self::NoMemory { .. } => "no_memory",
            #[cfg(feature = "opaque")]
            Self::Crowded { .. } => "crowded",
        }
    }
}

/// Whether the other side has ended the connection.
pub(super) fn is_end(error: &io::Error) -> bool {
    is_broken(error) || error.kind() == io::ErrorKind::UnexpectedEof
}

/// Such an address is in the network of each interface.
fn lacks_interface(server: &SocketAddrV6) -> bool {
    server.ip().is_unicast_link_local() && server.scope_id() == 0
}

/// The address that was asked for, and by which option.
fn address_of(family: Family) -> &'static str {
    match family {
        Family::Any => "address",
        Family::V4 => "IPv4 address, and -4 was given",
        Family::V6 => "IPv6 address, and -6 was given",
    }
}

/// The transport that may be served instead, and how to use it.
fn other(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "TCP (--tcp)",
        Transport::Tcp => "UDP (without --tcp)",
    }
}

/// Why a server that runs may not know what it is asked.
fn or_old(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Md5 => "",
        Mechanism::Opaque => "; servers before 0.2, or without a key of records, do not know this mechanism",
    }
}

/// Why a running server may not go on after its challenge.
fn maybe_blocking_logins(mechanism: Mechanism) -> String {
    match mechanism {
        Mechanism::Md5 => maybe_blocking(),
        Mechanism::Opaque => {
            "may take no more logins of this address or this user for a minute, after failed ones".to_owned()
        }
    }
}

/// Why a running server may not answer.
fn maybe_blocking() -> String {
    let (seconds, minutes) = (FIRST_BLOCK.as_secs(), LONGEST_BLOCK.as_secs() / 60);
    format!("may be blocking this address after failed logins ({seconds} s to {minutes} min)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_without_an_interface_is_told_with_one() {
        let text = |server: &str| {
            let (error, mechanism) = (io::ErrorKind::InvalidInput.into(), Mechanism::Md5);
            LoginError::Unreachable { server: server.parse().unwrap(), error, mechanism }.to_string()
        };
        let remedy = "a link-local address needs an interface, as in [fe80::1%eth0]:18591";
        assert_eq!(text("[fe80::1]:18591"), format!("cannot reach [fe80::1]:18591: {remedy}"));
        for other in ["[fe80::1%1]:18591", "[2001:db8::1]:18591", "192.0.2.7:18591"] {
            assert!(!text(other).contains("interface"), "{other}");
        }
    }
}

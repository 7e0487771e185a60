//! Where a server listens, and who connects there.

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::Socket;

use proto::Peer;
use proto::transport::Transport;

/// An address at which a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(SocketAddr);

impl Address {
    /// The address in a network, if it is in one.
    #[must_use]
    pub fn network(&self) -> Option<SocketAddr> {
        Some(self.0)
    }

    /// Whether this machine alone can reach it.
    pub(crate) fn is_local(&self) -> bool {
        self.0.ip().to_canonical().is_loopback()
    }

    /// The other address to which `localhost` may lead its clients.
    pub(crate) fn other_loopback(&self) -> Option<SocketAddr> {
        other_loopback(self.0)
    }

    /// The kind of the sockets that a transport has here.
    pub(crate) fn kind(&self, transport: Transport) -> SocketKind {
        match transport {
            Transport::Udp => SocketKind::Udp,
            Transport::Tcp => SocketKind::Tcp,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self(address)
    }
}

impl FromStr for Address {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kind of a socket, as logs and numbers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// Datagrams of UDP.
    Udp,
    /// Connections of TCP.
    Tcp,
}

impl SocketKind {
    /// The transport whose messages it carries.
    pub(crate) fn transport(self) -> Transport {
        match self {
            Self::Udp => Transport::Udp,
            Self::Tcp => Transport::Tcp,
        }
    }

    /// `udp` or `tcp`, for machine-readable output.
    pub(crate) fn name(self) -> &'static str {
        self.transport().name()
    }
}

impl fmt::Display for SocketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.transport().fmt(f)
    }
}

/// A socket that listens for connections.
pub(crate) struct Listener {
    pub(crate) socket: Socket,
    pub(crate) kind: SocketKind,
}

impl Listener {
    /// Accepts a connection, whose socket does not block.
    pub(crate) fn accept(&self) -> Result<(OwnedFd, Peer), Errno> {
        let (socket, address) = acceptfrom_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        // A TCP socket has an address.
        let address = SocketAddr::try_from(address.ok_or(Errno::CONNABORTED)?)?;
        Ok((socket, address.into()))
    }
}

/// The other address to which `localhost` may lead clients of a server at this address.
fn other_loopback(address: SocketAddr) -> Option<SocketAddr> {
    let other: IpAddr = match address.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::LOCALHOST | Ipv4Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => return None,
    };
    Some(SocketAddr::new(other, address.port()))
}

//! Where a server listens, and who connects there.

use std::fmt;
use std::io;
use std::net::{AddrParseError, SocketAddr};
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::Socket;

use crate::net::bind::{self, Bound};
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
        bind::other_loopback(self.0)
    }

    /// The kind of the sockets that a transport has here.
    pub(crate) fn kind(&self, transport: Transport) -> SocketKind {
        match transport {
            Transport::Udp => SocketKind::Udp,
            Transport::Tcp => SocketKind::Tcp,
        }
    }

    /// Binds a socket for each worker.
    pub(crate) fn bind(&self, transport: Transport, workers: NonZeroUsize) -> io::Result<Bound> {
        bind::group(self.0, workers, |address, sharing| bind::socket(transport, address, sharing))
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

//! The doors of a server: where it listens, and who can reach it there.

use std::io;
use std::iter;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use tracing::{info, warn};

use crate::net::address::{Address, SocketKind};
use crate::net::bind::{self, Bound};
use proto::transport::Transport;

/// A transport and an address at which a server can be reached.
#[derive(Clone, Debug)]
pub struct Door {
    /// UDP or TCP.
    pub transport: Transport,
    /// The address to bind, or that of passed sockets; port 0 for any that is free.
    pub address: Address,
    /// Whether to bind the other loopback address, too.
    pub loopbacks: Loopbacks,
    /// Threads that serve at the address, each with a socket of its own.
    pub workers: NonZeroUsize,
}

impl Door {
    /// Whether both would listen at one address.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let is_any = |address: &Address| address.network().is_some_and(|address| address.port() == 0);
        let meets = |address: Address| other.addresses().any(|it| it == address && !is_any(&it));
        self.transport == other.transport && self.addresses().any(meets)
    }

    /// The kind of its sockets.
    pub(crate) fn kind(&self) -> SocketKind {
        self.address.kind(self.transport)
    }

    /// Its addresses, the given one first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Address> {
        let other = match self.loopbacks {
            Loopbacks::AsGiven | Loopbacks::One => None,
            Loopbacks::Both => self.address.other_loopback(),
        };
        iter::once(self.address.clone()).chain(other.map(Address::from))
    }

    /// All threads, with that for the other loopback address.
    pub(crate) fn threads(&self) -> usize {
        match self.loopbacks {
            Loopbacks::AsGiven | Loopbacks::One => self.workers.get(),
            Loopbacks::Both => self.workers.get() + 1,
        }
    }
}

/// Whether a server also listens at the other address that `localhost` may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopbacks {
    /// It listens at the given address only.
    AsGiven,
    /// It cannot, because its sockets were passed or it serves one message.
    One,
    /// It listens at 127.0.0.1, which is its address, and with one more worker at `[::1]` and the same port.
    Both,
}

/// What came of the other loopback address of a door.
pub(crate) enum OtherLoopback {
    /// The door has none, or it is not to be served.
    NotAsked,
    Served(SocketAddr),
    /// Another program has it.
    Taken(SocketAddr),
    /// The machine may have no IPv6.
    NotServed(SocketAddr, io::Error),
}

/// Binds a socket for each worker and, if it is asked for, one at the other loopback address. A machine without IPv6 is
/// no error.
pub(crate) fn listen(door: &Door) -> io::Result<(Bound, OtherLoopback)> {
    let mut bound = bind::for_workers(&door.address, door.transport, door.workers)?;
    let other = match (door.loopbacks, bound.address.other_loopback()) {
        (Loopbacks::Both, Some(other)) => {
            match bound.add(other, |address, sharing| bind::socket(door.transport, address, sharing)) {
                Ok(()) => OtherLoopback::Served(other),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => OtherLoopback::Taken(other),
                Err(error) => OtherLoopback::NotServed(other, error),
            }
        }
        (Loopbacks::Both | Loopbacks::AsGiven | Loopbacks::One, _) => OtherLoopback::NotAsked,
    };
    Ok((bound, other))
}

impl OtherLoopback {
    pub(crate) fn log(&self, kind: SocketKind, address: &Address) {
        match self {
            Self::NotAsked => {}
            Self::Served(other) => info!("also listening on {kind} {other}"),
            Self::Taken(other) => warn!(
                "another program listens on {kind} {other}, and clients that connect to localhost may reach it \
                 instead of this server: stop it, or have clients use {address}"
            ),
            Self::NotServed(other, error) => info!("not listening on {kind} {other}: {error}"),
        }
    }
}

/// Logs which clients another program may get instead of a server.
pub(crate) fn advise(door: &Address, loopbacks: Loopbacks) {
    let Some(address) = door.network() else { return };
    let (ip, port) = (address.ip().to_canonical(), address.port());
    if let Some(other) = door.other_loopback() {
        let remedy = match loopbacks {
            Loopbacks::Both => return,
            Loopbacks::One => String::new(),
            Loopbacks::AsGiven if ip.is_loopback() => "give a port alone to serve both, or ".to_owned(),
            Loopbacks::AsGiven => format!("give [::]:{port} to serve both, or "),
        };
        info!(
            "clients that connect to localhost may try {other}, where another program could listen: \
             {remedy}have clients use an IP address"
        );
    }
}

//! The doors of a server: where it listens, and who can reach it there.

use std::io;
use std::iter;
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

/// Binds a socket for each worker and, if it is asked for, one at the other loopback address. A machine without IPv6 is
/// no error.
pub(crate) fn listen(door: &Door) -> io::Result<Bound> {
    let mut bound = bind::for_workers(&door.address, door.transport, door.workers)?;
    if let (Loopbacks::Both, Some(other)) = (door.loopbacks, bound.address.other_loopback()) {
        match bound.add(other, |address, sharing| bind::socket(door.transport, address, sharing)) {
            Ok(()) => info!("serving {other} as well"),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => warn!(
                "another program has {other}: clients that ask localhost may reach it instead of this server: \
                 stop it, or let clients ask {}",
                bound.address
            ),
            Err(error) => info!("not serving {other}: {error}"),
        }
    }
    Ok(bound)
}

/// Logs who can reach a door, and which clients another program may get instead.
pub(crate) fn advise(door: &Address, loopbacks: Loopbacks) {
    let Some(address) = door.network() else { return };
    let (ip, port) = (address.ip().to_canonical(), address.port());
    if ip.is_loopback() {
        info!("serving this machine only; to serve others give an address, such as 0.0.0.0:{port}");
    }
    if let Some(other) = door.other_loopback() {
        let remedy = match loopbacks {
            Loopbacks::Both => return,
            Loopbacks::One => String::new(),
            Loopbacks::AsGiven if ip.is_loopback() => "give a port alone to serve both, or ".to_owned(),
            Loopbacks::AsGiven => format!("give [::]:{port} to serve both, or "),
        };
        info!(
            "clients that ask localhost may be led to {other}, where another program can listen: \
             {remedy}let clients ask for an address"
        );
    }
}

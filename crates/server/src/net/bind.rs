//! Sockets at an address, one for each worker.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use socket2::{Domain, Protocol, Socket, Type};

use crate::net::address::Address;
use proto::transport::Transport;

/// Connections that may wait to be accepted. The kernel caps this at net.core.somaxconn.
pub(crate) const BACKLOG: i32 = 4096;

/// Whether other sockets may be bound to the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// No other socket may, so an address in use is an error.
    Exclusive,
    /// Sockets of the server's other workers may.
    Workers,
}

/// Sockets at one address, one for each worker, and perhaps one at the other loopback address.
#[derive(Debug)]
pub struct Bound {
    /// The address of all but the one at the other loopback address.
    pub address: Address,
    /// At least one.
    pub sockets: Vec<Socket>,
}

/// Binds a socket for each worker; port 0 is any that is free. The kernel spreads the peers over the sockets, and what
/// a peer sends to one of the server's addresses always reaches the same one while their number stays the same.
///
/// The first is bound without sharing, so that a second server at the same address fails instead of getting a part of
/// the peers.
pub(crate) fn group(
    address: SocketAddr,
    count: NonZeroUsize,
    bind: impl Fn(SocketAddr, Sharing) -> io::Result<Socket>,
) -> io::Result<Bound> {
    let first = bind(address, Sharing::Exclusive)?;
    let no_address = || io::Error::other("a socket without an address");
    let address = first.local_addr()?.as_socket().ok_or_else(no_address)?;
    if count > NonZeroUsize::MIN {
        first.set_reuse_port(true)?;
    }
    let mut sockets = vec![first];
    for _ in 1..count.get() {
        sockets.push(bind(address, Sharing::Workers)?);
    }
    Ok(Bound { address: address.into(), sockets })
}

impl Bound {
    /// Binds one more socket, for one more worker, at an address that no other socket has.
    pub(crate) fn add(
        &mut self,
        address: SocketAddr,
        bind: impl Fn(SocketAddr, Sharing) -> io::Result<Socket>,
    ) -> io::Result<()> {
        self.sockets.push(bind(address, Sharing::Exclusive)?);
        Ok(())
    }
}

/// Binds a socket for each worker.
pub(crate) fn for_workers(
    address: &Address,
    transport: Transport,
    workers: NonZeroUsize,
) -> io::Result<Bound> {
    let address = address.network().ok_or(io::ErrorKind::AddrNotAvailable)?;
    group(address, workers, |address, sharing| socket(transport, address, sharing))
}

/// A socket of a transport, bound to an address.
pub(crate) fn socket(transport: Transport, address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    match transport {
        Transport::Udp => udp(address, sharing),
        Transport::Tcp => tcp(address, sharing),
    }
}

/// A UDP socket, bound to an address.
pub fn udp(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = open(address, Type::DGRAM, Protocol::UDP, sharing)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A TCP socket that listens at an address.
pub fn tcp(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = open(address, Type::STREAM, Protocol::TCP, sharing)?;
    // The connections of a server that has just stopped must not keep the next one from its port.
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit this, so no reply waits until the one before is acknowledged.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(sharing == Sharing::Workers)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

    fn any_port() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn workers_share_an_address_which_nobody_else_gets() {
        for bind in [udp, tcp] {
            let Bound { address, sockets } = group(any_port(), TWO, bind).unwrap();
            let address = address.network().unwrap();
            for socket in &sockets {
                assert_eq!(socket.local_addr().unwrap().as_socket(), Some(address));
            }
            assert_eq!(sockets.len(), 2);
            assert_eq!(group(address, TWO, bind).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn the_kernel_spreads_peers_over_workers() {
        let Bound { address, sockets } = group(any_port(), TWO, udp).unwrap();
        let peers: Vec<_> = (0..64).map(|_| udp(any_port(), Sharing::Exclusive).unwrap()).collect();
        for peer in &peers {
            peer.send_to(b"x", &address.network().unwrap().into()).unwrap();
        }
        let received = sockets.iter().map(|socket| {
            socket.set_nonblocking(true).unwrap();
            std::iter::from_fn(|| socket.recv(&mut [std::mem::MaybeUninit::uninit(); 1]).ok()).count()
        });
        let received: Vec<_> = received.collect();
        assert_eq!(received.iter().sum::<usize>(), 64);
        assert!(received.iter().all(|datagrams| *datagrams > 0), "{received:?}");
    }
}

//! Who sent a message: the only address that the protocol knows.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::source::Source;

/// The sender of a message, and the receiver of the reply.
#[derive(Clone, Copy, Debug)]
pub struct Peer(SocketAddr);

impl Peer {
    /// The source with which its failures and connections are counted.
    #[must_use]
    pub fn source(self) -> Source {
        Source::of(self.0.ip())
    }

    /// The bytes that challenges are bound to: the address, then the port. An IPv4 address is mapped to IPv6, as on a
    /// dual-stack socket, so that a peer is the same on any socket.
    #[must_use]
    pub fn mark(self) -> [u8; 18] {
        let address = match self.0.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let mut mark = [0; 18];
        let (front, back) = mark.split_at_mut(address.len());
        front.copy_from_slice(&address);
        back.copy_from_slice(&self.0.port().to_be_bytes());
        mark
    }

    /// The address to compare with networks; a peer without one is in no network.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        Some(self.0.ip().to_canonical())
    }

    /// Who it is, without the port.
    #[must_use]
    pub fn host(self) -> impl fmt::Display {
        self.0.ip().to_canonical()
    }

    /// The port, if its transport has ports.
    #[must_use]
    pub fn port(self) -> Option<u16> {
        Some(self.0.port())
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self(address)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        text.parse::<SocketAddr>().unwrap().into()
    }

    #[test]
    fn a_peer_is_the_same_on_a_socket_of_both_families() {
        let (v4, mapped) = (peer("192.0.2.1:5000"), peer("[::ffff:192.0.2.1]:5000"));
        assert_eq!(v4.mark(), mapped.mark());
        assert_eq!((v4.source(), v4.ip()), (mapped.source(), mapped.ip()));
    }

    #[test]
    fn another_address_or_port_is_another_peer() {
        let mark = peer("192.0.2.1:5000").mark();
        for other in ["192.0.2.2:5000", "192.0.2.1:5001", "192.0.2.1:5256", "[2001:db8::1]:5000"] {
            assert_ne!(peer(other).mark(), mark, "{other}");
        }
    }
}

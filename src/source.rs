//! Whom an address is counted with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 address for itself, also when written as IPv6 or translated to it (RFC 6052, section 2.1); an IPv6 address
/// with its /64, all of which one host may have; but a link's addresses (RFC 4291, section 2.5.6) are of many hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(Ipv6Addr);

/// The first 96 bits of 64:ff9b::/96.
const TRANSLATED: u128 = 0x0064_ff9b << 64;

impl Source {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) if address.is_unicast_link_local() => address,
            IpAddr::V6(address) if address.to_bits() >> 32 == TRANSLATED => {
                Ipv4Addr::from_bits(address.to_bits() as u32).to_ipv6_mapped()
            }
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)),
        })
    }

    pub(crate) fn octets(self) -> [u8; 16] {
        self.0.octets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v4_mapped_addresses_are_sources_of_their_own_and_an_ipv6_network_is_one() {
        let source = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("::ffff:192.0.2.1"), source("::ffff:192.0.2.2"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("64:ff9b::192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("64:ff9b:1::192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("fe80::1"), source("fe80::2"));
    }
}

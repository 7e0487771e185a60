//! The networks with which an address is counted.

use std::fmt;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A network whose addresses are counted together. The wider networks around an address are counted as well, each as a
/// `Source` of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    prefix_len: u8,
    network: Ipv6Addr,
}

/// The length of the prefix of a source that is one address.
const HOST_BITS: u8 = 128;
/// The first 96 bits of 64:ff9b::/96.
const TRANSLATED: u128 = 0x0064_ff9b << 64;

/// A home or a small site is given a /56 (RFC 6177, section 2): a few hosts behind it may each have a share.
pub const HOME_SHARES: u32 = 4;
/// An organization, or a customer who rents one host, is given a /48. One host on a link may take as many of the
/// link-local addresses as it likes, so all of these have as much together.
pub const SITE_SHARES: u32 = 16;

/// The most networks with which an address is counted.
pub const NETWORKS_MAX: usize = 3;

impl Source {
    /// The narrowest network with which an address is counted. For an IPv4 address, also if mapped or translated to
    /// IPv6 (RFC 6052, section 2.1), that is the address itself. For an IPv6 address it is the /64, since one host may
    /// have all of it; but link-local addresses (RFC 4291, section 2.5.6) belong to many hosts, and are sources
    /// themselves.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::new(address.to_ipv6_mapped(), HOST_BITS),
            IpAddr::V6(address) if address.to_bits() >> 32 == TRANSLATED => {
                let address = Ipv4Addr::from_bits(address.to_bits() as u32);
                Self::new(address.to_ipv6_mapped(), HOST_BITS)
            }
            IpAddr::V6(address) if address.is_unicast_link_local() => Self::new(address, HOST_BITS),
            IpAddr::V6(address) => Self::new(address, 64),
        }
    }

    /// The networks with which a peer of this source is counted, the narrowest first, each with its number of shares: 1
    /// for the source itself, and more for the networks around an IPv6 address, since one customer may have all the
    /// sources in them. Call it on what [`of`](Self::of) gives, not on one of these networks.
    pub fn networks(self) -> impl Iterator<Item = (Self, u32)> {
        let wider: &[(u8, u32)] = match self.prefix_len {
            HOST_BITS if self.network.is_unicast_link_local() => &[(10, SITE_SHARES)],
            HOST_BITS => &[],
            _ => &[(56, HOME_SHARES), (48, SITE_SHARES)],
        };
        let wider =
            wider.iter().map(move |&(prefix_len, shares)| (Self::new(self.network, prefix_len), shares));
        iter::once((self, 1)).chain(wider)
    }

    /// The networks with which a guess by OPAQUE is counted: the source, and the /48 around an IPv6 one.
    pub(crate) fn guessing_networks(self) -> impl Iterator<Item = (Self, u32)> {
        self.networks().filter_map(|(network, shares)| match network.prefix_len {
            48 => Some((network, HOME_SHARES)),
            56 => None,
            _ => Some((network, shares)),
        })
    }

    fn new(address: Ipv6Addr, prefix_len: u8) -> Self {
        let mask = u128::MAX << (u128::BITS - u32::from(prefix_len));
        Self { prefix_len, network: Ipv6Addr::from_bits(address.to_bits() & mask) }
    }

    /// The length of the prefix in bits, followed by the address of the network.
    pub fn octets(self) -> [u8; 17] {
        let mut octets = [0; 17];
        let [prefix_len, network @ ..] = &mut octets;
        (*prefix_len, *network) = (self.prefix_len, self.network.octets());
        octets
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (IpAddr::from(self.network).to_canonical(), self.prefix_len) {
            (address, 128) => write!(f, "{address}"),
            (network, prefix_len) => write!(f, "{network}/{prefix_len}"),
        }
    }
}

/// Whether any network of `--trust` or of `from` covers an address, if there is one.
pub(crate) fn any_covers(networks: &[IpNet], address: Option<IpAddr>) -> bool {
    address.is_some_and(|address| networks.iter().any(|network| covers(network, address)))
}

/// Whether a network covers an address. One that covers 127.0.0.1 covers ::1 as well, since a client of localhost may
/// come from either.
fn covers(network: &IpNet, address: IpAddr) -> bool {
    let is_localhost = address == Ipv6Addr::LOCALHOST && network.contains(&IpAddr::from(Ipv4Addr::LOCALHOST));
    network.contains(&address.to_canonical()) || is_localhost
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    fn networks_of(text: &str) -> Vec<(Source, u32)> {
        source(text).networks().collect()
    }

    #[test]
    fn a_network_that_covers_one_localhost_covers_both() {
        let covers =
            |network: &str, address: &str| covers(&network.parse().unwrap(), address.parse().unwrap());
        assert!(["127.0.0.1/32", "127.0.0.0/8", "0.0.0.0/0", "::1/128"].iter().all(|net| covers(net, "::1")));
        assert!(["127.0.0.2/32", "10.0.0.0/8"].iter().all(|network| !covers(network, "::1")));
        assert!(covers("192.0.2.0/24", "::ffff:192.0.2.1") && !covers("::1/128", "127.0.0.1"));
    }

    #[test]
    fn v4_mapped_addresses_are_sources_of_their_own_and_an_ipv6_network_is_one() {
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("::ffff:192.0.2.1"), source("::ffff:192.0.2.2"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("64:ff9b::192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("64:ff9b:1::192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("fe80::1"), source("fe80::2"));
    }

    #[test]
    fn an_ipv4_address_is_counted_alone_however_it_is_written() {
        for text in ["192.0.2.1", "::ffff:192.0.2.1", "64:ff9b::192.0.2.1"] {
            assert_eq!(networks_of(text), [(source("192.0.2.1"), 1)]);
            assert_eq!(source(text).to_string(), "192.0.2.1");
        }
    }

    #[test]
    fn an_ipv6_address_is_counted_with_its_home_and_its_site() {
        let networks = networks_of("2001:db8:1:2345::1");
        let shares: Vec<_> =
            networks.iter().map(|(network, shares)| (network.to_string(), *shares)).collect();
        let expected = [("2001:db8:1:2345::/64", 1), ("2001:db8:1:2300::/56", 4), ("2001:db8:1::/48", 16)];
        assert_eq!(shares, expected.map(|(network, shares)| (network.to_owned(), shares)));
        let shared =
            |other| networks_of(other).into_iter().filter(|network| networks.contains(network)).count();
        for (other, expected) in [
            ("2001:db8:1:2345::2", 3),
            ("2001:db8:1:2300::1", 2),
            ("2001:db8:1::1", 1),
            ("2001:db8:2:2345::1", 0),
        ] {
            assert_eq!(shared(other), expected, "{other}");
        }
    }

    #[test]
    fn the_addresses_of_a_link_are_sources_of_their_own_and_counted_together() {
        let [(first, 1), (link, 16)] = networks_of("fe80::1")[..] else { panic!() };
        for other in ["fe80::2", "fe80:0:0:1::1", "febf::1"] {
            let networks = networks_of(other);
            assert!(networks.contains(&(link, 16)) && !networks.contains(&(first, 1)), "{other}");
        }
    }

    /// The first address of each is the same.
    #[test]
    fn a_network_is_none_of_those_within_it() {
        let networks = networks_of("2001:db8::1");
        let octets: HashSet<_> = networks.iter().map(|(network, _)| network.octets()).collect();
        assert_eq!((networks.len(), octets.len()), (3, 3));
        assert_ne!(networks[0].0, networks[1].0);
    }
}

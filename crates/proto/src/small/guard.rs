//! Decides which datagrams the small services answer: none that may come from a server, and a limited number a second.
//!
//! The source address of a datagram can be forged. Without this guard, one forged datagram could make two servers
//! answer each other for ever, and many could flood a third party with answers.

use std::fmt;
use std::hash::Hasher;
use std::net::SocketAddr;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::Peer;
use crate::small::DatagramService;
use crate::source::{NETWORKS_MAX, Source};

/// Answers to one source in a second. The networks around it get a multiple of it, together.
pub const ANSWERS_PER_SECOND: u32 = 1000;
/// Networks of each size that are counted at a time: 288 KiB in all, at 24 bytes each.
const NETWORKS: usize = 4096;

/// Why a datagram is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It has no bytes.
    Empty,
    /// No datagram can hold the answer, or the receive buffer did not hold all of the datagram, since one over IPv6 can
    /// be a few bytes longer than one over IPv4.
    TooLong {
        /// The longest message that the service answers, in bytes.
        max: usize,
    },
    /// Its source port is 0, where nothing can listen.
    NoPort,
    /// The server would answer itself.
    OwnAddress,
    /// It has the form of a server's answer, and that server might answer again.
    ServersAnswer,
    /// The source, or a network around it, has had all its answers for this second.
    TooMany,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong { max } => write!(f, "it is longer than {max} bytes"),
            Self::NoPort => f.write_str("it comes from port 0"),
            Self::OwnAddress => f.write_str("it comes from this server's own address"),
            Self::ServersAnswer => f.write_str("it has the form of a server's answer"),
            Self::TooMany => {
                f.write_str("its source, or the network around it, had its answers of this second")
            }
        }
    }
}

impl std::error::Error for Ignored {}

/// The rate limits of one worker, and its rules.
pub struct Guard {
    service: DatagramService,
    own: SocketAddr,
    keyed: SipHasher24,
    /// A table for each size of network: a flood of sources cannot evict the networks around others.
    counts: [Box<[Count]>; NETWORKS_MAX],
}

/// The answers to a network in a second.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    network: u64,
    second: u64,
    answers: u32,
}

impl Guard {
    /// Bytes of the tables of one guard.
    pub const BYTES: usize = NETWORKS_MAX * NETWORKS * size_of::<Count>();

    /// A guard for a server that listens at `own`. The key is 128 random bits.
    #[must_use]
    pub fn new(service: DatagramService, own: SocketAddr, key: &[u8; 16]) -> Self {
        let counts = std::array::from_fn(|_| vec![Count::default(); NETWORKS].into());
        Self { service, own, keyed: SipHasher24::new_with_key(key), counts }
    }

    /// Decides whether to answer a datagram, and counts the answer.
    ///
    /// # Errors
    /// [`Ignored`] says why the datagram gets no answer.
    pub fn admit(&mut self, uptime: Duration, peer: Peer, datagram: &[u8]) -> Result<(), Ignored> {
        if peer.port() == Some(0) {
            Err(Ignored::NoPort)
        } else if self.is_own(peer) {
            Err(Ignored::OwnAddress)
        } else {
            check(self.service, datagram)?;
            if self.count(uptime, peer.source()) { Ok(()) } else { Err(Ignored::TooMany) }
        }
    }

    /// A server on a wildcard address does not know its own addresses, so it takes every address with its port for one.
    fn is_own(&self, peer: Peer) -> bool {
        let own = self.own.ip().to_canonical();
        peer.port() == Some(self.own.port()) && (peer.ip() == Some(own) || own.is_unspecified())
    }

    /// Counts an answer, and says whether it is within the limits. A network evicts another one from their common slot,
    /// and starts at 0: so no network uses up the limit of another one, though two in one slot reset each other. A
    /// source beyond its limit takes nothing from the networks around it.
    fn count(&mut self, uptime: Duration, source: Source) -> bool {
        let second = uptime.as_secs();
        source.networks().zip(&mut self.counts).all(|((network, shares), counts)| {
            let mut keyed = self.keyed;
            keyed.write(&network.octets());
            let network = keyed.finish();
            counts.get_mut(network as usize % NETWORKS).is_some_and(|count| {
                if (count.network, count.second) != (network, second) {
                    *count = Count { network, second, answers: 0 };
                }
                count.answers = count.answers.saturating_add(1);
                count.answers <= shares * ANSWERS_PER_SECOND
            })
        })
    }
}

/// Whether a service answers a datagram, as far as that does not depend on who sent it.
///
/// # Errors
/// [`Ignored`] says why no server answers it.
pub fn check(service: DatagramService, datagram: &[u8]) -> Result<(), Ignored> {
    let max = service.message_max();
    if datagram.is_empty() {
        Err(Ignored::Empty)
    } else if datagram.len() > max {
        Err(Ignored::TooLong { max })
    } else if service.takes_for_an_answer(datagram) {
        Err(Ignored::ServersAnswer)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small::DATAGRAM_MAX;

    const START: Duration = Duration::ZERO;

    fn guard(service: DatagramService, own: &str) -> Guard {
        Guard::new(service, address(own), &[1; 16])
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_datagram_that_may_come_from_a_server_is_ignored() {
        use DatagramService::{Hello, Md5};
        let digits = b"0123456789abcdef0123456789abcdef";
        for (service, peer, datagram, expected) in [
            (Md5, "192.0.2.1:5000", &b"Hello Hello x"[..], Ok(())),
            (Md5, "192.0.2.1:5000", b"", Err(Ignored::Empty)),
            (Md5, "192.0.2.1:5000", &[0; DATAGRAM_MAX], Ok(())),
            (Md5, "[2001:db8::1]:5000", &[0; DATAGRAM_MAX + 1], Err(Ignored::TooLong { max: 65_507 })),
            (Hello, "192.0.2.1:5000", &[0; 65_501], Ok(())),
            (Hello, "192.0.2.1:5000", &[0; 65_502], Err(Ignored::TooLong { max: 65_501 })),
            (Md5, "192.0.2.1:0", b"x", Err(Ignored::NoPort)),
            (Md5, "198.51.100.1:12345", b"x", Err(Ignored::OwnAddress)),
            (Md5, "[::ffff:198.51.100.1]:12345", b"x", Err(Ignored::OwnAddress)),
            (Md5, "198.51.100.2:12345", b"x", Ok(())),
            (Md5, "192.0.2.1:5000", digits, Err(Ignored::ServersAnswer)),
            (Hello, "192.0.2.1:5000", digits, Err(Ignored::ServersAnswer)),
            (Hello, "192.0.2.1:5000", b"Hello Hello x", Err(Ignored::ServersAnswer)),
            (Hello, "192.0.2.1:5000", b"Hello x", Ok(())),
        ] {
            let mut guard = guard(service, "198.51.100.1:12345");
            assert_eq!(
                guard.admit(START, address(peer).into(), datagram),
                expected,
                "{service:?} {peer} {datagram:?}"
            );
        }
    }

    #[test]
    fn a_server_on_all_addresses_takes_every_one_with_its_port_for_its_own() {
        for own in ["0.0.0.0:5000", "[::]:5000"] {
            let mut guard = guard(DatagramService::Hello, own);
            assert_eq!(guard.admit(START, address("192.0.2.1:5000").into(), b"x"), Err(Ignored::OwnAddress));
            assert_eq!(guard.admit(START, address("192.0.2.1:5001").into(), b"x"), Ok(()));
        }
    }

    /// Whatever the services say to each other, it comes to an end.
    #[test]
    fn no_two_services_answer_each_other_for_ever() {
        use DatagramService::{Hello, Md5};
        for (first, second) in [(Md5, Md5), (Md5, Hello), (Hello, Md5), (Hello, Hello)] {
            let mut message = b"x".to_vec();
            let turns = [first, second].into_iter().cycle().take_while(|service| {
                let mut reply = Vec::new();
                if !service.takes_for_an_answer(&message) {
                    service.answer(&message, &mut reply);
                }
                message = reply;
                !message.is_empty()
            });
            assert!(turns.take(10).count() <= 3, "{first:?} and {second:?}");
        }
    }

    #[test]
    fn a_source_has_so_many_answers_a_second_and_takes_none_from_another() {
        let mut guard = guard(DatagramService::Md5, "198.51.100.1:12345");
        let mut admitted = |second, peer| {
            let uptime = Duration::from_secs(second);
            (0..3 * ANSWERS_PER_SECOND)
                .filter(|_| guard.admit(uptime, address(peer).into(), b"x").is_ok())
                .count()
        };
        let most = ANSWERS_PER_SECOND as usize;
        assert_eq!(admitted(7, "192.0.2.1:5000"), most);
        assert_eq!(admitted(7, "192.0.2.1:5001"), 0);
        assert_eq!(admitted(7, "192.0.2.2:5000"), most);
        assert_eq!(admitted(8, "192.0.2.1:5000"), most);
    }

    #[test]
    fn the_networks_of_a_home_or_a_site_have_so_many_answers_a_second_together() {
        let mut guard = guard(DatagramService::Md5, "[2001:db8:ffff::1]:12345");
        let mut admitted = |site: u16, networks: std::ops::RangeInclusive<u16>, times: u32| {
            let peers = networks.flat_map(|network| (0..times).map(move |_| (site, network)));
            let peers = peers
                .map(|(site, network)| SocketAddr::from(([0x2001, 0xdb8, site, network, 0, 0, 0, 1], 5000)));
            peers.filter(|peer| guard.admit(START, (*peer).into(), b"x").is_ok()).count()
        };
        // Ignored datagrams of one source do not count against the others.
        assert_eq!(admitted(1, 0..=0, 50_000), 1000);
        assert_eq!(admitted(1, 1..=0xff, 100), 3000);
        assert_eq!(admitted(1, 0x100..=u16::MAX, 2), 12_000);
        assert_eq!(admitted(2, 0..=0, 2000), 1000);
    }
}

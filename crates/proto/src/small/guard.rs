//! Which datagrams the small services answer: none that may come from a server, none too many.
//!
//! Datagrams carry whatever source their sender writes on them. Without care, one of them makes two servers answer
//! each other for ever, or sends a stream of answers to somebody who never asked.

use std::fmt;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::small::DatagramService;
use crate::source::{NETWORKS_MAX, counted_with};

/// Answers that one source gets in a second. The networks around it get a multiple together.
pub const ANSWERS_PER_SECOND: u32 = 1000;
/// Networks of each size that are counted at a time; of 24 bytes each, they make 288 KiB.
const NETWORKS: usize = 4096;

/// Why a datagram gets silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// There is nothing to answer.
    Empty,
    /// No datagram can hold the answer; or it was longer than what is kept of a datagram, since IPv6 has a few
    /// bytes more of room than IPv4.
    TooLong {
        /// The most that the service answers.
        max: usize,
    },
    /// Nobody listens at port 0.
    NoPort,
    /// The server would answer itself.
    OwnAddress,
    /// A server would be answered, and perhaps answer again.
    ServersAnswer,
    /// The source, or a network around it, had its answers of this second.
    TooMany,
}

impl fmt::Display for Silence {
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

impl std::error::Error for Silence {}

/// Decides which datagrams are answered.
pub struct Guard {
    service: DatagramService,
    own: SocketAddr,
    keyed: SipHasher24,
    /// A table for each network that an address is counted with: many sources push no network out of its place.
    counts: [Box<[Count]>; NETWORKS_MAX],
}

/// How many answers a network had in a second.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    network: u64,
    second: u64,
    answers: u32,
}

impl Guard {
    /// Bytes of its tables.
    pub const BYTES: usize = NETWORKS_MAX * NETWORKS * size_of::<Count>();

    /// A guard for a server that listens at `own`, with a key of 128 random bits.
    #[must_use]
    pub fn new(service: DatagramService, own: SocketAddr, key: &[u8; 16]) -> Self {
        let counts = std::array::from_fn(|_| vec![Count::default(); NETWORKS].into());
        Self { service, own, keyed: SipHasher24::new_with_key(key), counts }
    }

    /// Whether a datagram is answered. Counts the answer.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&mut self, uptime: Duration, peer: SocketAddr, datagram: &[u8]) -> Result<(), Silence> {
        if peer.port() == 0 {
            Err(Silence::NoPort)
        } else if self.is_own(peer) {
            Err(Silence::OwnAddress)
        } else if let Some(silence) = silence_to(self.service, datagram) {
            Err(silence)
        } else if !self.count(uptime, peer.ip()) {
            Err(Silence::TooMany)
        } else {
            Ok(())
        }
    }

    /// A server on all addresses does not know which of them are its own: to it, all are that have its port.
    fn is_own(&self, peer: SocketAddr) -> bool {
        let (own, ip) = (self.own.ip().to_canonical(), peer.ip().to_canonical());
        peer.port() == self.own.port() && (own == ip || own.is_unspecified())
    }

    /// A network takes the place of another that falls on the same one, and starts anew: strangers cannot use up
    /// what somebody else is owed, though two networks in one place free each other. A source that gets no more answers
    /// takes none from the networks around it.
    fn count(&mut self, uptime: Duration, address: IpAddr) -> bool {
        let second = uptime.as_secs();
        counted_with(address).zip(&mut self.counts).all(|((network, shares), counts)| {
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

/// Why a datagram gets silence whoever sends it, if it does.
#[must_use]
pub fn silence_to(service: DatagramService, datagram: &[u8]) -> Option<Silence> {
    let max = service.message_max();
    if datagram.is_empty() {
        Some(Silence::Empty)
    } else if datagram.len() > max {
        Some(Silence::TooLong { max })
    } else if service.takes_for_an_answer(datagram) {
        Some(Silence::ServersAnswer)
    } else {
        None
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
    fn what_may_come_from_a_server_gets_silence() {
        use DatagramService::{Hello, Md5};
        let digits = b"0123456789abcdef0123456789abcdef";
        for (service, peer, datagram, expected) in [
            (Md5, "192.0.2.1:5000", &b"Hello Hello x"[..], Ok(())),
            (Md5, "192.0.2.1:5000", b"", Err(Silence::Empty)),
            (Md5, "192.0.2.1:5000", &[0; DATAGRAM_MAX], Ok(())),
            (Md5, "[2001:db8::1]:5000", &[0; DATAGRAM_MAX + 1], Err(Silence::TooLong { max: 65_507 })),
            (Hello, "192.0.2.1:5000", &[0; 65_501], Ok(())),
            (Hello, "192.0.2.1:5000", &[0; 65_502], Err(Silence::TooLong { max: 65_501 })),
            (Md5, "192.0.2.1:0", b"x", Err(Silence::NoPort)),
            (Md5, "198.51.100.1:12345", b"x", Err(Silence::OwnAddress)),
            (Md5, "[::ffff:198.51.100.1]:12345", b"x", Err(Silence::OwnAddress)),
            (Md5, "198.51.100.2:12345", b"x", Ok(())),
            (Md5, "192.0.2.1:5000", digits, Err(Silence::ServersAnswer)),
            (Hello, "192.0.2.1:5000", digits, Err(Silence::ServersAnswer)),
            (Hello, "192.0.2.1:5000", b"Hello Hello x", Err(Silence::ServersAnswer)),
            (Hello, "192.0.2.1:5000", b"Hello x", Ok(())),
        ] {
            let mut guard = guard(service, "198.51.100.1:12345");
            assert_eq!(
                guard.admit(START, address(peer), datagram),
                expected,
                "{service:?} {peer} {datagram:?}"
            );
        }
    }

    #[test]
    fn a_server_on_all_addresses_takes_every_one_with_its_port_for_its_own() {
        for own in ["0.0.0.0:5000", "[::]:5000"] {
            let mut guard = guard(DatagramService::Hello, own);
            assert_eq!(guard.admit(START, address("192.0.2.1:5000"), b"x"), Err(Silence::OwnAddress));
            assert_eq!(guard.admit(START, address("192.0.2.1:5001"), b"x"), Ok(()));
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
            (0..3 * ANSWERS_PER_SECOND).filter(|_| guard.admit(uptime, address(peer), b"x").is_ok()).count()
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
            peers.filter(|peer| guard.admit(START, *peer, b"x").is_ok()).count()
        };
        // What one source gets no answer to is not taken from the others.
        assert_eq!(admitted(1, 0..=0, 50_000), 1000);
        assert_eq!(admitted(1, 1..=0xff, 100), 3000);
        assert_eq!(admitted(1, 0x100..=u16::MAX, 2), 12_000);
        assert_eq!(admitted(2, 0..=0, 2000), 1000);
    }
}

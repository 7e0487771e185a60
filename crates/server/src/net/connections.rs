//! Who is connected: the caps on TCP connections, in all, for each source and for the networks around it, and on the
//! memory that they hold.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::source::{NETWORKS_MAX, Source, counted_with};

/// Connections in all. What each may take beside the kernel's buffers is for its service to bound.
pub(crate) const CONNECTIONS_MAX: usize = 4096;
/// Connections of one source, when there is room for hardly any.
const PER_SOURCE_MIN: usize = 4;
/// A source has this part of all places, at most.
const PARTS: usize = 8;
/// The networks around a source have this part, at most: one site with all its sources leaves most places to others.
const NETWORK_PARTS: usize = 4;
/// Bytes that a connection is counted with, in a table of which a half may be empty.
pub(crate) const COUNTED_LEN: usize = NETWORKS_MAX * 2 * size_of::<(Source, usize)>();
/// Descriptors that connections leave to all else: to files and signals, to those who watch over HTTP, and to each
/// worker's socket and poll.
pub(crate) fn descriptors_kept(workers: usize) -> usize {
    48 + 2 * workers
}

/// How many connections there may be, where a process has so many descriptors.
pub(crate) fn places(descriptors: usize, workers: usize) -> usize {
    CONNECTIONS_MAX.min(descriptors.saturating_sub(descriptors_kept(workers))).max(1)
}

/// How many connections a network with this many shares may have, where `taken` of all places are taken.
///
/// Once half of them are, networks with many get no more: the fuller it is, the fewer a network may have. The last
/// quarter is for those that have hardly any. So those who hold places keep no newcomer out, and it takes hundreds of
/// sources, or a score of sites, to hold them all, in whatever order they come.
pub(crate) fn share(places: usize, taken: usize, shares: u32) -> usize {
    let most = (places / PARTS).max(1);
    let quarter = places / 4;
    let left = (places - quarter).saturating_sub(taken).min(quarter);
    let of_source = (most * left / quarter.max(1)).clamp(PER_SOURCE_MIN.min(most), most);
    (of_source * shares as usize).min((places / NETWORK_PARTS).max(1))
}

/// Bytes that a connection may hold however much the others do: strangers with long messages keep nobody from
/// short ones.
pub(crate) const SHARE: usize = 64 * 1024;

/// The connections of all workers. A network is kept only while it has any. The lock is held for some hundred
/// nanoseconds of the many thousand that a connection takes.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Mutex<Counts>>);

struct Counts {
    places: usize,
    total: usize,
    held: usize,
    memory_max: usize,
    by_network: HashMap<Source, usize>,
}

/// A place among the connections; given back when dropped.
pub(crate) struct Place {
    connections: Connections,
    address: IpAddr,
    held: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("{0} connections are open")]
    InAll(usize),
    #[error("{open} connections of {network} are open, as many as it may have now")]
    OfNetwork { network: Source, open: usize },
    #[error("the messages under way hold all the memory that there is for them")]
    Memory,
}

impl Connections {
    /// `memory_max` bytes are for all connections together, beside the [`SHARE`] of each.
    /// `places` are all that there are.
    pub(crate) fn new(places: usize, memory_max: usize) -> Self {
        let by_network = HashMap::new();
        Self(Arc::new(Mutex::new(Counts { places, total: 0, held: 0, memory_max, by_network })))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Whoever panicked had not begun to change anything, or was done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are, and how many there may be.
    pub(crate) fn used(&self) -> (usize, usize) {
        let counts = self.counts();
        (counts.total, counts.places)
    }

    pub(crate) fn admit(&self, address: IpAddr) -> Result<Place, Full> {
        self.counts().take(address)?;
        Ok(Place { connections: self.clone(), address, held: 0 })
    }
}

impl Counts {
    fn take(&mut self, address: IpAddr) -> Result<(), Full> {
        if self.total >= self.places {
            return Err(Full::InAll(self.places));
        }
        for (network, shares) in counted_with(address) {
            let open = self.by_network.get(&network).copied().unwrap_or_default();
            if open >= share(self.places, self.total, shares) {
                return Err(Full::OfNetwork { network, open });
            }
        }
        for (network, _) in counted_with(address) {
            *self.by_network.entry(network).or_default() += 1;
        }
        self.total += 1;
        Ok(())
    }

    fn give_back(&mut self, address: IpAddr) {
        for (network, _) in counted_with(address) {
            if let Entry::Occupied(mut open) = self.by_network.entry(network) {
                *open.get_mut() -= 1;
                if *open.get() == 0 {
                    open.remove();
                }
            }
        }
        self.total -= 1;
    }
}

impl Place {
    /// Says how many bytes the connection holds now.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Full> {
        let beyond_share = bytes.saturating_sub(SHARE);
        if beyond_share == self.held {
            return Ok(());
        }
        let mut counts = self.connections.counts();
        let held = counts.held - self.held + beyond_share;
        if held > counts.memory_max {
            return Err(Full::Memory);
        }
        counts.held = held;
        self.held = beyond_share;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.connections.counts();
        counts.give_back(self.address);
        counts.held -= self.held;
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    const CONNECTIONS_PER_SOURCE_MAX: usize = CONNECTIONS_MAX / PARTS;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// An address in a network of a site.
    fn in_site(site: u16, network: u16) -> IpAddr {
        IpAddr::from([0x2001, 0xdb8, site, network, 0, 0, 0, 1])
    }

    /// All places that an address gets.
    fn all_of(connections: &Connections, address: IpAddr) -> Vec<Place> {
        iter::from_fn(|| connections.admit(address).ok()).collect()
    }

    #[test]
    fn a_source_that_is_full_keeps_no_other_out() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let places: Vec<_> = (0..CONNECTIONS_PER_SOURCE_MAX)
            .map(|_| connections.admit(address("192.0.2.1")).unwrap())
            .collect();
        let network = Source::of(address("192.0.2.1"));
        let full = Some(Full::OfNetwork { network, open: CONNECTIONS_PER_SOURCE_MAX });
        assert_eq!(connections.admit(address("192.0.2.1")).err(), full);
        assert_eq!(connections.admit(address("::ffff:192.0.2.1")).err(), full);
        assert!(connections.admit(address("192.0.2.2")).is_ok());
        drop(places);
        assert!(connections.admit(address("192.0.2.1")).is_ok());
    }

    #[test]
    fn long_messages_share_a_memory_and_short_ones_need_none_of_it() {
        let connections = Connections::new(CONNECTIONS_MAX, 1000);
        let place = || connections.admit(address("192.0.2.1")).unwrap();
        let (mut first, mut second, mut third) = (place(), place(), place());
        assert_eq!(first.hold(SHARE + 600), Ok(()));
        assert_eq!(second.hold(SHARE + 401), Err(Full::Memory));
        assert_eq!(second.hold(SHARE + 400), Ok(()));
        assert_eq!(third.hold(SHARE), Ok(()));
        assert_eq!(first.hold(0), Ok(()));
        assert_eq!(third.hold(SHARE + 600), Ok(()));
        drop((second, third));
        assert_eq!(first.hold(SHARE + 1000), Ok(()));
    }

    #[test]
    fn whoever_holds_many_places_keeps_no_newcomer_out() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let crowd = (0..200_000_u32)
            .map(|attempt| connections.admit(IpAddr::from((0x0a00_0000 + attempt % 50).to_be_bytes())));
        let places: Vec<_> = crowd.filter_map(Result::ok).collect();
        assert!((2900..CONNECTIONS_MAX).contains(&places.len()), "{}", places.len());
        assert!(connections.admit(address("192.0.2.1")).is_ok());
    }

    /// Each takes all that it may before the next one comes.
    #[test]
    fn two_hundred_sources_that_come_one_after_the_other_keep_no_newcomer_out() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let sources = (0..200_u32).map(|host| IpAddr::from((0x0a00_0000 + host).to_be_bytes()));
        let _places: Vec<_> = sources.flat_map(|source| all_of(&connections, source)).collect();
        assert!(connections.admit(address("192.0.2.1")).is_ok());
    }

    #[test]
    fn a_site_with_all_its_networks_has_a_quarter_of_the_places() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let places: Vec<_> =
            (0..=u16::MAX).flat_map(|network| all_of(&connections, in_site(0, network))).collect();
        assert_eq!(places.len(), CONNECTIONS_MAX / NETWORK_PARTS);
        let of_newcomer = all_of(&connections, in_site(1, 0)).len();
        assert_eq!(of_newcomer, CONNECTIONS_PER_SOURCE_MAX);
    }

    /// Each takes all that it may before the next one comes.
    #[test]
    fn sixteen_sites_that_come_one_after_the_other_keep_no_newcomer_out() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let networks_of = |site| (0..=u16::MAX).step_by(64).map(move |network| in_site(site, network));
        let networks = (0..16).flat_map(networks_of);
        let _places: Vec<_> = networks.flat_map(|source| all_of(&connections, source)).collect();
        for newcomer in ["192.0.2.1", "2001:db8:ffff::1", "fe80::1"] {
            assert!(connections.admit(address(newcomer)).is_ok(), "{newcomer}");
        }
    }

    #[test]
    fn the_addresses_of_a_link_have_a_quarter_of_the_places_together() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let host = |number: u16| IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, number]);
        let places: Vec<_> = (0..5000).filter_map(|number| connections.admit(host(number)).ok()).collect();
        assert_eq!(places.len(), CONNECTIONS_MAX / NETWORK_PARTS);
    }

    #[test]
    fn there_is_an_end_to_connections_in_all_and_none_is_remembered_when_closed() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let places: Vec<_> = (0..CONNECTIONS_MAX as u32)
            .map(|host| connections.admit(IpAddr::from((0x0a00_0000 + host).to_be_bytes())).unwrap())
            .collect();
        assert_eq!(connections.admit(address("192.0.2.1")).err(), Some(Full::InAll(CONNECTIONS_MAX)));
        drop(places);
        assert!(connections.counts().by_network.is_empty());
        assert_eq!(connections.counts().total, 0);
    }

    #[test]
    fn connections_leave_descriptors_to_all_else() {
        for (descriptors, workers, expected) in
            [(1_000_000, 16, CONNECTIONS_MAX), (1024, 16, 944), (1024, 2, 972), (64, 2, 12), (8, 1, 1)]
        {
            assert_eq!(places(descriptors, workers), expected);
        }
    }
}

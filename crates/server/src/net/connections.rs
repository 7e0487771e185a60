//! The caps on TCP connections: in all, for each source and for the networks around it, and on the memory that they
//! hold.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::descriptors;
use proto::source::{NETWORKS_MAX, Source};

/// Connections in all. Each service bounds the memory that one takes beside the kernel's buffers.
pub(crate) const CONNECTIONS_MAX: usize = 4096;
/// A source may have this many connections even when hardly any are left.
const PER_SOURCE_MIN: usize = 4;
/// A source may have this part of the capacity, at most.
const PARTS: usize = 8;
/// The networks around a source may have this part, at most, so that one site leaves most connections to others.
const NETWORK_PARTS: usize = 4;
/// Bytes of the counts of one connection, in a hash table of which a half may be empty.
pub(crate) const COUNTED_LEN: usize = NETWORKS_MAX * 2 * size_of::<(Source, usize)>();
/// Descriptors that connections leave to other uses: files and signals, the status page, and the socket and poll of
/// each worker.
pub(crate) fn descriptors_kept(workers: usize) -> usize {
    48 + 2 * workers
}

/// Connections that a process with this many descriptors may have.
pub(crate) fn capacity(descriptors: usize, workers: usize) -> usize {
    CONNECTIONS_MAX.min(descriptors.saturating_sub(descriptors_kept(workers))).max(1)
}

/// Connections that a network with this many shares may have, while `open` of the `capacity` are open.
///
/// The share shrinks as the server fills up from a half, and the last quarter is for networks that have hardly any
/// connections. So an attacker who holds connections keeps no newcomer out. To hold them all takes hundreds of sources,
/// or a score of sites, in whatever order they come.
pub(crate) fn share(capacity: usize, open: usize, shares: u32) -> usize {
    let most = (capacity / PARTS).max(1);
    let quarter = capacity / 4;
    let left = (capacity - quarter).saturating_sub(open).min(quarter);
    let of_source = (most * left / quarter.max(1)).clamp(PER_SOURCE_MIN.min(most), most);
    (of_source * shares as usize).min((capacity / NETWORK_PARTS).max(1))
}

/// Bytes that a connection may hold however much the others do, so that long messages of strangers keep nobody from
/// sending short ones.
pub(crate) const SHARE: usize = 64 * 1024;

/// The counts of all workers' connections. A network has an entry only while it has a connection. The lock is held for
/// some hundred nanoseconds, and a connection takes many thousand.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Mutex<Counts>>);

struct Counts {
    capacity: usize,
    total: usize,
    held: usize,
    memory_max: usize,
    by_network: HashMap<Source, usize>,
}

/// The right to have one connection, given back when dropped.
pub(crate) struct Permit {
    connections: Connections,
    source: Source,
    held: usize,
}

/// Why a connection, or its message, is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("{0} connections are open")]
    InTotal(usize),
    #[error("{open} connections of {network} are open, the most it may have now")]
    OfNetwork { network: Source, open: usize },
    #[error("messages in progress take all the memory that they may have")]
    Memory,
}

impl Connections {
    /// Allows `capacity` connections, and `memory_max` bytes for all of them together, beside the [`SHARE`] of each.
    pub(crate) fn new(capacity: usize, memory_max: usize) -> Self {
        let by_network = HashMap::new();
        Self(Arc::new(Mutex::new(Counts { capacity, total: 0, held: 0, memory_max, by_network })))
    }

    /// The same, as many as the descriptors of this process allow besides those of its threads.
    pub(crate) fn for_threads(threads: usize, memory_max: usize) -> Self {
        Self::new(capacity(descriptors::limit(), threads), memory_max)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // A thread that panicked had not begun to change anything, or was done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that are open, and how many may be.
    pub(crate) fn used(&self) -> (usize, usize) {
        let counts = self.counts();
        (counts.total, counts.capacity)
    }

    pub(crate) fn admit(&self, source: Source) -> Result<Permit, Full> {
        self.counts().take(source)?;
        Ok(Permit { connections: self.clone(), source, held: 0 })
    }
}

impl Counts {
    fn take(&mut self, source: Source) -> Result<(), Full> {
        if self.total >= self.capacity {
            return Err(Full::InTotal(self.capacity));
        }
        for (counted, (network, shares)) in source.networks().enumerate() {
            let open = self.by_network.entry(network).or_default();
            if *open >= share(self.capacity, self.total, shares) {
                let open = *open;
                source.networks().take(counted).for_each(|(network, _)| self.uncount(network));
                return Err(Full::OfNetwork { network, open });
            }
            *open += 1;
        }
        self.total += 1;
        Ok(())
    }

    fn uncount(&mut self, network: Source) {
        if let Entry::Occupied(mut open) = self.by_network.entry(network) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }

    fn give_back(&mut self, source: Source) {
        source.networks().for_each(|(network, _)| self.uncount(network));
        self.total -= 1;
    }
}

impl Permit {
    /// Notes how many bytes the connection holds now.
    ///
    /// # Errors
    /// [`Full::Memory`], if all connections together would hold too much.
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

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.connections.counts();
        counts.give_back(self.source);
        counts.held -= self.held;
    }
}

#[cfg(test)]
mod tests {
    use std::iter;
    use std::net::IpAddr;

    use super::*;

    const CONNECTIONS_PER_SOURCE_MAX: usize = CONNECTIONS_MAX / PARTS;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    /// The source of this number.
    fn numbered(number: u32) -> Source {
        Source::of(IpAddr::from((0x0a00_0000 + number).to_be_bytes()))
    }

    /// The source of an address in a network of a site.
    fn in_site(site: u16, network: u16) -> Source {
        Source::of(IpAddr::from([0x2001, 0xdb8, site, network, 0, 0, 0, 1]))
    }

    /// The permits of all connections that a source may have.
    fn all_of(connections: &Connections, source: Source) -> Vec<Permit> {
        iter::from_fn(|| connections.admit(source).ok()).collect()
    }

    #[test]
    fn a_source_that_is_full_keeps_no_other_out() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let permits: Vec<_> = (0..CONNECTIONS_PER_SOURCE_MAX)
            .map(|_| connections.admit(source("192.0.2.1")).unwrap())
            .collect();
        let network = source("192.0.2.1");
        let full = Some(Full::OfNetwork { network, open: CONNECTIONS_PER_SOURCE_MAX });
        assert_eq!(connections.admit(source("192.0.2.1")).err(), full);
        assert_eq!(connections.admit(source("::ffff:192.0.2.1")).err(), full);
        assert!(connections.admit(source("192.0.2.2")).is_ok());
        drop(permits);
        assert!(connections.admit(source("192.0.2.1")).is_ok());
    }

    #[test]
    fn long_messages_share_a_memory_and_short_ones_need_none_of_it() {
        let connections = Connections::new(CONNECTIONS_MAX, 1000);
        let permit = || connections.admit(source("192.0.2.1")).unwrap();
        let (mut first, mut second, mut third) = (permit(), permit(), permit());
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
    fn a_source_with_many_connections_keeps_no_newcomer_out() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let crowd = (0..200_000_u32).map(|attempt| connections.admit(numbered(attempt % 50)));
        let permits: Vec<_> = crowd.filter_map(Result::ok).collect();
        assert!((2900..CONNECTIONS_MAX).contains(&permits.len()), "{}", permits.len());
        assert!(connections.admit(source("192.0.2.1")).is_ok());
    }

    /// Each takes all that it may before the next one comes.
    #[test]
    fn two_hundred_sources_that_come_one_after_the_other_keep_no_newcomer_out() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let sources = (0..200).map(numbered);
        let _permits: Vec<_> = sources.flat_map(|source| all_of(&connections, source)).collect();
        assert!(connections.admit(source("192.0.2.1")).is_ok());
    }

    #[test]
    fn a_site_with_all_its_networks_has_a_quarter_of_the_connections() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let permits: Vec<_> =
            (0..=u16::MAX).flat_map(|network| all_of(&connections, in_site(0, network))).collect();
        assert_eq!(permits.len(), CONNECTIONS_MAX / NETWORK_PARTS);
        let of_newcomer = all_of(&connections, in_site(1, 0)).len();
        assert_eq!(of_newcomer, CONNECTIONS_PER_SOURCE_MAX);
    }

    /// Each takes all that it may before the next one comes.
    #[test]
    fn sixteen_sites_that_come_one_after_the_other_keep_no_newcomer_out() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let networks_of = |site| (0..=u16::MAX).step_by(64).map(move |network| in_site(site, network));
        let networks = (0..16).flat_map(networks_of);
        let _permits: Vec<_> = networks.flat_map(|source| all_of(&connections, source)).collect();
        for newcomer in ["192.0.2.1", "2001:db8:ffff::1", "fe80::1"] {
            assert!(connections.admit(source(newcomer)).is_ok(), "{newcomer}");
        }
    }

    #[test]
    fn the_addresses_of_a_link_have_a_quarter_of_the_connections_together() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let host = |number: u16| Source::of(IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, number]));
        let permits: Vec<_> = (0..5000).filter_map(|number| connections.admit(host(number)).ok()).collect();
        assert_eq!(permits.len(), CONNECTIONS_MAX / NETWORK_PARTS);
    }

    #[test]
    fn there_is_an_end_to_connections_in_all_and_none_is_remembered_when_closed() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let permits: Vec<_> =
            (0..CONNECTIONS_MAX as u32).map(|host| connections.admit(numbered(host)).unwrap()).collect();
        assert_eq!(connections.admit(source("192.0.2.1")).err(), Some(Full::InTotal(CONNECTIONS_MAX)));
        drop(permits);
        assert!(connections.counts().by_network.is_empty());
        assert_eq!(connections.counts().total, 0);
    }

    /// The source has room, but the site around it has none.
    #[test]
    fn a_connection_that_is_turned_away_counts_for_no_network() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let permits: Vec<_> =
            (0..=u16::MAX).flat_map(|network| all_of(&connections, in_site(0, network))).collect();
        let networks = connections.counts().by_network.len();
        assert!(connections.admit(in_site(0, u16::MAX)).is_err());
        assert_eq!(connections.counts().by_network.len(), networks);
        drop(permits);
        assert!(connections.counts().by_network.is_empty());
    }

    #[test]
    fn connections_leave_descriptors_to_all_else() {
        for (descriptors, workers, expected) in
            [(1_000_000, 16, CONNECTIONS_MAX), (1024, 16, 944), (1024, 2, 972), (64, 2, 12), (8, 1, 1)]
        {
            assert_eq!(capacity(descriptors, workers), expected);
        }
    }
}

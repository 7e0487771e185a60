//! Who is connected: the caps on TCP connections, in all and for each source, and on the memory that they hold.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::source::Source;

/// Connections in all. What each may take beside the kernel's buffers is for its service to bound.
pub(crate) const CONNECTIONS_MAX: usize = 4096;
/// Connections of one source, when there is room for hardly any.
const PER_SOURCE_MIN: usize = 4;
/// A source has this part of all places, at most.
const PARTS: usize = 8;
/// Descriptors that connections leave to all else: to files and signals, to those who watch over HTTP, and to each
/// worker's socket and poll.
pub(crate) fn descriptors_kept(workers: usize) -> usize {
    48 + 2 * workers
}

/// How many connections there may be, where a process has so many descriptors.
pub(crate) fn places(descriptors: usize, workers: usize) -> usize {
    CONNECTIONS_MAX.min(descriptors.saturating_sub(descriptors_kept(workers))).max(1)
}

/// How many connections a source may have, where so many places of all are taken.
///
/// Once half of them are, sources with many get no more: the fuller it is, the fewer a source may have. So those who hold
/// places keep no newcomer out, and it takes hundreds of sources to hold them all.
pub(crate) fn share(places: usize, taken: usize) -> usize {
    let most = (places / PARTS).max(1);
    let half = places / 2;
    let left = places.saturating_sub(taken.max(half));
    (most * left / (places - half).max(1)).clamp(PER_SOURCE_MIN.min(most), most)
}

/// Bytes that a connection may hold however much the others do: strangers with long messages keep nobody from
/// short ones.
pub(crate) const SHARE: usize = 64 * 1024;

/// The connections of all workers. A source is kept only while it has any. The lock is held for some nanoseconds of the
/// many thousand that a connection takes.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Mutex<Counts>>);

struct Counts {
    places: usize,
    total: usize,
    held: usize,
    memory_max: usize,
    by_source: HashMap<Source, usize>,
}

/// A place among the connections; given back when dropped.
pub(crate) struct Place {
    connections: Connections,
    source: Source,
    held: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("{0} connections are open")]
    InAll(usize),
    #[error("{0} connections of this source are open, as many as it may have now")]
    OfSource(usize),
    #[error("the messages under way hold all the memory that there is for them")]
    Memory,
}

impl Connections {
    /// `memory_max` bytes are for all connections together, beside the [`SHARE`] of each.
    /// `places` are all that there are.
    pub(crate) fn new(places: usize, memory_max: usize) -> Self {
        let by_source = HashMap::new();
        Self(Arc::new(Mutex::new(Counts { places, total: 0, held: 0, memory_max, by_source })))
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
        let source = Source::of(address);
        let mut counts = self.counts();
        if counts.total >= counts.places {
            return Err(Full::InAll(counts.places));
        }
        let share = share(counts.places, counts.total);
        let of_source = counts.by_source.entry(source).or_default();
        if *of_source >= share {
            return Err(Full::OfSource(*of_source));
        }
        *of_source += 1;
        counts.total += 1;
        Ok(Place { connections: self.clone(), source, held: 0 })
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
        counts.total -= 1;
        counts.held -= self.held;
        if let Some(of_source) = counts.by_source.get_mut(&self.source) {
            *of_source -= 1;
            if *of_source == 0 {
                counts.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTIONS_PER_SOURCE_MAX: usize = CONNECTIONS_MAX / PARTS;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_that_is_full_keeps_no_other_out() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let places: Vec<_> = (0..CONNECTIONS_PER_SOURCE_MAX)
            .map(|_| connections.admit(address("192.0.2.1")).unwrap())
            .collect();
        assert_eq!(
            connections.admit(address("192.0.2.1")).err(),
            Some(Full::OfSource(CONNECTIONS_PER_SOURCE_MAX))
        );
        assert_eq!(
            connections.admit(address("::ffff:192.0.2.1")).err(),
            Some(Full::OfSource(CONNECTIONS_PER_SOURCE_MAX))
        );
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
        assert!((3000..CONNECTIONS_MAX).contains(&places.len()), "{}", places.len());
        assert!(connections.admit(address("192.0.2.1")).is_ok());
    }

    #[test]
    fn there_is_an_end_to_connections_in_all_and_none_is_remembered_when_closed() {
        let connections = Connections::new(CONNECTIONS_MAX, 0);
        let places: Vec<_> = (0..CONNECTIONS_MAX as u32)
            .map(|host| connections.admit(IpAddr::from((0x0a00_0000 + host).to_be_bytes())).unwrap())
            .collect();
        assert_eq!(connections.admit(address("192.0.2.1")).err(), Some(Full::InAll(CONNECTIONS_MAX)));
        drop(places);
        assert!(connections.counts().by_source.is_empty());
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

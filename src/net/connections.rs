//! Who is connected: the caps on TCP connections, in all and for each source, and on the memory that they hold.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::source::Source;

/// Connections in all. What each may take beside the kernel's buffers is for its service to bound.
pub(crate) const CONNECTIONS_MAX: usize = 4096;
/// Connections from one source. It takes eight sources to hold every place, and they have to come again for each
/// place when its deadline ends.
pub(crate) const CONNECTIONS_PER_SOURCE_MAX: usize = 512;

/// Bytes that a connection may hold however much the others do: strangers with long messages keep nobody from
/// short ones.
pub(crate) const SHARE: usize = 64 * 1024;

/// The connections of all workers. A source is kept only while it has any. The lock is held for some nanoseconds of the
/// many thousand that a connection takes.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Mutex<Counts>>);

struct Counts {
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
    #[error("{CONNECTIONS_MAX} connections are open")]
    InAll,
    #[error("{CONNECTIONS_PER_SOURCE_MAX} connections of this source are open")]
    OfSource,
    #[error("the messages under way hold all the memory that there is for them")]
    Memory,
}

impl Connections {
    /// `memory_max` bytes are for all connections together, beside the [`SHARE`] of each.
    pub(crate) fn new(memory_max: usize) -> Self {
        let by_source = HashMap::new();
        Self(Arc::new(Mutex::new(Counts { total: 0, held: 0, memory_max, by_source })))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Whoever panicked had not begun to change anything, or was done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn admit(&self, address: IpAddr) -> Result<Place, Full> {
        let source = Source::of(address);
        let mut counts = self.counts();
        if counts.total >= CONNECTIONS_MAX {
            return Err(Full::InAll);
        }
        let of_source = counts.by_source.entry(source).or_default();
        if *of_source >= CONNECTIONS_PER_SOURCE_MAX {
            return Err(Full::OfSource);
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

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_that_is_full_keeps_no_other_out() {
        let connections = Connections::new(0);
        let places: Vec<_> = (0..CONNECTIONS_PER_SOURCE_MAX)
            .map(|_| connections.admit(address("192.0.2.1")).unwrap())
            .collect();
        assert_eq!(connections.admit(address("192.0.2.1")).err(), Some(Full::OfSource));
        assert_eq!(connections.admit(address("::ffff:192.0.2.1")).err(), Some(Full::OfSource));
        assert!(connections.admit(address("192.0.2.2")).is_ok());
        drop(places);
        assert!(connections.admit(address("192.0.2.1")).is_ok());
    }

    #[test]
    fn long_messages_share_a_memory_and_short_ones_need_none_of_it() {
        let connections = Connections::new(1000);
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
    fn there_is_an_end_to_connections_in_all_and_none_is_remembered_when_closed() {
        let connections = Connections::new(0);
        let places: Vec<_> = (0..CONNECTIONS_MAX as u32)
            .map(|host| connections.admit(IpAddr::from((0x0a00_0000 + host / 500).to_be_bytes())).unwrap())
            .collect();
        assert_eq!(connections.admit(address("192.0.2.1")).err(), Some(Full::InAll));
        drop(places);
        assert!(connections.counts().by_source.is_empty());
        assert_eq!(connections.counts().total, 0);
    }
}

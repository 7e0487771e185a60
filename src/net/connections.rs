//! Who is connected: the caps on TCP connections, in all and for each source.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use crate::source::Source;

/// Connections in all. What each may take beside the kernel's buffers is for its service to bound.
pub(crate) const CONNECTIONS_MAX: usize = 4096;
/// Connections from one source. It takes eight sources to hold every place, and they have to come again for each
/// place when its deadline ends.
pub(crate) const CONNECTIONS_PER_SOURCE_MAX: usize = 512;

/// The connections of one worker. A source is kept only while it has any.
#[derive(Clone, Default)]
pub(crate) struct Connections(Rc<RefCell<Counts>>);

#[derive(Default)]
struct Counts {
    total: usize,
    by_source: HashMap<Source, usize>,
}

/// A place among the connections; given back when dropped.
pub(crate) struct Place {
    connections: Connections,
    source: Source,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("{CONNECTIONS_MAX} connections are open")]
    InAll,
    #[error("{CONNECTIONS_PER_SOURCE_MAX} connections of this source are open")]
    OfSource,
}

impl Connections {
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Place, Full> {
        let source = Source::of(address);
        let mut counts = self.0.borrow_mut();
        if counts.total >= CONNECTIONS_MAX {
            return Err(Full::InAll);
        }
        let of_source = counts.by_source.entry(source).or_default();
        if *of_source >= CONNECTIONS_PER_SOURCE_MAX {
            return Err(Full::OfSource);
        }
        *of_source += 1;
        counts.total += 1;
        Ok(Place { connections: self.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.connections.0.borrow_mut();
        counts.total -= 1;
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
        let connections = Connections::default();
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
    fn there_is_an_end_to_connections_in_all_and_none_is_remembered_when_closed() {
        let connections = Connections::default();
        let places: Vec<_> = (0..CONNECTIONS_MAX as u32)
            .map(|host| connections.admit(IpAddr::from((0x0a00_0000 + host / 500).to_be_bytes())).unwrap())
            .collect();
        assert_eq!(connections.admit(address("192.0.2.1")).err(), Some(Full::InAll));
        drop(places);
        assert!(connections.0.borrow().by_source.is_empty());
        assert_eq!(connections.0.borrow().total, 0);
    }
}

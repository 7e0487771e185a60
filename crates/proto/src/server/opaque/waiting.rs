//! Logins that wait for their offer: a few, since an offer takes as long as some fifty logins by MD5.

use std::time::Duration;

use crate::Peer;
use crate::credentials::NAME_MAX;
use crate::opaque::wire::{Begin, KE1_LEN};
use crate::server::penalty::Rank;

/// Logins that may wait for a worker.
pub const PLACES: usize = 64;

/// The places where logins wait. A source has one, so that none can take them all.
pub(crate) struct Waiting {
    places: Box<[Option<Waiter>]>,
    /// Logins that were let in so far.
    arrived: u64,
    count: usize,
}

/// A login that waits for its offer.
#[derive(Clone, Copy)]
pub struct Waiter {
    /// Who waits.
    pub peer: Peer,
    /// Where, below [`PLACES`]; it is free again.
    pub place: usize,
    /// The keyed hash of its BEGIN and sender.
    pub(crate) begin: u64,
    pub(crate) rank: Rank,
    pub(crate) ke1: [u8; KE1_LEN],
    name: [u8; NAME_MAX],
    name_len: usize,
    /// Its number among those that arrived.
    number: u64,
    since: Duration,
}

/// Logins that have waited longer are forgotten: their clients have sent the BEGIN again by then.
const WAIT_MAX: Duration = Duration::from_secs(4);

impl Waiter {
    /// The name of the user to log in as.
    pub(crate) fn name(&self) -> &str {
        self.name.get(..self.name_len).and_then(|name| str::from_utf8(name).ok()).unwrap_or_default()
    }
}

impl Waiting {
    /// The size in bytes.
    pub(crate) const BYTES: usize = PLACES * size_of::<Option<Waiter>>();

    pub(crate) fn new() -> Self {
        Self { places: vec![None; PLACES].into(), arrived: 0, count: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The place for a login of this rank from this peer. There is none if its source has one already, or if all are
    /// taken by logins that come before it.
    pub(crate) fn place_for(&self, peer: Peer, rank: Rank) -> Option<usize> {
        let source = peer.source();
        let taken = || self.places.iter().enumerate().filter_map(|(place, it)| Some((place, it.as_ref()?)));
        if let Some((place, waiter)) = taken().find(|(_, waiter)| waiter.peer.source() == source) {
            return (rank < waiter.rank).then_some(place);
        }
        let free = self.places.iter().position(Option::is_none);
        // The last of the strangers makes room for somebody who is known.
        let last = || taken().max_by_key(|(_, waiter)| (waiter.rank, waiter.number));
        free.or_else(|| last().filter(|(_, waiter)| rank < waiter.rank).map(|(place, _)| place))
    }

    /// Lets a login wait at a place that [`place_for`](Self::place_for) gave.
    pub(crate) fn put(
        &mut self,
        place: usize,
        peer: Peer,
        rank: Rank,
        begin: u64,
        message: &Begin<'_>,
        uptime: Duration,
    ) {
        let Some(slot) = self.places.get_mut(place) else { return };
        let mut name = [0; NAME_MAX];
        // A valid name is not longer.
        if let Some(room) = name.get_mut(..message.name.len()) {
            room.copy_from_slice(message.name.as_bytes());
        }
        self.count += usize::from(slot.is_none());
        self.arrived += 1;
        *slot = Some(Waiter {
            peer,
            place,
            begin,
            rank,
            ke1: *message.ke1,
            name,
            name_len: message.name.len(),
            number: self.arrived,
            since: uptime,
        });
    }

    /// Takes the login that is next: the first of those that are known, else the first.
    pub(crate) fn next(&mut self, uptime: Duration) -> Option<Waiter> {
        loop {
            let taken = self.places.iter().flatten();
            let waiter = *taken.min_by_key(|waiter| (waiter.rank, waiter.number))?;
            if let Some(slot) = self.places.get_mut(waiter.place) {
                *slot = None;
                self.count -= 1;
            }
            if uptime.saturating_sub(waiter.since) <= WAIT_MAX {
                return Some(waiter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::challenge::Challenge;

    fn peer(host: u8) -> Peer {
        SocketAddr::from(([192, 0, 2, host], 5000)).into()
    }

    fn put(waiting: &mut Waiting, host: u8, rank: Rank) -> bool {
        let begin = Begin { challenge: Challenge::from_random(0), name: "alice", ke1: &[host; KE1_LEN] };
        let place = waiting.place_for(peer(host), rank);
        if let Some(place) = place {
            waiting.put(place, peer(host), rank, 1, &begin, Duration::ZERO);
        }
        place.is_some()
    }

    fn order(waiting: &mut Waiting) -> Vec<u8> {
        std::iter::from_fn(|| waiting.next(Duration::ZERO)).map(|waiter| waiter.ke1[0]).collect()
    }

    #[test]
    fn those_who_are_known_come_first_and_each_in_the_order_of_arrival() {
        let mut waiting = Waiting::new();
        for (host, rank) in [(1, Rank::Stranger), (2, Rank::Known), (3, Rank::Stranger), (4, Rank::Known)] {
            assert!(put(&mut waiting, host, rank));
        }
        assert!(!put(&mut waiting, 2, Rank::Known), "a source has one place");
        assert!(put(&mut waiting, 3, Rank::Known), "which somebody who is known takes from a stranger");
        assert_eq!(order(&mut waiting), [2, 4, 3, 1]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn strangers_keep_out_strangers_alone() {
        let mut waiting = Waiting::new();
        assert!((0..PLACES as u8).all(|host| put(&mut waiting, host, Rank::Stranger)));
        assert!(!put(&mut waiting, 100, Rank::Stranger));
        assert!((100..100 + PLACES as u8).all(|host| put(&mut waiting, host, Rank::Known)));
        assert!(!put(&mut waiting, 200, Rank::Known));
        assert_eq!(order(&mut waiting), (100..100 + PLACES as u8).collect::<Vec<_>>());
    }

    #[test]
    fn whoever_has_waited_for_seconds_is_forgotten() {
        let mut waiting = Waiting::new();
        assert!(put(&mut waiting, 1, Rank::Stranger));
        assert!(waiting.next(Duration::from_secs(5)).is_none() && waiting.is_empty());
    }
}

//! Logins that wait for their offer: a few, since an offer takes as long as some fifty logins by MD5.

use std::time::Duration;

use crate::Peer;
use crate::opaque::wire::{Begin, KE1_LEN};
use crate::server::penalty::Rank;
use crate::short_name::ShortName;

/// Logins that may wait for a worker.
pub const PLACES: usize = 64;

/// The places where logins wait. A source has one, so that none can take them all.
pub(crate) struct Waiting {
    places: Box<[Option<Waiter>]>,
    /// Logins that were let in so far.
    arrived: u64,
    /// Those whose offer is not being made yet.
    count: usize,
}

/// Where a login waits, and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Below [`PLACES`].
    pub index: usize,
    /// Its number among those that arrived.
    pub number: u64,
}

/// A login that waits for its offer.
#[derive(Clone, Copy)]
pub struct Waiter {
    /// Who waits.
    pub peer: Peer,
    /// Its place, which it keeps until its offer is made.
    pub place: Place,
    /// The keyed hash of its BEGIN and sender.
    pub(crate) begin: u64,
    pub(crate) rank: Rank,
    pub(crate) ke1: [u8; KE1_LEN],
    name: ShortName,
    since: Duration,
    /// Whether its offer is being made.
    is_served: bool,
}

/// Logins that have waited longer are forgotten: their clients have sent the BEGIN again by then.
const WAIT_MAX: Duration = Duration::from_secs(4);

impl Waiter {
    /// The name of the user to log in as.
    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
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

    /// The index of the place for a login of this rank from this peer. There is none if its source has one already, or
    /// if all are taken by logins that come before it.
    pub(crate) fn place_for(&self, peer: Peer, rank: Rank) -> Option<usize> {
        let source = peer.source();
        let makes_room = |waiter: &&Waiter| !waiter.is_served && rank < waiter.rank;
        if let Some(waiter) = self.places.iter().flatten().find(|waiter| waiter.peer.source() == source) {
            return Some(waiter).filter(makes_room).map(|waiter| waiter.place.index);
        }
        let free = self.places.iter().position(Option::is_none);
        // The last of the strangers makes room for somebody who is known.
        let room = || self.places.iter().flatten().filter(makes_room);
        free.or_else(|| room().max_by_key(|waiter| waiter.place.number).map(|waiter| waiter.place.index))
    }

    /// Lets a login wait at a place that [`place_for`](Self::place_for) gave.
    pub(crate) fn put(
        &mut self,
        index: usize,
        peer: Peer,
        rank: Rank,
        begin: u64,
        message: &Begin<'_>,
        uptime: Duration,
    ) -> Option<Place> {
        let slot = self.places.get_mut(index)?;
        self.count += usize::from(slot.is_none());
        self.arrived += 1;
        let place = Place { index, number: self.arrived };
        *slot = Some(Waiter {
            peer,
            place,
            begin,
            rank,
            ke1: *message.ke1,
            name: ShortName::new(message.name),
            since: uptime,
            is_served: false,
        });
        Some(place)
    }

    /// The login that is next: the first of those that are known, else the first. Its place is free once
    /// [`leave`](Self::leave) says so.
    pub(crate) fn next(&mut self, uptime: Duration) -> Option<Waiter> {
        loop {
            let waiting = self.places.iter_mut().flatten().filter(|waiter| !waiter.is_served);
            let next = waiting.min_by_key(|waiter| (waiter.rank, waiter.place.number))?;
            next.is_served = true;
            let waiter = *next;
            self.count -= 1;
            if uptime.saturating_sub(waiter.since) <= WAIT_MAX {
                return Some(waiter);
            }
            self.leave(waiter.place);
        }
    }

    /// Frees the place of a login that was next.
    pub(crate) fn leave(&mut self, place: Place) {
        if let Some(slot) = self.places.get_mut(place.index) {
            *slot = None;
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
        let served = std::iter::from_fn(|| {
            let waiter = waiting.next(Duration::ZERO)?;
            waiting.leave(waiter.place);
            Some(waiter.ke1[0])
        });
        served.collect()
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
    fn a_login_keeps_its_place_until_its_offer_is_made() {
        let mut waiting = Waiting::new();
        assert!((0..PLACES as u8).all(|host| put(&mut waiting, host, Rank::Stranger)));
        let served: Vec<_> = (0..PLACES).map(|_| waiting.next(Duration::ZERO).unwrap()).collect();
        assert!(waiting.is_empty() && waiting.next(Duration::ZERO).is_none());
        assert!(!put(&mut waiting, 0, Rank::Known) && !put(&mut waiting, 100, Rank::Known));
        waiting.leave(served[0].place);
        assert!(put(&mut waiting, 100, Rank::Stranger) && !put(&mut waiting, 1, Rank::Known));
        assert_eq!(order(&mut waiting), [100]);
    }

    #[test]
    fn whoever_has_waited_for_seconds_is_forgotten() {
        let mut waiting = Waiting::new();
        assert!(put(&mut waiting, 1, Rank::Stranger));
        assert!(waiting.next(Duration::from_secs(5)).is_none() && waiting.is_empty());
    }
}

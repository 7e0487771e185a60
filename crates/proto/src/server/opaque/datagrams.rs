//! OPAQUE over UDP: which logins wait for an offer, and which have had theirs.

use std::hash::Hasher;
use std::hint;
use std::iter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use siphasher::sip::SipHasher24;

use super::OpaqueDesk;
use super::offers::Offers;
use super::waiting::{Waiter, Waiting};
use crate::mechanism::Mechanism;
use crate::opaque::Binding;
use crate::opaque::wire::{Begin, Finish, MESSAGE_MAX};
use crate::server::event::{Event, Reaction};
use crate::server::penalty::Penalties;
use crate::server::recent::Welcomes;
use crate::server::{Case, Seed};
use crate::transport::Transport;
use crate::users::Users;
use crate::{Now, Peer};

/// How often the worker looks whether the queue is free: for some two microseconds, since each BEGIN of a batch may
/// find it taken.
const SPINS: u32 = 64;

/// Bytes of the ring of offers and the places to wait, for each UDP worker.
pub const BYTES: usize = Offers::BYTES + Waiting::BYTES;

/// The logins that wait at a UDP worker, and the offers made lately.
struct Queue {
    waiting: Waiting,
    offers: Offers,
    keyed: SipHasher24,
}

impl Queue {
    /// Identifies a BEGIN among those that are remembered. Never 0, which marks a free slot. The challenge is left out:
    /// a client may begin again with another, and the guess is the same. An offer under other keys than the present
    /// ones could not be finished.
    fn number(&self, peer: Peer, begin: &Begin<'_>, epoch: u64) -> u64 {
        let mut keyed = self.keyed;
        keyed.write_u64(epoch);
        keyed.write(&peer.mark());
        keyed.write(begin.ke1);
        keyed.write(begin.name.as_bytes());
        keyed.finish() | 1
    }
}

/// Makes the offers of a UDP worker, whose logins wait until then. Two of them share the logins, so that one may work
/// in a thread of its own.
pub struct OfferMaker {
    desk: OpaqueDesk,
    queue: Arc<Mutex<Queue>>,
    penalties: Arc<Penalties>,
}

impl OfferMaker {
    /// The login that is next. It keeps its place until it [leaves](Self::leave).
    #[must_use]
    pub fn next(&self, now: Now) -> Option<Waiter> {
        self.queue().waiting.next(now.uptime)
    }

    /// Computes the offer to a login, which takes some 200 µs, and appends it to `reply`, unless there is none to make.
    pub fn offer(
        &mut self,
        users: &Users,
        now: Now,
        waiter: &Waiter,
        reply: &mut Vec<u8>,
    ) -> Reaction<'static> {
        let Waiter { peer, begin: number, rank, ke1, .. } = waiter;
        let before = reply.len();
        let case = Case { users, penalties: &self.penalties, now, peer: *peer };
        let reaction = self.desk.offer(case, waiter.name(), ke1, *rank, reply);
        debug_assert!(reply.len() - before <= MESSAGE_MAX);
        self.queue().offers.note(*number, reply.get(before..).unwrap_or_default(), now.uptime);
        reaction
    }

    pub(crate) fn bind(&mut self, binding: Binding) {
        self.desk.binding = binding;
    }

    /// Gives the place of a login to others, once its offer is made.
    pub fn leave(&self, waiter: &Waiter) {
        self.queue().waiting.leave(waiter.place);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // What a panic has left there is a login that waits, or an offer, in part at worst.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for the worker, which must not wait: another maker that holds it may have a low priority, and no
    /// processor. One that runs gives it back soon.
    fn try_queue(&self) -> Option<MutexGuard<'_, Queue>> {
        for _ in 0..SPINS {
            match self.queue.try_lock() {
                Ok(queue) => return Some(queue),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => hint::spin_loop(),
            }
        }
        None
    }
}

/// OPAQUE over UDP, for one worker.
pub(crate) struct OpaqueDatagrams {
    pub(crate) maker: OfferMaker,
    /// In a table of their own, out of which logins by MD5, which cost less, push none.
    welcomes: Welcomes,
}

impl OpaqueDatagrams {
    /// `key` is for the hashes of messages.
    pub(crate) fn new(desk: OpaqueDesk, key: &[u8; 16], penalties: Arc<Penalties>) -> Self {
        let keyed = SipHasher24::new_with_key(key);
        let queue = Queue { waiting: Waiting::new(), offers: Offers::new(), keyed };
        let maker = OfferMaker { desk, queue: Arc::new(Mutex::new(queue)), penalties };
        Self { maker, welcomes: Welcomes::new(key) }
    }

    /// Another maker for the same logins.
    pub(crate) fn offer_maker(&self, seed: Seed) -> OfferMaker {
        let OfferMaker { desk, queue, penalties } = &self.maker;
        OfferMaker { desk: desk.with_seed(seed), queue: queue.clone(), penalties: penalties.clone() }
    }

    /// Whether a login waits for its offer.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.maker.queue().waiting.is_empty()
    }

    /// Reacts to a BEGIN with a challenge that the peer was given: with the offer that it got before, or with nothing
    /// now, and an offer later.
    pub(crate) fn begin<'a>(
        &self,
        case: Case<'_>,
        epoch: u64,
        begin: &Begin<'a>,
        reply: &mut Vec<u8>,
    ) -> Reaction<'a> {
        let Some(mut queue) = self.maker.try_queue() else {
            return Event::Crowded.by(Mechanism::Opaque);
        };
        let number = queue.number(case.peer, begin, epoch);
        if let Some(offer) = queue.offers.of(number, case.now.uptime) {
            reply.extend_from_slice(offer);
            return Event::Offered.by(Mechanism::Opaque);
        }
        let (found, rank) = case.rank(begin.name);
        // Without a place no guess is spent, and the client sends it again.
        let Some(index) = queue.waiting.place_for(case.peer, rank) else {
            return Event::Crowded.by(Mechanism::Opaque);
        };
        match case.reserve(Transport::Udp, (found, rank), begin) {
            Ok(()) => {
                let place = queue.waiting.put(index, case.peer, rank, number, begin, case.now.uptime);
                Event::Waiting { rank, place }.by(Mechanism::Opaque)
            }
            Err(event) => event.by(Mechanism::Opaque),
        }
    }

    /// Judges a FINISH; `None` if its state cannot be used.
    pub(crate) fn finish<'a>(
        &mut self,
        case: Case<'_>,
        finish: &Finish<'a>,
        reply: &mut Vec<u8>,
    ) -> Option<Reaction<'a>> {
        let sight = |login| self.welcomes.note(login, iter::empty(), finish.name);
        self.maker.desk.finish(case, finish, sight, reply)
    }
}

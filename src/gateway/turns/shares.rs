//! The shares of users and visitors in the logins under way.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{NoTurn, acquire, lock};
use proto::credentials::Username;
use proto::source::Source;
use server::net::clock::Clock;

/// Logins of a user at once: few, so that many users who get no answer leave places to others.
pub(super) const LOGINS_OF_USER: usize = 2;
/// Logins of a visitor at once: people may share an address.
pub(super) const LOGINS_OF_VISITOR: usize = 8;
/// The largest share of a network around a visitor, in shares of a visitor: a quarter of all places.
pub(super) const SHARES_MAX: u32 = 2;
/// Requests of a user or a visitor at once: those of a large page. Eight users have as many as there are connections,
/// though only while the service answers them: see `STALL`.
const REQUESTS_EACH: usize = 64;
/// Requests at once of a user or a visitor all of whose logins have been under way for `STALL`.
const STALLED_REQUESTS: usize = 8;
/// Far longer than a login that the service answers, even one that loses a datagram, and shorter than one without an
/// answer.
pub(super) const STALL: Duration = Duration::from_millis(500);

/// A user or a network that has a share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Party {
    /// A user, as one visitor where these are known.
    User(Username, Option<Source>),
    /// A visitor, or a network around one, and its share in shares of a visitor.
    Visitor(Source, u32),
}

impl Party {
    fn logins(&self) -> usize {
        match self {
            Self::User(..) => LOGINS_OF_USER,
            Self::Visitor(..) => LOGINS_OF_VISITOR * self.times(),
        }
    }

    fn requests(&self) -> usize {
        REQUESTS_EACH * self.times()
    }

    fn stalled_requests(&self) -> usize {
        STALLED_REQUESTS * self.times()
    }

    fn times(&self) -> usize {
        match self {
            Self::User(..) => 1,
            Self::Visitor(_, times) => *times as usize,
        }
    }
}

/// A share for each party that has a request under way, so for no more than there are connections and logins.
pub(super) struct Shares {
    clock: Clock,
    parties: Mutex<HashMap<Party, Share>>,
}

struct Share {
    requests: usize,
    logins: Arc<Semaphore>,
    /// When the last login began or ended, or else the first request came.
    moved: Duration,
}

impl Share {
    /// Whether all its logins are under way, and have been for long.
    fn is_stalled(&self, now: Duration) -> bool {
        self.logins.available_permits() == 0 && now.saturating_sub(self.moved) >= STALL
    }
}

impl Shares {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, parties: Mutex::default() }
    }

    /// Waits until the party may have one login more.
    pub(super) async fn take(self: &Arc<Self>, party: Party) -> Result<SharePermit, NoTurn> {
        let (request, logins) = self.enter(party, self.clock.now().uptime)?;
        let mut login = pin!(acquire(logins));
        loop {
            match timeout(STALL, &mut login).await {
                Ok(login) => return Ok(SharePermit { _login: login?, request }),
                Err(_) if request.is_too_much(self.clock.now().uptime) => return Err(NoTurn::Stalled),
                Err(_) => {}
            }
        }
    }

    fn enter(
        self: &Arc<Self>,
        party: Party,
        now: Duration,
    ) -> Result<(ShareRequest, Arc<Semaphore>), NoTurn> {
        let mut shares = lock(&self.parties);
        let logins = || Arc::new(Semaphore::new(party.logins()));
        let new = || Share { requests: 0, logins: logins(), moved: now };
        let share = shares.entry(party.clone()).or_insert_with(new);
        if share.requests >= party.requests() {
            return Err(NoTurn::Share);
        }
        if share.requests >= party.stalled_requests() && share.is_stalled(now) {
            return Err(NoTurn::Stalled);
        }
        share.requests += 1;
        Ok((ShareRequest { shares: self.clone(), party }, share.logins.clone()))
    }
}

/// A login of a party.
pub(super) struct SharePermit {
    _login: OwnedSemaphorePermit,
    request: ShareRequest,
}

impl SharePermit {
    pub(super) fn note_progress(&self) {
        if let Some(share) = lock(&self.request.shares.parties).get_mut(&self.request.party) {
            share.moved = self.request.shares.clock.now().uptime;
        }
    }
}

/// A request of a party, which counts until it is dropped.
struct ShareRequest {
    shares: Arc<Shares>,
    party: Party,
}

impl ShareRequest {
    /// Whether it waits for logins that take long, beside enough others.
    fn is_too_much(&self, now: Duration) -> bool {
        let shares = lock(&self.shares.parties);
        let share = shares.get(&self.party);
        let enough = self.party.stalled_requests();
        share.is_some_and(|share| share.requests > enough && share.is_stalled(now))
    }
}

impl Drop for ShareRequest {
    fn drop(&mut self) {
        let mut shares = lock(&self.shares.parties);
        if let Some(share) = shares.get_mut(&self.party) {
            share.requests -= 1;
            if share.requests == 0 {
                shares.remove(&self.party);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    fn name(number: usize) -> Username {
        format!("name{number}").parse().unwrap()
    }

    #[test]
    fn few_requests_wait_for_logins_that_take_long_and_many_for_those_that_do_not() {
        let shares = Arc::new(Shares::new(Clock::start()));
        let (user, begun) = (Party::User(name(0), None), Duration::from_secs(7));
        let enter = |after| shares.enter(user.clone(), begun + after).map(|(request, _)| request);
        let almost = STALL - Duration::from_millis(1);
        let (first, logins) = shares.enter(user.clone(), begun).unwrap();
        let mut requests = vec![first];
        requests.extend((0..2 * STALLED_REQUESTS).map(|_| enter(almost).unwrap()));
        // There is a login left, so nobody is kept waiting by others.
        requests.push(enter(STALL).unwrap());
        let _under_way: Vec<_> = iter::from_fn(|| logins.clone().try_acquire_owned().ok()).collect();
        assert_eq!(enter(STALL).err(), Some(NoTurn::Stalled));
        requests.retain(|request| !request.is_too_much(begun + STALL));
        assert_eq!(requests.len(), STALLED_REQUESTS);
    }

    #[test]
    fn a_party_without_requests_is_forgotten() {
        let shares = Arc::new(Shares::new(Clock::start()));
        let (visitor, now) = (Party::Visitor(Source::of([192, 0, 2, 1].into()), 1), Duration::from_secs(7));
        let requests: Vec<_> =
            (0..REQUESTS_EACH).map(|_| shares.enter(visitor.clone(), now).unwrap()).collect();
        assert_eq!(shares.enter(visitor, now).err(), Some(NoTurn::Share));
        assert!(shares.enter(Party::User(name(0), None), now).is_ok());
        assert_eq!(lock(&shares.parties).len(), 1);
        drop(requests);
        assert!(lock(&shares.parties).is_empty());
    }
}

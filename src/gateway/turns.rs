//! Which login is next. Users and visitors have shares of the places, so that nobody waits long for the logins of
//! others; and a user that the service does not answer gets no place for some seconds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use proto::credentials::Username;
use proto::source::{Source, counted_with};
use server::net::clock::Clock;

/// Logins at once, a thread each.
pub(super) const LOGINS: usize = 64;
/// Logins of a user at once: few, so that many users who get no answer leave places to others.
const LOGINS_OF_USER: usize = 2;
/// Logins of a visitor at once: people may share an address.
const LOGINS_OF_VISITOR: usize = 8;
/// The largest share of a network around a visitor, in shares of a visitor: a quarter of all places.
const SHARES_MAX: u32 = 2;
/// Requests of a user or a visitor at once: those of a large page. Eight users have as many as there are connections,
/// though only while the service answers them: see `STALL`.
const REQUESTS_EACH: usize = 64;
/// Requests at once of a user or a visitor all of whose logins have been under way for `STALL`.
const STALLED_REQUESTS: usize = 8;
/// Far longer than a login that the service answers, even one that loses a datagram, and shorter than one without an
/// answer.
const STALL: Duration = Duration::from_millis(500);
/// How long a user gets no place after a login without a verdict.
pub(super) const PAUSE: Duration = Duration::from_secs(5);
/// Users remembered for that. The 64 logins at once leave 320 in a pause if each takes a second, and as many as this if
/// `--timeout` is 0.16 s. Users beyond are not remembered: each of their logins has its place for its time.
const UNANSWERED: usize = 2048;

/// Why there is no turn for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoTurn {
    #[error("too many requests of the same user or visitor are under way")]
    Share,
    /// The logins under way take long, and enough requests wait for them.
    #[error("no login of the same user or visitor has ended for {STALL:?}")]
    Stalled,
    /// The service has not answered the user lately.
    #[error("the service gave no verdict on the same user less than {PAUSE:?} ago")]
    Unanswered,
}

/// What a login tells about the next one of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The service answers the user.
    Answered,
    /// The service may withhold its verdict from the user.
    Unanswered,
    /// Nothing: there was no challenge, which no service withholds from a user.
    NoChallenge,
}

/// All logins under way, and those that wait for their turn.
pub(super) struct Turns {
    clock: Clock,
    places: Arc<Semaphore>,
    shares: Arc<Shares>,
    unanswered: Mutex<Unanswered>,
}

impl Turns {
    pub(super) fn new() -> Self {
        let (clock, places) = (Clock::start(), Arc::new(Semaphore::new(LOGINS)));
        Self { clock, places, shares: Arc::new(Shares::new(clock)), unanswered: Mutex::default() }
    }

    /// Waits for the turn of a login. Where visitors are known, a user has a share for each of them, which no other
    /// visitor can use up.
    pub(super) async fn take(
        self: &Arc<Self>,
        user: &Username,
        visitor: Option<IpAddr>,
    ) -> Result<Turn, NoTurn> {
        if lock(&self.unanswered).pauses(user, self.clock.now().uptime) {
            return Err(NoTurn::Unanswered);
        }
        let mut shares = vec![self.shares.take(Party::User(user.clone(), visitor.map(Source::of))).await?];
        for (network, times) in visitor.into_iter().flat_map(counted_with) {
            shares.push(self.shares.take(Party::Visitor(network, times.min(SHARES_MAX))).await?);
        }
        let place = acquire(self.places.clone()).await?;
        // Once more: the service may have fallen silent about the user while others waited.
        if !lock(&self.unanswered).admits(user, self.clock.now().uptime) {
            return Err(NoTurn::Unanswered);
        }
        let turn = Turn { turns: self.clone(), shares, _place: place };
        turn.note_progress();
        Ok(turn)
    }
}

/// The turn of a login, until it is dropped. The thread that logs in has it, since it goes on when the visitor leaves.
pub(super) struct Turn {
    turns: Arc<Turns>,
    shares: Vec<Shared>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.note_progress();
    }
}

impl Turn {
    /// A login begins or ends, so none of its parties is stalled.
    fn note_progress(&self) {
        self.shares.iter().for_each(Shared::note_progress);
    }

    /// Ends the login of this user.
    pub(super) fn end(self, user: &Username, ending: Ending) {
        let now = self.turns.clock.now().uptime;
        let mut unanswered = lock(&self.turns.unanswered);
        match ending {
            Ending::Answered => unanswered.forget(user),
            Ending::Unanswered => unanswered.note(user, now),
            Ending::NoChallenge => {}
        }
    }
}

/// A user or a network that has a share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Party {
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
struct Shares {
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
    fn new(clock: Clock) -> Self {
        Self { clock, parties: Mutex::default() }
    }

    /// Waits until the party may have one login more.
    async fn take(self: &Arc<Self>, party: Party) -> Result<Shared, NoTurn> {
        let (request, logins) = self.enter(party, self.clock.now().uptime)?;
        let mut login = pin!(acquire(logins));
        loop {
            match timeout(STALL, &mut login).await {
                Ok(login) => return Ok(Shared { _login: login?, request }),
                Err(_) if request.is_too_much(self.clock.now().uptime) => return Err(NoTurn::Stalled),
                Err(_) => {}
            }
        }
    }

    fn enter(self: &Arc<Self>, party: Party, now: Duration) -> Result<(Request, Arc<Semaphore>), NoTurn> {
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
        Ok((Request { shares: self.clone(), party }, share.logins.clone()))
    }
}

/// A login of a party.
struct Shared {
    _login: OwnedSemaphorePermit,
    request: Request,
}

impl Shared {
    fn note_progress(&self) {
        if let Some(share) = lock(&self.request.shares.parties).get_mut(&self.request.party) {
            share.moved = self.request.shares.clock.now().uptime;
        }
    }
}

/// A request of a party, which counts until it is dropped.
struct Request {
    shares: Arc<Shares>,
    party: Party,
}

impl Request {
    /// Whether it waits for logins that take long, beside enough others.
    fn is_too_much(&self, now: Duration) -> bool {
        let shares = lock(&self.shares.parties);
        let share = shares.get(&self.party);
        let enough = self.party.stalled_requests();
        share.is_some_and(|share| share.requests > enough && share.is_stalled(now))
    }
}

impl Drop for Request {
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

/// The users that the service has not answered, and the end of each one's pause.
#[derive(Default)]
struct Unanswered(HashMap<Username, Duration>);

impl Unanswered {
    /// Whether a user certainly gets no place now.
    fn pauses(&self, user: &Username, now: Duration) -> bool {
        self.0.get(user).is_some_and(|until| now < *until)
    }

    /// Whether a user may log in. After each pause one login finds out whether the service answers again.
    fn admits(&mut self, user: &Username, now: Duration) -> bool {
        let Some(until) = self.0.get_mut(user) else { return true };
        let is_over = now >= *until;
        if is_over {
            *until = now + PAUSE;
        }
        is_over
    }

    fn note(&mut self, user: &Username, now: Duration) {
        if self.0.len() >= UNANSWERED {
            self.0.retain(|_, until| now < *until);
        }
        if self.0.len() < UNANSWERED {
            self.0.insert(user.clone(), now + PAUSE);
        }
    }

    fn forget(&mut self, user: &Username) {
        self.0.remove(user);
    }
}

async fn acquire(semaphore: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, NoTurn> {
    // No semaphore is ever closed.
    semaphore.acquire_owned().await.map_err(|_| NoTurn::Share)
}

/// A panic leaves the map consistent.
fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::iter;
    use std::task::{Context, Poll, Waker};

    use tokio::runtime::Builder;

    use super::*;

    /// What a login gets without waiting. `None` if it has to wait.
    fn at_once(turns: &Arc<Turns>, user: &Username, visitor: Option<u8>) -> Option<Result<Turn, NoTurn>> {
        at_once_from(turns, user, visitor.map(|host| [192, 0, 2, host].into()))
    }

    fn at_once_from(
        turns: &Arc<Turns>,
        user: &Username,
        visitor: Option<IpAddr>,
    ) -> Option<Result<Turn, NoTurn>> {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        match pin!(turns.take(user, visitor)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    /// Takes turns until one has to wait.
    fn take_all(turns: &Arc<Turns>, users: impl Iterator<Item = usize>, visitor: Option<u8>) -> Vec<Turn> {
        users
            .map_while(|number| at_once(turns, &name(number), visitor))
            .map(|turn| turn.ok().unwrap())
            .collect()
    }

    fn name(number: usize) -> Username {
        format!("name{number}").parse().unwrap()
    }

    #[test]
    fn a_user_without_an_answer_is_tried_once_after_each_pause_until_there_is_one() {
        let (user, mut unanswered) = (name(0), Unanswered::default());
        let mut now = Duration::from_secs(7);
        assert!(unanswered.admits(&user, now));
        unanswered.note(&user, now);
        for _ in 0..3 {
            assert!(!unanswered.admits(&user, now + PAUSE - Duration::from_millis(1)));
            now += PAUSE;
            assert!(unanswered.admits(&user, now));
            assert!(!unanswered.admits(&user, now));
            assert!(unanswered.admits(&name(1), now));
        }
        unanswered.forget(&user);
        assert!(unanswered.admits(&user, now) && unanswered.admits(&user, now));
    }

    #[test]
    fn no_more_than_a_fixed_number_of_users_is_remembered() {
        let mut unanswered = Unanswered::default();
        for number in 0..3 * UNANSWERED {
            let now = PAUSE * (number / UNANSWERED) as u32;
            unanswered.note(&name(number), now);
            assert!(unanswered.0.len() <= UNANSWERED);
            assert!(!unanswered.admits(&name(number), now));
        }
    }

    #[test]
    fn a_user_and_a_visitor_have_no_more_than_their_shares_of_the_logins() {
        let turns = Arc::new(Turns::new());
        let of_user = take_all(&turns, iter::repeat(0), None);
        let of_visitor = take_all(&turns, 0.., Some(1));
        assert_eq!((of_user.len(), of_visitor.len()), (LOGINS_OF_USER, LOGINS_OF_VISITOR));
        let all = take_all(&turns, 1.., None);
        assert_eq!(of_user.len() + of_visitor.len() + all.len(), LOGINS);
        drop(of_visitor);
        assert!(at_once(&turns, &name(0), Some(1)).is_some_and(|turn| turn.is_ok()));
    }

    #[test]
    fn a_visitor_cannot_use_up_what_another_has_of_the_same_user() {
        let turns = Arc::new(Turns::new());
        let _held = take_all(&turns, iter::repeat(0), Some(1));
        assert!(at_once(&turns, &name(0), Some(1)).is_none());
        assert!(at_once(&turns, &name(0), Some(2)).is_some_and(|turn| turn.is_ok()));
    }

    #[test]
    fn a_login_without_a_verdict_costs_its_user_a_pause_and_one_without_a_challenge_does_not() {
        let turns = Arc::new(Turns::new());
        let end = |ending| at_once(&turns, &name(0), None).unwrap().ok().unwrap().end(&name(0), ending);
        end(Ending::Answered);
        end(Ending::NoChallenge);
        end(Ending::Unanswered);
        assert_eq!(at_once(&turns, &name(0), None).unwrap().err(), Some(NoTurn::Unanswered));
        assert!(at_once(&turns, &name(1), None).unwrap().is_ok());
    }

    #[test]
    fn a_paused_user_is_told_at_once_though_the_share_is_used_up() {
        let turns = Arc::new(Turns::new());
        let mut held = take_all(&turns, iter::repeat(0), None);
        held.pop().unwrap().end(&name(0), Ending::Unanswered);
        held.extend(take_all(&turns, 1..LOGINS, None));
        assert_eq!(at_once(&turns, &name(0), None).unwrap().err(), Some(NoTurn::Unanswered));
    }

    #[test]
    fn the_networks_of_a_home_have_no_more_than_a_quarter_of_the_logins() {
        let turns = Arc::new(Turns::new());
        let hosts =
            (0..u16::try_from(LOGINS).unwrap()).map(|host| [0x2001, 0xdb8, 0, host, 0, 0, 0, 1].into());
        let of_home: Vec<_> =
            hosts.zip(0..).map_while(|(host, user)| at_once_from(&turns, &name(user), Some(host))).collect();
        assert_eq!(of_home.len(), LOGINS / 4);
        assert!(at_once(&turns, &name(0), Some(1)).is_some_and(|turn| turn.is_ok()));
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

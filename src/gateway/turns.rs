//! Which login is next. Users and visitors have shares of the places, so that nobody waits long for the logins of
//! others; and a user that the service does not answer gets no place for some seconds.

mod shares;
mod unanswered;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::shares::{Party, SHARES_MAX, STALL, SharePermit, Shares};
use self::unanswered::Unanswered;
use proto::credentials::Username;
use proto::source::Source;
use server::net::clock::Clock;

/// Logins at once, a thread each.
pub(super) const LOGINS: usize = 64;
/// How long a user gets no place after a login without a verdict.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// Why there is no turn for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoTurn {
    #[error("too many requests of the same user or visitor are in progress")]
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
        let source = visitor.map(Source::of);
        let mut shares = vec![self.shares.take(Party::User(user.clone(), source)).await?];
        for (network, times) in source.into_iter().flat_map(Source::networks) {
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
    shares: Vec<SharePermit>,
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
        self.shares.iter().for_each(SharePermit::note_progress);
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
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use tokio::runtime::Builder;

    use super::shares::{LOGINS_OF_USER, LOGINS_OF_VISITOR};
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
}

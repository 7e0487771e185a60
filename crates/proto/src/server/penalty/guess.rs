//! Guesses by OPAQUE, which are debited before they are made.
//!
//! An offer tells its receiver whether a password is right, and need never be answered. So each offer counts, and only
//! a login that succeeds gets its guess back.
//!
//! | a guess counts against | beyond that budget |
//! |---|---|
//! | the source, and the /48 around an IPv6 one | what begins a login is ignored |
//! | the name, known or not | the same |
//! | the user in a day, in a place of their own | the offer is that for an unknown name |
//!
//! A source that has logged in as a user lately has a budget for that user of its own, and none of these. So no
//! stranger can keep such a source out.

use std::time::Duration;

use super::tables::{DebtTable, Reserved, Trace};
use super::{Budget, Kind, Part, Penalties, Penalty};
use crate::Peer;
use crate::challenge::Challenge;
use crate::opaque::wire::KE1_LEN;
use crate::source::NETWORKS_MAX;
use crate::users::{Found, PasswordAge, Price};

/// The budgets of guesses by OPAQUE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessBudgets {
    /// The budget of each source: an IPv4 address, or the /64 of an IPv6 address. Its /48 has 4 times as much. If
    /// absent, sources are not counted.
    pub of_source: Option<Budget>,
    /// The budget at each name, from all sources together, beside which a user has [`GUESSES_A_DAY`]. If absent,
    /// neither is counted.
    pub of_user: Option<Budget>,
}

/// Guesses by OPAQUE at a user in a day, from all sources together.
pub const GUESSES_A_DAY: u32 = 1000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for GuessBudgets {
    /// 20 a minute for a source, 60 at a user: 200 people behind one address get in within seconds, since each gives a
    /// guess back.
    fn default() -> Self {
        let budget = |count| Some(Budget { count, window: Duration::from_secs(60) });
        Self { of_source: budget(20), of_user: budget(60) }
    }
}

impl GuessBudgets {
    /// No guesses are counted.
    #[must_use]
    pub fn none() -> Self {
        Self { of_source: None, of_user: None }
    }

    /// The budget that a source has for a user as whom it has logged in lately: that of the source, or else the user's.
    fn of_login(self) -> Option<Budget> {
        self.of_source.or(self.of_user)
    }
}

/// In which order logins are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Of a source that has logged in as that user lately, or is trusted.
    Known,
    /// Of any other.
    Stranger,
}

/// The tables of guesses. One is absent where there is no budget for it.
pub(super) struct GuessTables {
    sources: Option<DebtTable>,
    names: Option<DebtTable>,
    /// Of sources that have logged in as the user lately. Nobody else has a slot here.
    logins: Option<DebtTable>,
}

impl GuessTables {
    pub(super) fn new(budgets: GuessBudgets) -> Self {
        Self {
            sources: budgets.of_source.map(DebtTable::new),
            names: budgets.of_user.map(DebtTable::new),
            logins: budgets.of_login().map(DebtTable::new),
        }
    }

    /// The number of tables for these budgets.
    pub(super) fn count(budgets: GuessBudgets) -> usize {
        [budgets.of_source, budgets.of_user, budgets.of_login()].iter().flatten().count()
    }

    pub(super) fn clear(&self) {
        [&self.sources, &self.names, &self.logins].into_iter().flatten().for_each(DebtTable::clear);
    }
}

impl Penalties {
    /// The price of a guess against the budget of a day; absent where users are not counted.
    fn price_of_day(&self, uptime: Duration) -> Option<Price> {
        let price = || Price::new(self.of_user(uptime).of(GUESSES_A_DAY), DAY).map(Price::in_advance);
        self.guesses.names.as_ref().and_then(|_| price())
    }

    /// In which order the login of a peer is served.
    pub(crate) fn rank(&self, uptime: Duration, peer: Peer, found: &Found<'_>) -> Rank {
        let is_exempt = found.is_exempt(self.exempt_source(peer), uptime);
        if is_exempt || self.is_trusted(peer) { Rank::Known } else { Rank::Stranger }
    }

    /// Debits a guess, unless the same KE1 of that peer was debited lately. If there is a challenge, the same KE1 with
    /// another one is another guess.
    ///
    /// # Errors
    /// A budget is used up. Then nothing is debited.
    pub(crate) fn reserve(
        &self,
        uptime: Duration,
        peer: Peer,
        found: &Found<'_>,
        rank: Rank,
        ke1: &[u8; KE1_LEN],
        challenge: Option<Challenge>,
    ) -> Result<(), Penalty> {
        if self.is_trusted(peer) {
            return Ok(());
        }
        let tables = &self.guesses;
        let name = self.hash(Kind::Name, &[found.name().as_bytes()]);
        let trace = Trace::new(
            name,
            self.hash(Kind::Guess, &[ke1, &peer.mark(), &challenge.map_or(0, Challenge::bits).to_ne_bytes()]),
        );
        if rank == Rank::Known {
            let Some(logins) = &tables.logins else { return Ok(()) };
            return match logins.reserve(uptime, Part::WHOLE, self.login_of(peer, found.name()), trace) {
                Reserved::Now | Reserved::Before => Ok(()),
                Reserved::Spent => Err(Penalty::GuessesOfUser),
            };
        }
        // First the source: beyond its budget it costs the name nothing.
        let (mut debited, mut penalty) = ([None; NETWORKS_MAX], None);
        if let Some(sources) = &tables.sources {
            for ((network, shares), slot) in peer.source().guessing_networks().zip(&mut debited) {
                match sources.reserve(uptime, Part::times(shares), self.source(network), trace) {
                    Reserved::Now => *slot = Some((sources, network, shares)),
                    Reserved::Before => {}
                    Reserved::Spent => penalty = penalty.or(Some(Penalty::GuessesOfSource)),
                }
            }
        }
        let reserved = match (penalty, &tables.names) {
            (None, Some(names)) => names.reserve(uptime, self.of_user(uptime), name, trace),
            (Some(_), _) | (None, None) => Reserved::Before,
        };
        if reserved == Reserved::Spent {
            penalty = Some(Penalty::GuessesOfUser);
        }
        if let Some(penalty) = penalty {
            for (sources, network, shares) in debited.into_iter().flatten() {
                sources.cancel(uptime, Part::times(shares), self.source(network), trace);
            }
            return Err(penalty);
        }
        if let (Reserved::Now, Some(price)) = (reserved, self.price_of_day(uptime)) {
            // Beyond the budget the debt does not grow.
            found.refused_if(found.is_day_spent(price, uptime)).guessed_in_a_day(price, uptime);
        }
        Ok(())
    }

    /// The user as an offer is to be made to: like an unknown name, if strangers guessed at them too often in a day.
    pub(crate) fn offered<'a>(&self, uptime: Duration, found: Found<'a>, rank: Rank) -> Found<'a> {
        let price = self.price_of_day(uptime);
        let is_spent = price.is_some_and(|price| found.is_day_spent(price, uptime));
        found.refused_if(is_spent && rank == Rank::Stranger)
    }

    /// Exempts the source of a login that was welcomed, for a day.
    pub(crate) fn exempt(&self, uptime: Duration, peer: Peer, found: &Found<'_>) {
        self.note_login(uptime, peer.source().octets(), found, PasswordAge::Present);
    }

    /// Gives back the guess of a login that was welcomed for the first time, if it was debited here. It began with this
    /// rank.
    pub(crate) fn give_back_guess(&self, uptime: Duration, peer: Peer, found: &Found<'_>, rank: Rank) {
        if self.is_trusted(peer) {
            return;
        }
        let GuessTables { sources, names, logins } = &self.guesses;
        if rank == Rank::Known {
            if let Some(logins) = logins {
                logins.give_back(uptime, Part::WHOLE, self.login_of(peer, found.name()));
            }
            return;
        }
        if let Some(sources) = sources {
            for (network, shares) in peer.source().guessing_networks() {
                sources.give_back(uptime, Part::times(shares), self.source(network));
            }
        }
        if let Some(names) = names {
            names.give_back(uptime, self.of_user(uptime), self.hash(Kind::Name, &[found.name().as_bytes()]));
        }
        if let Some(price) = self.price_of_day(uptime) {
            found.give_back_in_a_day(price);
        }
    }
}

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
use super::{Budget, Kind, ONE, Penalties, Penalty};
use crate::Peer;
use crate::opaque::wire::KE1_LEN;
use crate::source::NETWORKS_MAX;
use crate::users::{Found, PasswordAge, Price};

/// The budgets of guesses by OPAQUE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessBudgets {
    /// Guesses of a source in a minute. The /48 around an IPv6 one has 4 times as many.
    pub of_source_a_minute: u8,
    /// Guesses at a name in a minute, from all sources together.
    pub of_user_a_minute: u8,
    /// Guesses at a user in a day, from all sources together.
    pub of_user_a_day: u32,
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for GuessBudgets {
    /// 20, 60 and 1,000: 200 people behind one address get in within seconds, since each gives a guess back.
    fn default() -> Self {
        Self { of_source_a_minute: 20, of_user_a_minute: 60, of_user_a_day: 1000 }
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

/// The tables of guesses.
pub(super) struct GuessTables {
    sources: DebtTable,
    names: DebtTable,
    /// Of sources that have logged in as the user lately. Nobody else has a slot here.
    logins: DebtTable,
    price_of_day: Option<Price>,
}

impl GuessTables {
    pub(super) const COUNT: usize = 3;

    pub(super) fn new(budgets: GuessBudgets) -> Self {
        let a_minute = |count| DebtTable::new(Budget { count, window: MINUTE });
        Self {
            sources: a_minute(budgets.of_source_a_minute),
            names: a_minute(budgets.of_user_a_minute),
            logins: a_minute(budgets.of_source_a_minute),
            price_of_day: Price::new(budgets.of_user_a_day, DAY),
        }
    }

    pub(super) fn clear(&self) {
        [&self.sources, &self.names, &self.logins].into_iter().for_each(DebtTable::clear);
    }
}

impl Penalties {
    /// In which order the login of a peer is served.
    pub(crate) fn rank(&self, uptime: Duration, peer: Peer, found: &Found<'_>) -> Rank {
        let is_exempt = found.is_exempt(self.exempt_source(peer), uptime);
        if is_exempt || self.is_trusted(peer) { Rank::Known } else { Rank::Stranger }
    }

    /// Debits a guess, unless the same KE1 of that peer was debited lately.
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
    ) -> Result<(), Penalty> {
        let Some(tables) = self.guesses.as_ref().filter(|_| !self.is_trusted(peer)) else { return Ok(()) };
        let name = self.hash(Kind::Name, &[found.name().as_bytes()]);
        let trace = Trace::new(name, self.hash(Kind::Guess, &[ke1, &peer.mark()]));
        if rank == Rank::Known {
            let login = self.login_of(peer, found.name());
            return match tables.logins.reserve(uptime, ONE, login, trace) {
                Reserved::Now | Reserved::Before => Ok(()),
                Reserved::Spent => Err(Penalty::User),
            };
        }
        // First the source: beyond its budget it costs the name nothing.
        let (mut debited, mut penalty) = ([None; NETWORKS_MAX], None);
        for ((network, shares), slot) in peer.source().guessing_networks().zip(&mut debited) {
            match tables.sources.reserve(uptime, shares, self.source(network), trace) {
                Reserved::Now => *slot = Some((network, shares)),
                Reserved::Before => {}
                Reserved::Spent => penalty = penalty.or(Some(Penalty::Source)),
            }
        }
        let reserved = match penalty {
            Some(_) => Reserved::Before,
            None => tables.names.reserve(uptime, ONE, name, trace),
        };
        if reserved == Reserved::Spent {
            penalty = Some(Penalty::User);
        }
        if let Some(penalty) = penalty {
            for (network, shares) in debited.into_iter().flatten() {
                tables.sources.cancel(uptime, shares, self.source(network), trace);
            }
            return Err(penalty);
        }
        if let (Reserved::Now, Some(price)) = (reserved, tables.price_of_day) {
            // Beyond the budget the debt does not grow.
            found.refused_if(found.is_day_spent(price, uptime)).guessed_in_a_day(price, uptime);
        }
        Ok(())
    }

    /// The user as an offer is to be made to: like an unknown name, if strangers guessed at them too often in a day.
    pub(crate) fn offered<'a>(&self, uptime: Duration, found: Found<'a>, rank: Rank) -> Found<'a> {
        let price = self.guesses.as_ref().and_then(|tables| tables.price_of_day);
        let is_spent = price.is_some_and(|price| found.is_day_spent(price, uptime));
        found.refused_if(is_spent && rank == Rank::Stranger)
    }

    /// Notes the first welcome of a login by OPAQUE that began with this rank: it gives its guess back, and exempts the
    /// source for a day.
    pub(crate) fn welcomed_guess(&self, uptime: Duration, peer: Peer, found: &Found<'_>, rank: Rank) {
        if let Some(tables) = self.guesses.as_ref().filter(|_| !self.is_trusted(peer)) {
            match rank {
                Rank::Known => tables.logins.give_back(uptime, ONE, self.login_of(peer, found.name())),
                Rank::Stranger => {
                    for (network, shares) in peer.source().guessing_networks() {
                        tables.sources.give_back(uptime, shares, self.source(network));
                    }
                    let name = self.hash(Kind::Name, &[found.name().as_bytes()]);
                    tables.names.give_back(uptime, ONE, name);
                    if let Some(price) = tables.price_of_day {
                        found.give_back_in_a_day(price);
                    }
                }
            }
        }
        found.exempt(self.exempt_source(peer), PasswordAge::Present, uptime);
    }
}

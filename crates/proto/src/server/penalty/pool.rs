//! Budgets of users that several nodes divide, or count together.
//!
//! Of N nodes with the same users, those that tell each other of their failures are members of a pool. They have their
//! parts of a user's budget together, and a failure counts at each of them as soon as they hear of it. Until all have
//! heard of it, it counts N-fold where it was looked at, in a debt of its own: each of the others may be about to look
//! at as many. So before all nodes block a user they look at no more failures than one would, and one more each.
//!
//! Beyond that a node waits until it has heard from the others, which begins no block. A member that hears nothing any
//! more has its part of what is left, and so have those that are left.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::tables::{self, DebtTable};
use super::{Budget, Kind, LoginAttempt, Part, Penalties};
use crate::origin::Origin;
use crate::server::fleet::outbox::{Outbox, SourceOctets};
use crate::users::{Found, PasswordAge, Users};

/// What a node knows of its pool.
pub(super) struct Pool {
    /// Failures of which not all members know yet, by name. They block nobody here.
    untold: DebtTable,
    pub(super) outbox: Outbox,
    /// The number of members, this node included, and below it the uptime in seconds up to which that holds.
    members: AtomicU64,
}

impl Pool {
    /// The size in bytes.
    pub(super) const BYTES: usize = tables::BYTES + Outbox::BYTES;

    fn new(budget: Budget) -> Self {
        Self { untold: DebtTable::new(budget), outbox: Outbox::new(), members: 0.into() }
    }

    fn members(&self, uptime: Duration) -> u32 {
        let word = self.members.load(Ordering::Relaxed);
        let is_over = uptime.as_secs() >= word & u64::from(u32::MAX);
        if is_over { 1 } else { (word >> u32::BITS) as u32 }
    }

    pub(super) fn clear(&self) {
        self.untold.clear();
    }
}

impl Penalties {
    /// Divides the budgets of users among this many nodes that have the same users, from now on. A part is rounded
    /// down, so before all block a user, all together look at no more failures than one would, and one more each. Debts
    /// stay. A block in force ends sooner by as much as a failure costs more.
    pub fn divide(&self, nodes: NonZeroU32) {
        self.nodes.store(nodes.get(), Ordering::Relaxed);
    }

    fn nodes(&self) -> NonZeroU32 {
        NonZeroU32::new(self.nodes.load(Ordering::Relaxed)).unwrap_or(NonZeroU32::MIN)
    }

    /// What this node has of a user's budget for itself.
    pub(super) fn of_user(&self) -> Part {
        Part::one_of(self.nodes())
    }

    /// Counts failures of users together with other nodes, once a [`Fleet`](crate::server::fleet::Fleet) has heard of
    /// them.
    #[must_use]
    pub fn with_pool(self) -> Self {
        Self { pool: self.of_user.map(Pool::new), ..self }
    }

    /// The time after which nothing that a user owes now is owed any more, short of a block.
    pub(crate) fn window(&self) -> Duration {
        self.of_user.map_or(Duration::ZERO, |budget| budget.window)
    }

    /// What this node has of a user's budget: together with the pool where the sender is proven, else alone.
    pub(super) fn of_user_by(&self, origin: Origin, uptime: Duration) -> Part {
        match (&self.pool, origin) {
            (Some(pool), Origin::Proven) => Part::some_of(pool.members(uptime), self.nodes()),
            (None, _) | (_, Origin::Unproven) => self.of_user(),
        }
    }

    /// Whether answers for a name wait until other nodes have heard of those that were looked at.
    pub(super) fn waits(&self, attempt: &LoginAttempt<'_>) -> bool {
        let uptime = attempt.uptime;
        let (Some(pool), Some(names), Origin::Proven) = (&self.pool, &self.proven.names, attempt.origin)
        else {
            return false;
        };
        if pool.untold.owes_nothing(uptime) {
            return false;
        }
        let hash = self.name(attempt);
        let untold = pool.untold.owed(uptime, hash);
        let limit = names.limit(self.of_user_by(Origin::Proven, uptime));
        untold > 0 && untold + names.owed(uptime, hash) > limit
    }

    /// Lets other nodes know of a failure, if there is a pool.
    pub(super) fn tell_failure(&self, attempt: &LoginAttempt<'_>) {
        if let (Some(pool), Origin::Proven) = (&self.pool, attempt.origin)
            && pool.members(attempt.uptime) > 1
        {
            pool.untold.debit(attempt.uptime, self.of_user(), self.name(attempt));
            pool.outbox.failed(attempt.found.name());
        }
    }

    /// Exempts a source from the blocks of a user, and lets other nodes know now and then.
    pub(super) fn note_login(
        &self,
        uptime: Duration,
        source: SourceOctets,
        found: &Found<'_>,
        by: PasswordAge,
    ) {
        let is_news = found.exempt(self.exemption_of(source), by, uptime);
        if let (true, Some(pool)) = (is_news, &self.pool) {
            pool.outbox.logged_in(found.name(), source);
        }
    }

    /// How many nodes count failures of users together, this one included.
    pub fn members(&self, uptime: Duration) -> u32 {
        self.pool.as_ref().map_or(1, |pool| pool.members(uptime))
    }

    /// What is to be told; without a pool, nothing ever is.
    pub(crate) fn outbox(&self) -> Option<&Outbox> {
        self.pool.as_ref().map(|pool| &pool.outbox)
    }

    /// Counts failures together with other nodes until this uptime: as many members as there are, this one included.
    pub(crate) fn join(&self, members: u32, until: Duration) {
        if let Some(pool) = &self.pool {
            let until_s = u32::try_from(until.as_secs()).unwrap_or(u32::MAX);
            pool.members.store(u64::from(members) << u32::BITS | u64::from(until_s), Ordering::Relaxed);
        }
    }

    /// Counts failures at a name that another member has looked at. If a block begins, gives the uptime at which it
    /// ends.
    pub(crate) fn failed_elsewhere(
        &self,
        uptime: Duration,
        users: &Users,
        name: &str,
        failures: u8,
    ) -> Option<Duration> {
        let names = self.proven.names.as_ref()?;
        let part = self.of_user_by(Origin::Proven, uptime);
        let (found, price) = (users.owner(name), self.price(part));
        if let (Some(found), Some(price)) = (found, price) {
            (0..failures).for_each(|_| found.guessed(Origin::Proven, price, uptime));
        }
        names.fail_elsewhere(uptime, part, self.hash(Kind::Name, &[name.as_bytes()]), failures)
    }

    /// Notes that all members know of failures at a name.
    pub(crate) fn all_know(&self, uptime: Duration, name: &str, failures: u8) {
        if let Some(pool) = &self.pool {
            let hash = self.hash(Kind::Name, &[name.as_bytes()]);
            (0..failures).for_each(|_| pool.untold.give_back(uptime, self.of_user(), hash));
        }
    }

    /// By which password a source has logged in as a user lately, if it has.
    pub(crate) fn exempting(
        &self,
        uptime: Duration,
        source: SourceOctets,
        found: &Found<'_>,
    ) -> Option<PasswordAge> {
        found.exempting(self.exemption_of(source), uptime)
    }

    /// Exempts a source that has logged in elsewhere.
    pub(crate) fn logged_in_elsewhere(
        &self,
        uptime: Duration,
        source: SourceOctets,
        found: &Found<'_>,
        by: PasswordAge,
    ) {
        found.exempt(self.exemption_of(source), by, uptime);
    }
}

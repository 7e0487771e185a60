//! Budgets of users that several nodes divide, or count together.
//!
//! Of N nodes with the same users, those that tell each other of their failures are members of a pool. They have their
//! parts of a user's budget together, and a failure counts at each of them as soon as they hear of it. Until all have
//! heard of it, it counts N-fold where it was looked at, in a debt of its own: each of the others may be about to look
//! at as many. So before all nodes block a user they look at no more failures than one would, and one more each; at
//! worst, where some hear and others do not, at twice as many.
//!
//! Beyond that a node waits until it has heard from the others, which begins no block. A member that hears nothing any
//! more has its part of what is left, and so have those that are left. A node that is no member yet tells the others of
//! its failures, too, so that they know what is owed once it is one.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::tables::{self, DebtTable};
use super::{Budget, Kind, LoginAttempt, Part, Penalties};
use crate::origin::Origin;
use crate::server::fleet::Owed;
use crate::server::fleet::outbox::{Failure, Login, Outbox, SourceOctets};
use crate::short_name::ShortName;
use crate::users::{Found, PasswordAge, Users};

/// What a node knows of its pool.
pub(super) struct Pool {
    /// Failures of which not all members know yet, by name. They block nobody here.
    untold: DebtTable,
    outbox: Outbox,
    /// `| members: 16 | reachable nodes: 16 | the uptime in seconds up to which that holds: 32 |`
    state: AtomicU64,
    /// Whether all blocks were lifted since it was last asked.
    were_lifted: AtomicBool,
}

/// Of how many nodes this one has heard lately, itself included.
#[derive(Clone, Copy)]
struct Known {
    members: u32,
    reachable: u32,
}

/// The limit of failures that all nodes of a pool must have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolLimits {
    pub(crate) count: u8,
    pub(crate) window: Duration,
}

impl Pool {
    /// The size in bytes.
    pub(super) const BYTES: usize = tables::BYTES + Outbox::BYTES;

    fn new(budget: Budget) -> Self {
        let (untold, outbox) = (DebtTable::new(budget), Outbox::new());
        Self { untold, outbox, state: 0.into(), were_lifted: false.into() }
    }

    fn known(&self, uptime: Duration) -> Known {
        let word = self.state.load(Ordering::Relaxed);
        if uptime.as_secs() >= word & u64::from(u32::MAX) {
            return Known { members: 1, reachable: 1 };
        }
        Known { members: (word >> 48) as u32, reachable: (word >> 32) as u32 & u32::from(u16::MAX) }
    }

    pub(super) fn clear(&self) {
        self.untold.clear();
        self.outbox.forget_failures();
        self.were_lifted.store(true, Ordering::Relaxed);
    }
}

impl Penalties {
    /// Divides the budgets of users among this many nodes that have the same users, from now on. A part is rounded
    /// down, so before all block a user, all together look at no more failures than one would, and one more each. Debts
    /// stay. A block in force ends sooner by as much as a failure costs more.
    pub fn divide(&self, nodes: NonZeroU32) {
        self.nodes.store(nodes.get(), Ordering::Relaxed);
    }

    /// Counts failures of users together with other nodes, once a [`Fleet`](crate::server::fleet::Fleet) has heard of
    /// them.
    #[must_use]
    pub fn with_pool(self) -> Self {
        Self { pool: self.of_user.map(Pool::new), ..self }
    }

    /// Whether there is a pool, which may have no other members.
    pub fn has_pool(&self) -> bool {
        self.pool.is_some()
    }

    /// How many nodes count failures of users together, this one included.
    pub fn members(&self, uptime: Duration) -> u32 {
        self.known(uptime).members
    }

    fn known(&self, uptime: Duration) -> Known {
        self.pool.as_ref().map_or(Known { members: 1, reachable: 1 }, |pool| pool.known(uptime))
    }

    /// The nodes of which this one knows: as many as it was told, or has heard of.
    fn nodes(&self, uptime: Duration) -> NonZeroU32 {
        let nodes = self.nodes.load(Ordering::Relaxed).max(self.known(uptime).reachable);
        NonZeroU32::new(nodes).unwrap_or(NonZeroU32::MIN)
    }

    /// What this node has of a user's budget for itself.
    pub(super) fn of_user(&self, uptime: Duration) -> Part {
        Part::one_of(self.nodes(uptime))
    }

    /// What this node has of a user's budget: together with the pool where the sender is proven, else for itself.
    pub(super) fn of_user_by(&self, origin: Origin, uptime: Duration) -> Part {
        match origin {
            Origin::Proven => Part::some_of(self.members(uptime), self.nodes(uptime)),
            Origin::Unproven => self.of_user(uptime),
        }
    }

    /// Whether answers for a name, which has this part of a budget, wait until other nodes have heard of those that
    /// were looked at.
    pub(super) fn waits(&self, attempt: &LoginAttempt<'_>, part: Part) -> bool {
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
        // Once each of these failures is among those of the name already.
        let beyond = untold - untold / u64::from(self.nodes(uptime).get());
        untold > 0 && beyond + names.owed(uptime, hash) > names.limit(part)
    }

    /// Lets other nodes know of a failure, if any is reachable. Where it was counted together with others, it counts
    /// N-fold until they know of it.
    pub(super) fn tell_failure(&self, attempt: &LoginAttempt<'_>) {
        let uptime = attempt.uptime;
        let (Some(pool), Origin::Proven) = (&self.pool, attempt.origin) else { return };
        let Known { members, reachable } = pool.known(uptime);
        let mut nodes = 0;
        if members > 1 {
            let all = self.nodes(uptime);
            pool.untold.debit(uptime, Part::one_of(all), self.name(attempt));
            nodes = u16::try_from(all.get()).unwrap_or(u16::MAX);
        }
        if reachable > 1 {
            pool.outbox.failed(Failure { name: ShortName::new(attempt.found.name()), nodes });
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
            let name = found.name();
            let hash = self.hash(Kind::Name, &[name.as_bytes()]);
            pool.outbox.logged_in(hash, Login { name: ShortName::new(name), source });
        }
    }

    /// What is to be told to nodes with these limits; without a pool, nothing ever is.
    pub(crate) fn pool(&self) -> Option<(&Outbox, PoolLimits)> {
        let (pool, Budget { count, window }) = self.pool.as_ref().zip(self.of_user)?;
        Some((&pool.outbox, PoolLimits { count, window }))
    }

    /// Notes how many nodes count failures together, and how many are reachable, this one included, until this uptime.
    pub(crate) fn join(&self, members: u32, reachable: u32, until: Duration) {
        if let Some(pool) = &self.pool {
            let until_s = u32::try_from(until.as_secs()).unwrap_or(u32::MAX);
            let word = u64::from(members) << 48 | u64::from(reachable) << 32 | u64::from(until_s);
            pool.state.store(word, Ordering::Relaxed);
        }
    }

    /// Counts failures at a name that another node has looked at. Those of a node that does not count together with
    /// this one are from its own part of the budget, and cost what they would cost if there were no others. If a block
    /// begins, gives the uptime at which it ends.
    pub(crate) fn failed_elsewhere(
        &self,
        uptime: Duration,
        users: &Users,
        name: &str,
        failures: u8,
        is_settled: bool,
    ) -> Option<Duration> {
        let names = self.proven.names.as_ref()?;
        let by_member = is_settled && self.members(uptime) > 1;
        let part = if by_member { self.of_user_by(Origin::Proven, uptime) } else { Part::WHOLE };
        let (found, price) = (users.owner(name), self.price(part));
        if let (Some(found), Some(price)) = (found, price) {
            (0..failures).for_each(|_| found.guessed(Origin::Proven, price, uptime));
        }
        names.fail_elsewhere(uptime, part, self.hash(Kind::Name, &[name.as_bytes()]), failures)
    }

    /// Notes that all nodes that are reachable know of failures at a name, which therefore count once.
    pub(crate) fn all_know(&self, uptime: Duration, name: &str, Owed { failures, nodes }: Owed) {
        if let (Some(pool), Some(nodes)) = (&self.pool, NonZeroU32::new(nodes.into())) {
            let hash = self.hash(Kind::Name, &[name.as_bytes()]);
            (0..failures).for_each(|_| pool.untold.give_back(uptime, Part::one_of(nodes), hash));
        }
    }

    /// Whether all blocks were lifted since this was last asked.
    pub(crate) fn were_lifted(&self) -> bool {
        self.pool.as_ref().is_some_and(|pool| pool.were_lifted.swap(false, Ordering::Relaxed))
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

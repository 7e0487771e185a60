//! Penalties for failed logins: each source and each user has a budget of failures, and is blocked beyond it.
//!
//! | failure of | counts against | beyond the budget it blocks |
//! |---|---|---|
//! | the sender of an answer from a proven address: over TCP, or with its challenge carried back | the source, and for IPv6 the networks around it; the user | everything from the source; proven answers for the user, except from sources that logged in as that user lately, which have a budget of their own |
//! | the sender of an answer without its challenge, which may be forged | the same, counted apart | answers without their challenge, and nothing else |
//!
//! So forged datagrams cannot lock out the owner of the address they carry. Unknown names are counted like known ones,
//! in the same table and by the same steps.
//!
//! A failure is a debt that is paid off with time: a budget of 10 in 60 s charges 6 s for each, and allows 60 s of
//! debt. A success takes back one failure of the same name from the same source and nothing else, so knowing one
//! password gives no further guesses at another. Tables have a fixed size, and all workers share them without a lock.
//! Where a bucket is full, a newcomer inherits its smallest debt (see `tables`), so no flood of other names or sources
//! makes a debt smaller. A flood from more sources than a table has slots can make it forget a block. Guesses are
//! therefore counted beside the user as well (`users::guesses`), and an answer beyond the budget is refused whatever
//! its digest, like an answer for an unknown name.
//!
//! Nodes that have the same users divide the budgets of users among them, so the sum is kept even while none can reach
//! any other. Those that can count failures of proven senders together (see `pool`). Budgets of sources, and of a
//! source as a user who has logged in from there, are not divided: they protect whoever is there, and usually all that
//! comes from there comes to one node.

mod fill;
mod guess;
mod policy;
mod pool;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::Hasher;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use ipnet::IpNet;
use siphasher::sip::SipHasher24;

use crate::Peer;
pub use crate::blocks::{FIRST_BLOCK, LONGEST_BLOCK};
use crate::origin::Origin;
use crate::proof::Digest;
use crate::server::fleet::outbox::SourceOctets;
use crate::source::{Source, any_covers};
use crate::users::{Found, PasswordAge, Price};
pub use fill::{Failures, Fill};
use guess::GuessTables;
pub use guess::{GUESSES_A_DAY, GuessBudgets, Rank};
use policy::Part;
pub use policy::{Budget, Policy, WINDOW_MAX};
use pool::Pool;
pub(crate) use pool::PoolLimits;
use tables::{Counted, DebtTable, Trace};

/// Whose budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Penalty {
    /// That of the source.
    Source,
    /// That of the user, from all sources together or from the source alone.
    User,
    /// That of the source, of guesses by OPAQUE, which are not failures, and block nothing else.
    GuessesOfSource,
    /// That of the name, or of a source that has logged in under it lately, of guesses by OPAQUE.
    GuessesOfUser,
}

impl fmt::Display for Penalty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("the address is blocked: too many failed logins"),
            Self::User => f.write_str("the user is blocked: too many failed logins"),
            Self::GuessesOfSource => f.write_str("the address has no guesses left"),
            Self::GuessesOfUser => f.write_str("no guesses at this user are left"),
        }
    }
}

impl std::error::Error for Penalty {}

/// An answer, as far as it matters to penalties.
#[derive(Clone, Copy)]
pub(crate) struct LoginAttempt<'a> {
    pub(crate) uptime: Duration,
    pub(crate) origin: Origin,
    pub(crate) peer: Peer,
    /// The result of the search for its name.
    pub(crate) found: Found<'a>,
    /// The budget of the name that a failure counts against, besides that of the source.
    scope: Scope,
}

impl<'a> LoginAttempt<'a> {
    pub(crate) fn new(uptime: Duration, origin: Origin, peer: Peer, found: Found<'a>) -> Self {
        Self { uptime, origin, peer, found, scope: Scope::Everywhere }
    }
}

/// The blocks that a failure began, each with the uptime at which it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    /// The block of its source, or of the widest network around it that was blocked.
    pub source: Option<(Source, Duration)>,
    /// The block of its name, everywhere or from its source alone.
    pub name: Option<(Scope, Duration)>,
}

/// The sources from which a name is tried or blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All sources but those that have logged in as that user lately.
    Everywhere,
    /// A source that has logged in as that user lately, while the name is blocked elsewhere.
    Here,
}

/// All debts and blocks, shared by all workers.
pub struct Penalties {
    keyed: SipHasher24,
    trusted: Vec<IpNet>,
    proven: FailureTables,
    unproven: FailureTables,
    guesses: GuessTables,
    of_user: Option<Budget>,
    /// The nodes among which the budgets of users are divided.
    nodes: AtomicU32,
    /// Those that count failures together; absent if this one tells the others nothing.
    pool: Option<Pool>,
}

/// The failures of answers of one origin. A table is absent where there is no budget for it.
struct FailureTables {
    sources: Option<DebtTable>,
    names: Option<DebtTable>,
}

impl Penalties {
    /// The number of sources or names in a table.
    pub const SLOTS: usize = tables::SLOTS;

    /// Starts without failures. The key is 128 random bits.
    #[must_use]
    pub fn new(key: &[u8; 16], policy: Policy) -> Self {
        let Policy { of_source, of_user, of_guesses, trusted } = policy;
        let counts =
            || FailureTables { sources: of_source.map(DebtTable::new), names: of_user.map(DebtTable::new) };
        Self {
            keyed: SipHasher24::new_with_key(key),
            trusted,
            proven: counts(),
            unproven: counts(),
            guesses: GuessTables::new(of_guesses),
            of_user,
            nodes: 1.into(),
            pool: None,
        }
    }

    /// The price of a guess at a user, of whose budget there is this part; absent where users are not counted.
    fn price(&self, part: Part) -> Option<Price> {
        self.of_user.and_then(|Budget { count, window }| Price::new(part.of(count.into()), window))
    }

    /// Counts the slots of all tables, which takes some hundred microseconds if they are not empty.
    pub fn count(&self, uptime: Duration) -> Failures {
        let fill = |table: &Option<DebtTable>, part| {
            table.as_ref().map(|table| table.fill(uptime, part)).unwrap_or_default()
        };
        let Self { proven, unproven, .. } = self;
        Failures {
            proven_sources: fill(&proven.sources, Part::WHOLE),
            proven_names: fill(&proven.names, self.of_user_by(Origin::Proven, uptime)),
            unproven_sources: fill(&unproven.sources, Part::WHOLE),
            unproven_names: fill(&unproven.names, self.of_user(uptime)),
        }
    }

    /// Forgets all failures, and so lifts all blocks.
    pub fn lift(&self) {
        let tables = [&self.proven, &self.unproven].map(|counts| [&counts.sources, &counts.names]);
        tables.iter().flatten().filter_map(|table| table.as_ref()).for_each(DebtTable::clear);
        self.guesses.clear();
        self.pool.iter().for_each(Pool::clear);
    }

    /// The size in bytes of the tables for this policy, and of what else there is for a pool.
    pub fn bytes(policy: &Policy, has_pool: bool) -> usize {
        let of_failures = [policy.of_source, policy.of_user].iter().flatten().count() * 2;
        let of_pool = if has_pool && policy.of_user.is_some() { Pool::BYTES } else { 0 };
        (of_failures + GuessTables::count(policy.of_guesses)) * tables::BYTES + of_pool
    }

    /// Checks that the source of a peer is not blocked.
    ///
    /// # Errors
    /// [`Penalty::Source`] if it is; everything that comes from it is then to be ignored.
    pub fn check_source(&self, uptime: Duration, peer: Peer) -> Result<(), Penalty> {
        self.source_in(&self.proven, uptime, peer)
    }

    /// Gives the attempt as it is to be judged, or the penalty for which it is to be ignored. Exemptions are looked up
    /// only where they matter, since the time of a cache miss would tell which users have any.
    pub(crate) fn check<'a>(&self, attempt: LoginAttempt<'a>) -> Result<LoginAttempt<'a>, Penalty> {
        let LoginAttempt { uptime, origin, peer, found, .. } = attempt;
        let counts = self.counts(origin);
        self.source_in(counts, uptime, peer)?;
        let Some(names) = &counts.names else { return Ok(attempt) };
        let part = self.of_user_by(origin, uptime);
        let is_blocked = names.is_blocked(uptime, part, || self.name(&attempt)) || self.waits(&attempt, part);
        // While the guesses at any user are spent, answers for all names take the same steps.
        let price = found.are_any_guesses_spent(uptime).then(|| self.price(part)).flatten();
        if (!is_blocked && price.is_none()) || self.is_trusted(peer) {
            return Ok(attempt);
        }
        let is_spent = price.is_some_and(|price| found.are_guesses_spent(origin, price, uptime));
        let is_exempt = found.is_exempt(self.exempt_source(peer), uptime);
        if is_exempt && (is_blocked || is_spent) {
            let is_blocked_here = names.is_blocked(uptime, Part::WHOLE, || self.login(&attempt));
            if is_blocked_here {
                Err(Penalty::User)
            } else {
                Ok(LoginAttempt { scope: Scope::Here, ..attempt })
            }
        } else if is_blocked {
            Err(Penalty::User)
        } else {
            // The table may have forgotten the block, but the count beside the user has not.
            Ok(LoginAttempt { found: found.refused_if(is_spent), ..attempt })
        }
    }

    /// Counts a failure, and gives the blocks that it began.
    pub(crate) fn failed(&self, attempt: &LoginAttempt<'_>, digest: Digest) -> Blocks {
        let (uptime, peer) = (attempt.uptime, attempt.peer);
        if self.is_trusted(peer) {
            return Blocks::default();
        }
        let counts = self.counts(attempt.origin);
        let trace =
            Trace::new(self.name(attempt), self.hash(Kind::Failure, &[digest.as_bytes(), &peer.mark()]));
        let mut blocks = Blocks::default();
        if let Some(sources) = &counts.sources {
            for (network, shares) in peer.source().networks() {
                let end = sources.fail(uptime, Part::times(shares), self.source(network), trace).block();
                blocks.source = end.map(|end| (network, end)).or(blocks.source);
            }
        }
        if let Some(names) = &counts.names {
            let (part, key) = match attempt.scope {
                Scope::Everywhere => (self.of_user_by(attempt.origin, uptime), self.name(attempt)),
                Scope::Here => (Part::WHOLE, self.login(attempt)),
            };
            let counted = names.fail(uptime, part, key, trace);
            blocks.name = counted.block().map(|end| (attempt.scope, end));
            if let (Counted::Now(_), Scope::Everywhere) = (counted, attempt.scope) {
                self.tell_failure(attempt);
                if let Some(price) = self.price(part) {
                    attempt.found.guessed(attempt.origin, price, uptime);
                }
            }
        }
        blocks
    }

    /// Notes the first welcome of a login: it takes back one failure of that name from that source, and exempts the
    /// source from blocks of that user for a day.
    pub(crate) fn welcomed(&self, attempt: &LoginAttempt<'_>, password: PasswordAge) {
        let (uptime, peer) = (attempt.uptime, attempt.peer);
        let tables = [&self.proven, &self.unproven].into_iter().filter_map(|counts| counts.sources.as_ref());
        for sources in tables.filter(|sources| !sources.is_empty(uptime)) {
            for (network, shares) in peer.source().networks() {
                sources.forgive(uptime, Part::times(shares), self.source(network), self.name(attempt));
            }
        }
        if self.proven.names.is_some() {
            self.note_login(uptime, peer.source().octets(), &attempt.found, password);
        }
    }

    fn source_in(&self, counts: &FailureTables, uptime: Duration, peer: Peer) -> Result<(), Penalty> {
        // Usually no source is blocked, and the networks need not be looked up.
        let sources = counts.sources.as_ref().filter(|sources| sources.any_blocked(uptime));
        let is_blocked = sources.is_some_and(|sources| {
            peer.source().networks().any(|(network, shares)| {
                sources.is_blocked(uptime, Part::times(shares), || self.source(network))
            })
        });
        if is_blocked && !self.is_trusted(peer) { Err(Penalty::Source) } else { Ok(()) }
    }

    fn counts(&self, origin: Origin) -> &FailureTables {
        match origin {
            Origin::Proven => &self.proven,
            Origin::Unproven => &self.unproven,
        }
    }

    fn is_trusted(&self, peer: Peer) -> bool {
        any_covers(&self.trusted, peer.ip())
    }

    /// A name from one source, whose failures count apart while the name is blocked: no other source can fill that
    /// budget.
    fn login(&self, attempt: &LoginAttempt<'_>) -> u64 {
        self.login_of(attempt.peer, attempt.found.name())
    }

    fn login_of(&self, peer: Peer, name: &str) -> u64 {
        self.hash(Kind::Login, &[&peer.source().octets(), name.as_bytes()])
    }

    fn name(&self, attempt: &LoginAttempt<'_>) -> u64 {
        self.hash(Kind::Name, &[attempt.found.name().as_bytes()])
    }

    fn source(&self, source: Source) -> u64 {
        self.hash(Kind::Source, &[&source.octets()])
    }

    /// The source of a login, as it stands in a user's exemptions.
    fn exempt_source(&self, peer: Peer) -> u64 {
        self.exemption_of(peer.source().octets())
    }

    fn exemption_of(&self, source: SourceOctets) -> u64 {
        self.hash(Kind::Exemption, &[&source])
    }

    fn hash(&self, kind: Kind, parts: &[&[u8]]) -> u64 {
        let mut keyed = self.keyed;
        keyed.write(&[kind as u8]);
        for part in parts {
            keyed.write(part);
        }
        keyed.finish()
    }
}

/// The kind of thing that is hashed, so that equal bytes of two kinds have different hashes.
#[derive(Clone, Copy)]
enum Kind {
    Source,
    Name,
    Login,
    Exemption,
    Failure,
    Guess,
}

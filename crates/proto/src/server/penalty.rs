//! What failed logins cost: a budget for each source and for each user, and a block for whoever has used it up.
//!
//! | who failed | counts against | and blocks |
//! |---|---|---|
//! | a proven address: over TCP, or with its challenge carried back | the source, and for IPv6 the networks around it; the user | all that comes from the source; proven answers for the user, except from sources that logged in as that user lately, which have a budget of their own |
//! | an answer without its challenge, which anybody may have forged | the same, counted apart | answers without their challenge, and nothing else |
//!
//! So nobody can lock out somebody else by writing their address on datagrams. A name that is unknown is counted like
//! one that is known, in the same table, by the same steps.
//!
//! A failure is a debt that is paid off with time: a budget of 10 in 60 s charges 6 s for each, and allows 60 s of
//! debt. A success takes back one failure of the same name from the same source, and nothing else, so a password lets
//! nobody guess another one. Tables are of fixed size, shared by all workers without a lock. Where a bucket is full,
//! a newcomer inherits its smallest debt (see `tables`), so no flood of other names or sources makes a debt smaller. A
//! flood from more sources than a table has slots can make it forget a block, though; how often a user was guessed at
//! is therefore counted beside the user, too (`users::guesses`), and an answer beyond the budget is refused whatever
//! its digest, as one for an unknown name is.

mod tables;

use std::fmt;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use siphasher::sip::SipHasher24;

use crate::peer::Address;
use crate::proof::Digest;
use crate::source::{Source, counted_with, covers};
use crate::users::{Found, Price};
use tables::{Counted, Table, Trace};

/// The first block; each further one is twice as long.
pub const FIRST_SILENCE: Duration = Duration::from_secs(15);
/// The longest block.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(600);
/// The longest time that a budget is for.
pub const WINDOW_MAX: Duration = Duration::from_secs(600);

/// Failures that cost no block: this many at once, and as many again in each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// 1 to 255. The next one costs a block.
    pub failures: u8,
    /// The time in which as many are paid off, in whole seconds, up to [`WINDOW_MAX`].
    pub window: Duration,
}

/// What is free, and for whom everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For each source: an IPv4 address, or the /64 of an IPv6 address; its /56 has 4 times as much, its /48 16 times.
    /// Without, sources are not counted.
    pub of_source: Option<Budget>,
    /// For each user, from all sources together. Without, users are not counted.
    pub of_user: Option<Budget>,
    /// Networks that are not counted.
    pub trusted: Vec<IpNet>,
}

impl Default for Limits {
    /// 10 failures a minute for a source, 60 for a user.
    fn default() -> Self {
        let window = Duration::from_secs(60);
        let budget = |failures| Some(Budget { failures, window });
        Self { of_source: budget(10), of_user: budget(60), trusted: Vec::new() }
    }
}

impl Limits {
    /// Nobody is counted.
    #[must_use]
    pub fn none() -> Self {
        Self { of_source: None, of_user: None, trusted: Vec::new() }
    }
}

/// Who has used up their budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Penalty {
    /// The source.
    Source,
    /// The user, from all sources together.
    User,
}

impl fmt::Display for Penalty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("its source has failed too often"),
            Self::User => f.write_str("its user was tried too often"),
        }
    }
}

impl std::error::Error for Penalty {}

/// An answer, as far as penalties look at it.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) uptime: Duration,
    pub(crate) address: Address,
    pub(crate) peer: SocketAddr,
    /// What the search for its name came to.
    pub(crate) found: Found<'a>,
    /// What a failure of it counts against, besides its source.
    scope: Scope,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(uptime: Duration, address: Address, peer: SocketAddr, found: Found<'a>) -> Self {
        Self { uptime, address, peer, found, scope: Scope::Everywhere }
    }
}

/// The blocks that a failure began, each with the uptime of its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    /// Of its source, or of the widest network around it that was blocked.
    pub source: Option<(Source, Duration)>,
    /// Of its name, everywhere or from its source alone.
    pub name: Option<(Scope, Duration)>,
}

/// From where a name is tried, or blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// From all sources but those that have logged in as that user lately.
    Everywhere,
    /// From one source, which has logged in as that user lately, while the name is blocked elsewhere.
    Here,
}

/// Debts and blocks, shared by all workers.
pub struct Penalties {
    keyed: SipHasher24,
    trusted: Vec<IpNet>,
    proven: Counts,
    unproven: Counts,
    /// Of a guess at a user.
    price: Option<Price>,
}

/// What a table of failures holds; nothing where there is no budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Slots in use.
    pub used: u64,
    /// Slots in all.
    pub places: u64,
    /// How many are blocked now.
    pub silent: u64,
    /// The uptime at which the oldest of these blocks began.
    pub since: Option<Duration>,
}

/// What all of them hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failures {
    proven_sources: Fill,
    proven_names: Fill,
    unproven_sources: Fill,
    unproven_names: Fill,
}

impl Failures {
    /// Of sources, by the name of their table.
    #[must_use]
    pub fn of_sources(&self) -> [(&'static str, Fill); 2] {
        [("sources", self.proven_sources), ("unproven_sources", self.unproven_sources)]
    }

    /// Of names, known and unknown. One that has logged in from a source lately has a second slot for what fails from
    /// there.
    pub fn of_names(&self) -> [(&'static str, Fill); 2] {
        [("names", self.proven_names), ("unproven_names", self.unproven_names)]
    }

    /// Blocks in force.
    pub fn blocks(&self) -> u64 {
        self.of_sources().iter().chain(&self.of_names()).map(|(_, fill)| fill.silent).sum()
    }
}

/// The failures of one kind of address; none where there is no budget.
struct Counts {
    sources: Option<Table>,
    names: Option<Table>,
}

/// A name has one share of its budget.
const ONE: u32 = 1;

impl Penalties {
    /// Sources or names of which a table keeps the failures.
    pub const SLOTS: usize = tables::SLOTS;

    /// Starts without any. The key is 128 random bits.
    #[must_use]
    pub fn new(key: &[u8; 16], limits: Limits) -> Self {
        let Limits { of_source, of_user, trusted } = limits;
        let counts = || Counts { sources: of_source.map(Table::new), names: of_user.map(Table::new) };
        let price = of_user.and_then(|budget| Price::new(budget.failures, budget.window));
        Self { keyed: SipHasher24::new_with_key(key), trusted, proven: counts(), unproven: counts(), price }
    }

    /// Counts what all tables hold, which takes some hundred microseconds when they are not empty.
    pub fn count(&self, uptime: Duration) -> Failures {
        let fill = |table: &Option<Table>| table.as_ref().map(|table| table.fill(uptime)).unwrap_or_default();
        let Self { proven, unproven, .. } = self;
        Failures {
            proven_sources: fill(&proven.sources),
            proven_names: fill(&proven.names),
            unproven_sources: fill(&unproven.sources),
            unproven_names: fill(&unproven.names),
        }
    }

    /// Forgets all failures, and so lifts all blocks.
    pub fn lift(&self) {
        let tables = [&self.proven, &self.unproven].map(|counts| [&counts.sources, &counts.names]);
        tables.iter().flatten().filter_map(|table| table.as_ref()).for_each(Table::clear);
    }

    /// The memory of the tables for these limits.
    pub fn bytes(limits: &Limits) -> usize {
        [limits.of_source, limits.of_user].iter().flatten().count() * 2 * tables::BYTES
    }

    /// Whether all that comes from a source is ignored.
    pub fn check_source(&self, uptime: Duration, source: IpAddr) -> Result<(), Penalty> {
        self.source_in(&self.proven, uptime, source)
    }

    /// Gives the attempt as it is to be judged, or the penalty that has it ignored. Exemptions are looked up only where
    /// they matter: a cache miss would tell which users have any.
    pub(crate) fn check<'a>(&self, attempt: Attempt<'a>) -> Result<Attempt<'a>, Penalty> {
        let Attempt { uptime, address, peer, found, .. } = attempt;
        let counts = self.counts(address);
        self.source_in(counts, uptime, peer.ip())?;
        let Some(names) = &counts.names else { return Ok(attempt) };
        let is_blocked = names.is_blocked(uptime, ONE, || self.name(&attempt));
        // While anybody's guesses are spent, answers for all names take the same steps.
        let price = self.price.filter(|_| found.are_any_guesses_spent(uptime));
        if (!is_blocked && price.is_none()) || self.is_trusted(peer.ip()) {
            return Ok(attempt);
        }
        let is_spent = price.is_some_and(|price| found.are_guesses_spent(address, price, uptime));
        let is_exempt = found.is_exempt(self.exempt_source(peer.ip()), uptime);
        if is_exempt && (is_blocked || is_spent) {
            let is_blocked_here = names.is_blocked(uptime, ONE, || self.login(&attempt));
            if is_blocked_here { Err(Penalty::User) } else { Ok(Attempt { scope: Scope::Here, ..attempt }) }
        } else if is_blocked {
            Err(Penalty::User)
        } else {
            // The table has forgotten the block, which what is kept beside the user has not.
            Ok(Attempt { found: found.refused_if(is_spent), ..attempt })
        }
    }

    /// Counts a refusal, and tells which blocks it began.
    pub(crate) fn failed(&self, attempt: &Attempt<'_>, digest: Digest) -> Blocks {
        let (uptime, source) = (attempt.uptime, attempt.peer.ip());
        if self.is_trusted(source) {
            return Blocks::default();
        }
        let counts = self.counts(attempt.address);
        let port = attempt.peer.port().to_be_bytes();
        let trace = Trace::new(self.name(attempt), self.hash(Kind::Failure, &[digest.as_bytes(), &port]));
        let mut blocks = Blocks::default();
        if let Some(sources) = &counts.sources {
            for (network, shares) in counted_with(source) {
                let end = sources.fail(uptime, shares, self.source(network), trace).block();
                blocks.source = end.map(|end| (network, end)).or(blocks.source);
            }
        }
        if let Some(names) = &counts.names {
            let key = match attempt.scope {
                Scope::Everywhere => self.name(attempt),
                Scope::Here => self.login(attempt),
            };
            let counted = names.fail(uptime, ONE, key, trace);
            blocks.name = counted.block().map(|end| (attempt.scope, end));
            if let (Counted::Now(_), Scope::Everywhere, Some(price)) = (counted, attempt.scope, self.price) {
                attempt.found.guessed(attempt.address, price, uptime);
            }
        }
        blocks
    }

    /// Notes the first welcome of a login: it takes back one failure of that name from that source, and exempts the
    /// source from blocks of that user for a day.
    pub(crate) fn welcomed(&self, attempt: &Attempt<'_>) {
        let (uptime, source) = (attempt.uptime, attempt.peer.ip());
        let tables = [&self.proven, &self.unproven].into_iter().filter_map(|counts| counts.sources.as_ref());
        for sources in tables.filter(|sources| !sources.is_empty(uptime)) {
            for (network, shares) in counted_with(source) {
                sources.forgive(uptime, shares, self.source(network), self.name(attempt));
            }
        }
        if self.proven.names.is_some() {
            attempt.found.exempt(self.exempt_source(source), uptime);
        }
    }

    fn source_in(&self, counts: &Counts, uptime: Duration, source: IpAddr) -> Result<(), Penalty> {
        // Mostly nobody is blocked, and then the networks are not even looked up.
        let sources = counts.sources.as_ref().filter(|sources| sources.any_blocked(uptime));
        let is_blocked = sources.is_some_and(|sources| {
            counted_with(source)
                .any(|(network, shares)| sources.is_blocked(uptime, shares, || self.source(network)))
        });
        if is_blocked && !self.is_trusted(source) { Err(Penalty::Source) } else { Ok(()) }
    }

    fn counts(&self, address: Address) -> &Counts {
        match address {
            Address::Proven => &self.proven,
            Address::Claimed => &self.unproven,
        }
    }

    fn is_trusted(&self, source: IpAddr) -> bool {
        self.trusted.iter().any(|network| covers(network, source))
    }

    /// A name from one source, whose failures count against it while the name is blocked: nobody else can fill that.
    fn login(&self, attempt: &Attempt<'_>) -> u64 {
        let source = Source::of(attempt.peer.ip()).octets();
        self.hash(Kind::Login, &[&source, attempt.found.name().as_bytes()])
    }

    fn name(&self, attempt: &Attempt<'_>) -> u64 {
        self.hash(Kind::Name, &[attempt.found.name().as_bytes()])
    }

    fn source(&self, source: Source) -> u64 {
        self.hash(Kind::Source, &[&source.octets()])
    }

    /// The source of a login, as it stands in a user's exemptions.
    fn exempt_source(&self, source: IpAddr) -> u64 {
        self.hash(Kind::Exemption, &[&Source::of(source).octets()])
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

/// What a hash is of.
#[derive(Clone, Copy)]
enum Kind {
    Source,
    Name,
    Login,
    Exemption,
    Failure,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::users::{Users, with_passwords};

    const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    /// Penalties, and the users whom they are about.
    struct House {
        penalties: Penalties,
        users: Users,
        failures: u64,
    }

    impl House {
        fn new(limits: Limits) -> Self {
            let users = with_passwords(&[("userone", "1"), ("usertwo", "2"), ("victim", "3")]);
            Self { penalties: Penalties::new(&[1; 16], limits), users, failures: 0 }
        }

        fn attempt<'a>(
            &'a self,
            at: Duration,
            address: Address,
            source: IpAddr,
            name: &'a str,
        ) -> Attempt<'a> {
            Attempt::new(at, address, (source, 5000).into(), self.users.find(name))
        }

        /// Fails several times at once, each time with another digest.
        fn fail(&mut self, at: Duration, address: Address, source: IpAddr, name: &str, times: u32) -> Blocks {
            let mut blocks = Blocks::default();
            for _ in 0..times {
                self.failures += 1;
                let digest = Digest::from_raw(u128::from(self.failures).to_be_bytes());
                blocks = self.penalties.failed(&self.attempt(at, address, source, name), digest);
            }
            blocks
        }

        fn fail_proven(&mut self, at: Duration, source: IpAddr, name: &str, times: u32) -> Blocks {
            self.fail(at, Address::Proven, source, name, times)
        }

        fn welcome(&self, at: Duration, source: IpAddr, name: &str) {
            self.penalties.welcomed(&self.attempt(at, Address::Proven, source, name));
        }

        fn check(&self, at: Duration, address: Address, source: IpAddr, name: &str) -> Result<(), Penalty> {
            self.penalties.check(self.attempt(at, address, source, name)).map(|_| ())
        }

        /// Guesses at a name, and tells whether the guess was looked at.
        fn guess(&mut self, at: Duration, source: IpAddr, name: &str) -> bool {
            self.failures += 1;
            let digest = Digest::from_raw(u128::from(self.failures).to_be_bytes());
            let attempt = self.attempt(at, Address::Proven, source, name);
            let Ok(attempt) = self.penalties.check(attempt) else { return false };
            self.penalties.failed(&attempt, digest);
            attempt.found.may_enter().into()
        }

        fn check_proven(&self, at: Duration, source: IpAddr, name: &str) -> Result<(), Penalty> {
            self.check(at, Address::Proven, source, name)
        }

        fn check_source(&self, at: Duration, source: IpAddr) -> Result<(), Penalty> {
            self.penalties.check_source(at, source)
        }
    }

    fn house() -> House {
        House::new(Limits::default())
    }

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    /// An address of a network that has many.
    fn source(number: u32) -> IpAddr {
        (0x0a00_0000 + number).to_be_bytes().into()
    }

    #[test]
    fn the_tables_tell_how_full_they_are_and_since_when_somebody_is_blocked() {
        let mut house = house();
        house.fail_proven(at(100), SOURCE, "userone", 11);
        house.fail_proven(at(102), source(1), "userone", 11);
        house.fail_proven(at(100), OTHER, "nobody", 2);
        house.fail(at(100), Address::Claimed, OTHER, "userone", 1);
        let held = |second| {
            let failures = house.penalties.count(at(second));
            [failures.of_sources(), failures.of_names()].map(|two| {
                two.map(|(_, fill)| (fill.used, fill.silent, fill.since.map(|since| since.as_secs())))
            })
        };
        assert_eq!(held(102), [[(3, 2, Some(100)), (1, 0, None)], [(2, 0, None), (1, 0, None)]]);
        assert_eq!(held(2000), [[(0, 0, None); 2]; 2]);
    }

    #[test]
    fn ten_failures_are_free_and_the_next_costs_a_block_that_doubles_up_to_ten_minutes() {
        let mut house = house();
        assert_eq!(house.fail_proven(at(100), SOURCE, "userone", 10), Blocks::default());
        let mut now = at(100);
        for silence in [15, 30, 60, 120, 240, 480, 600, 600] {
            assert_eq!(house.check_source(now, SOURCE), Ok(()));
            let blocks = loop {
                let blocks = house.fail_proven(now, SOURCE, "userone", 1);
                if blocks.source.is_some() {
                    break blocks;
                }
            };
            let (blocked, end) = blocks.source.unwrap();
            assert_eq!((blocked, end - now), (Source::of(SOURCE), at(silence)));
            assert_eq!(house.check_source(end - Duration::from_millis(10), SOURCE), Err(Penalty::Source));
            assert_eq!(house.check_source(end, SOURCE), Ok(()));
            assert_eq!(house.check_source(now, OTHER), Ok(()));
            now = end;
        }
    }

    #[test]
    fn a_failure_is_paid_off_in_its_part_of_the_window_and_blocks_of_long_ago_are_forgotten() {
        let mut house = house();
        house.fail_proven(at(54), SOURCE, "userone", 9);
        for second in (60..1000).step_by(6) {
            assert_eq!(house.fail_proven(at(second), SOURCE, "userone", 1), Blocks::default(), "{second}");
        }
        house.fail_proven(at(10_000), SOURCE, "userone", 11);
        assert_eq!(house.check_source(at(10_014), SOURCE), Err(Penalty::Source));
        house.fail_proven(at(20_000), SOURCE, "userone", 11);
        assert_eq!(house.check_source(at(20_015), SOURCE), Ok(()), "the first block again");
    }

    #[test]
    fn what_is_sent_again_is_no_other_failure_unless_it_comes_from_another_port() {
        let house = house();
        let failed = |port, number: u32| {
            let attempt = Attempt {
                peer: (SOURCE, port).into(),
                ..house.attempt(at(5), Address::Proven, SOURCE, "userone")
            };
            house.penalties.failed(&attempt, Digest::from_raw([number as u8 % 2; 16]))
        };
        assert!((0..100).all(|number| failed(5000, number) == Blocks::default()));
        assert_eq!((1..20).filter(|port| failed(*port, 0).source.is_some()).count(), 1);
    }

    #[test]
    fn forged_failures_block_answers_that_may_be_forged_and_nothing_else() {
        let mut house = house();
        house.fail(at(5), Address::Claimed, SOURCE, "userone", 11);
        assert_eq!(house.check(at(6), Address::Claimed, SOURCE, "usertwo"), Err(Penalty::Source));
        (0..10).for_each(|number| _ = house.fail(at(5), Address::Claimed, source(number), "userone", 10));
        assert_eq!(house.check(at(6), Address::Claimed, OTHER, "userone"), Err(Penalty::User));
        assert_eq!(house.check_source(at(6), SOURCE), Ok(()));
        assert_eq!(house.check_proven(at(6), SOURCE, "userone"), Ok(()));
    }

    #[test]
    fn a_success_takes_back_one_failure_of_its_name_and_no_more() {
        let mut house = house();
        house.fail_proven(at(5), SOURCE, "userone", 10);
        house.welcome(at(5), SOURCE, "userone");
        assert_eq!(house.fail_proven(at(5), SOURCE, "usertwo", 1), Blocks::default());
        house.welcome(at(5), SOURCE, "userone");
        house.welcome(at(5), SOURCE, "userone");
        assert!(house.fail_proven(at(5), SOURCE, "victim", 1).source.is_some());
    }

    /// Somebody with any number of accounts, who logs in and fails as themselves between guesses.
    #[test]
    fn whoever_knows_other_passwords_has_no_more_guesses_for_it() {
        let mut house = house();
        let mut guesses = 0;
        for second in 100..1300 {
            for _ in 0..100 {
                house.welcome(at(second), SOURCE, "userone");
                house.fail_proven(at(second), SOURCE, "usertwo", 1);
                house.welcome(at(second), SOURCE, "usertwo");
                if house.check_proven(at(second), SOURCE, "victim").is_ok() {
                    guesses += 1;
                    house.fail_proven(at(second), SOURCE, "victim", 1);
                }
            }
        }
        assert!((10..=10 + 20 * 10).contains(&guesses), "{guesses} in 20 minutes");
    }

    #[test]
    fn a_user_who_is_tried_from_many_sources_is_blocked_except_where_they_have_logged_in() {
        let mut house = house();
        house.welcome(at(1), OTHER, "userone");
        assert_eq!((0..200).filter(|number| house.guess(at(5), source(*number), "userone")).count(), 61);
        assert_eq!(house.check_proven(at(6), SOURCE, "userone"), Err(Penalty::User));
        assert_eq!(house.check_proven(at(6), OTHER, "userone"), Ok(()));
        assert_eq!(house.check_proven(at(6), SOURCE, "usertwo"), Ok(()));
    }

    #[test]
    fn the_owner_gets_in_after_a_hundred_thousand_logins_of_others() {
        let mut house = house();
        house.welcome(at(1), OTHER, "victim");
        (0..100_000).for_each(|number| house.welcome(at(2), source(number), "userone"));
        assert_eq!((0..200).filter(|number| house.guess(at(5), source(*number), "victim")).count(), 61);
        assert_eq!(house.check_proven(at(6), SOURCE, "victim"), Err(Penalty::User));
        assert_eq!(house.check_proven(at(6), OTHER, "victim"), Ok(()));
    }

    /// Somebody behind the same address, where sources are not counted. Beside the user's budget they have the
    /// source's.
    #[test]
    fn a_guesser_who_shares_the_source_of_a_user_keeps_them_out_of_no_other_source() {
        let mut house = House::new(Limits { of_source: None, ..Limits::default() });
        house.welcome(at(1), SOURCE, "victim");
        house.welcome(at(1), OTHER, "victim");
        assert_eq!((0..200).filter(|_| house.guess(at(2), SOURCE, "victim")).count(), 2 * 61);
        assert_eq!(house.check_proven(at(2), SOURCE, "victim"), Err(Penalty::User));
        assert_eq!(house.check_proven(at(2), OTHER, "victim"), Ok(()));
    }

    /// A flood from more sources than a table has slots can make it forget blocks; here it forgets everything. What is
    /// seen of a user and of an unknown name is the same, and what is learnt of a password is what the budget allows.
    #[test]
    fn a_table_that_forgets_gives_no_more_guesses_and_tells_no_user_from_an_unknown_name() {
        let [mut seen, mut guessed] = [[0; 2]; 2];
        for (place, victim) in ["victim", "nobody"].into_iter().enumerate() {
            let mut house = house();
            for number in 0..1000 {
                if number % 50 == 0 {
                    house.penalties.lift();
                }
                let (now, from) = (at(100) + Duration::from_millis(10 * u64::from(number)), source(number));
                seen[place] += u32::from(house.check_proven(now, from, victim).is_ok());
                guessed[place] += u32::from(house.guess(now, from, victim));
            }
        }
        assert_eq!(seen, [1000; 2]);
        assert!((61..=61 + 11).contains(&guessed[0]) && guessed[1] == 0, "{guessed:?}");
    }

    /// Other sources take all slots before each guess.
    #[test]
    fn a_table_full_of_other_sources_gives_a_source_none_of_its_budget_back() {
        let mut house = House::new(Limits { of_user: None, ..Limits::default() });
        let heard = (0..12_u32).filter(|round| {
            for number in 0..tables::SLOTS as u32 {
                house.fail_proven(at(100), source((round << 20) + number), "unknown", 1);
            }
            let is_heard = house.check_source(at(100), SOURCE).is_ok();
            let blocks = house.fail_proven(at(100), SOURCE, &format!("user{round}"), u32::from(is_heard));
            is_heard && blocks.source.is_none()
        });
        assert!(heard.count() <= 10);
    }

    /// Even where all slots owe as much as they can.
    #[test]
    fn the_first_failure_of_an_innocent_in_a_full_table_costs_the_first_block_at_most() {
        let mut house = House::new(Limits { of_user: None, ..Limits::default() });
        for number in 0..2 * tables::SLOTS as u32 {
            house.fail_proven(at(100), source(number), "unknown", 11);
        }
        let innocent = IpAddr::from([203, 0, 113, 1]);
        let (_, end) =
            house.fail_proven(at(100), innocent, "userone", 1).source.expect("a bucket that is full of debt");
        assert_eq!(end, at(115));
    }

    #[test]
    fn who_is_trusted_is_not_counted() {
        let trusted = vec!["192.0.2.0/24".parse().unwrap()];
        let mut house = House::new(Limits { trusted, ..Limits::default() });
        house.fail_proven(at(5), SOURCE, "userone", 200);
        assert_eq!(house.check_proven(at(5), SOURCE, "userone"), Ok(()));
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        house.fail_proven(at(5), mapped, "userone", 200);
        assert_eq!(house.check_source(at(5), mapped), Ok(()));
    }

    #[test]
    fn an_ipv6_network_has_one_budget_a_home_four_and_a_site_sixteen() {
        for (hosts, free) in [((0, 0, 1), 10), ((0, 1, 0), 40), ((1, 0, 0), 160)] {
            let mut house = House::new(Limits { of_user: None, ..Limits::default() });
            let host = |number: u16| {
                let (site, home, last) = hosts;
                // The third group is of the site, the fourth of the home and of the network.
                IpAddr::from([
                    0x2001,
                    0xdb8,
                    0,
                    256 * site * number + home * number,
                    0,
                    0,
                    0,
                    1 + last * number,
                ])
            };
            let blocked_by = (1..=300_u16).find_map(|number| {
                let blocks = house.fail_proven(at(5), host(number % 256), "userone", 1);
                blocks.source.map(|_| number)
            });
            assert_eq!(blocked_by, Some(free + 1), "{hosts:?}");
            assert_eq!(house.check_source(at(6), host(7)), Err(Penalty::Source));
            assert_eq!(house.check_source(at(6), "2001:db8:1::1".parse().unwrap()), Ok(()));
        }
    }

    #[test]
    fn blocks_are_lifted_together() {
        let mut house = house();
        house.fail_proven(at(5), SOURCE, "userone", 11);
        house.fail(at(5), Address::Claimed, OTHER, "userone", 11);
        assert_eq!(house.penalties.count(at(5)).blocks(), 2);
        house.penalties.lift();
        assert_eq!(house.penalties.count(at(5)).blocks(), 0);
        assert_eq!(house.check_proven(at(5), SOURCE, "userone"), Ok(()));
    }

    /// What it takes to make a whole table owe so much that a newcomer's first failure blocks them.
    #[test]
    fn nobody_who_did_nothing_is_kept_out_by_a_table_that_is_full() {
        let mut house = House::new(Limits { of_user: None, ..Limits::default() });
        (0..100_000).for_each(|number| _ = house.fail_proven(at(5), source(number), "userone", 11));
        let innocent = (0..100_000_u32).map(|number| IpAddr::from((0xc000_0000 + number).to_be_bytes()));
        let kept_out = innocent.filter(|source| house.check_source(at(6), *source).is_err()).count();
        assert!(kept_out <= 2, "{kept_out}");
    }

    proptest! {
        /// However failures are spread in time, no block is longer than the longest, and nobody else is blocked.
        #[test]
        fn blocks_end(waits in prop::collection::vec(0..700_u64, 1..200)) {
            let mut house = house();
            let mut second = 1;
            for wait in waits {
                second += wait;
                house.fail_proven(at(second), SOURCE, "userone", 3);
            }
            prop_assert_eq!(house.check_source(at(second) + LONGEST_SILENCE, SOURCE), Ok(()));
            prop_assert_eq!(house.check_source(at(second), OTHER), Ok(()));
        }
    }
}

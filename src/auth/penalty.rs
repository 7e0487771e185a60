//! What failed logins cost: a budget for each source and for each user, and silence for whoever has used it up.
//!
//! | who failed | counts against | and silences |
//! |---|---|---|
//! | a proven address: over TCP, or with its challenge carried back | the source; the user | all that comes from the source; proven answers for the user, but from sources that logged in as them lately, which have a budget of their own |
//! | an answer without its challenge, which anybody may have forged | the same, counted apart | answers without their challenge, and nothing else |
//!
//! So nobody can lock out somebody else by writing their address on datagrams. A name that is unknown is counted like
//! one that is known.
//!
//! All tables are of fixed size and shared by all workers without a lock. Sources and users are known by keyed hashes,
//! so nobody can choose whose place they take; where places run out, those who failed least are forgotten first.

mod tables;

use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ipnet::IpNet;
use siphasher::sip::SipHasher24;

use crate::auth::proof::Digest;
use crate::source::Source;
use tables::{LINES, Logins, Table, WAYS};

/// The first silence; each further one is twice as long.
pub const FIRST_SILENCE: Duration = Duration::from_secs(15);
/// The longest silence.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(600);
/// The longest time that a budget is for.
pub const WINDOW_MAX: Duration = Duration::from_secs(600);

/// Failures that are free, in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// 1 to 255. The next one costs silence.
    pub failures: u8,
    /// The time, in whole seconds, up to [`WINDOW_MAX`].
    pub window: Duration,
}

/// What is free, and for whom everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For each source: an IPv4 address, or the /64 of an IPv6 address. Without, sources are not counted.
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

/// Whether the address of an answer is more than what its sender says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Its challenge came back from there.
    Proven,
    /// Anybody may have written it.
    Claimed,
}

/// Who has used up their budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Penalty {
    /// The source.
    #[error("its source has failed too often")]
    Source,
    /// The user, from all sources together.
    #[error("its user was tried too often")]
    User,
}

/// Who is out of favour, shared by all workers.
pub struct Penalties {
    keyed: SipHasher24,
    trusted: Vec<IpNet>,
    proven: Counts,
    claimed: Counts,
    /// Where users are counted, whom that does not concern.
    logins: Option<Logins>,
}

/// What a table of failures holds; nothing where there is no budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) used: u64,
    pub(crate) places: u64,
    /// Who gets silence now.
    pub(crate) silent: u64,
}

/// What all of them hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Failures {
    proven_sources: Fill,
    proven_users: Fill,
    claimed_sources: Fill,
    claimed_users: Fill,
}

impl Failures {
    pub(crate) fn of_sources(&self) -> [(&'static str, Fill); 2] {
        [("sources", self.proven_sources), ("unproven_sources", self.claimed_sources)]
    }

    /// Of names, since nobody need have them. One that has logged in from a source lately has a second place for what
    /// fails from there.
    pub(crate) fn of_names(&self) -> [(&'static str, Fill); 2] {
        [("names", self.proven_users), ("unproven_names", self.claimed_users)]
    }
}

/// The counts of failures of one kind of address; none where there is no budget.
struct Counts {
    sources: Option<Table>,
    users: Option<Table>,
}

impl Penalties {
    /// Nobody is, yet. The key is of 128 random bits.
    #[must_use]
    pub fn new(key: &[u8; 16], limits: Limits) -> Self {
        let Limits { of_source, of_user, trusted } = limits;
        let counts = || Counts { sources: of_source.map(Table::new), users: of_user.map(Table::new) };
        let keyed = SipHasher24::new_with_key(key);
        Self { keyed, trusted, proven: counts(), claimed: counts(), logins: of_user.map(|_| Logins::new()) }
    }

    /// Counts what all tables hold, which takes some hundred microseconds when they are not empty.
    pub(crate) fn count(&self, uptime: Duration) -> Failures {
        let fill = |table: &Option<Table>| table.as_ref().map(|table| table.fill(uptime)).unwrap_or_default();
        let Self { proven, claimed, .. } = self;
        Failures {
            proven_sources: fill(&proven.sources),
            proven_users: fill(&proven.users),
            claimed_sources: fill(&claimed.sources),
            claimed_users: fill(&claimed.users),
        }
    }

    /// The memory of the tables for these limits.
    pub(crate) fn bytes(limits: &Limits) -> usize {
        let line = size_of::<[AtomicU64; WAYS]>();
        let of_sources = limits.of_source.map_or(0, |_| 4 * LINES * line);
        let of_users = limits.of_user.map_or(0, |_| 5 * LINES * line);
        of_sources + of_users
    }

    /// Whether all that comes from a source gets silence.
    pub(crate) fn check_source(&self, uptime: Duration, source: IpAddr) -> Result<(), Penalty> {
        self.source_in(&self.proven, uptime, source)
    }

    /// Whether an answer is not even looked at.
    pub(crate) fn check(
        &self,
        uptime: Duration,
        address: Address,
        source: IpAddr,
        name: &str,
    ) -> Result<(), Penalty> {
        let counts = self.counts(address);
        self.source_in(counts, uptime, source)?;
        let who = || self.tried(uptime, source, name);
        let is_silent = counts.users.as_ref().is_some_and(|users| users.is_silent(uptime, who));
        if is_silent && !self.is_trusted(source) { Err(Penalty::User) } else { Ok(()) }
    }

    /// Counts a refusal.
    pub(crate) fn failed(
        &self,
        uptime: Duration,
        address: Address,
        source: IpAddr,
        name: &str,
        digest: Digest,
    ) {
        if self.is_trusted(source) {
            return;
        }
        let (counts, what) =
            (self.counts(address), self.hash(Kind::Failure, &[name.as_bytes(), digest.as_bytes()]));
        if let Some(sources) = &counts.sources {
            sources.fail(self.source(source), what as u32, uptime);
        }
        if let Some(users) = &counts.users {
            users.fail(self.tried(uptime, source, name), what as u32, uptime);
        }
    }

    /// Notes a welcome: the source begins anew, and what others do to this user concerns it no more.
    pub(crate) fn welcomed(&self, uptime: Duration, source: IpAddr, name: &str) {
        for sources in [&self.proven, &self.claimed].into_iter().filter_map(|counts| counts.sources.as_ref())
        {
            sources.clear(uptime, || self.source(source));
        }
        if let Some(logins) = &self.logins {
            logins.note(self.login(source, name), uptime);
        }
    }

    fn source_in(&self, counts: &Counts, uptime: Duration, source: IpAddr) -> Result<(), Penalty> {
        let sources = counts.sources.as_ref();
        let is_silent = sources.is_some_and(|sources| sources.is_silent(uptime, || self.source(source)));
        if is_silent && !self.is_trusted(source) { Err(Penalty::Source) } else { Ok(()) }
    }

    fn counts(&self, address: Address) -> &Counts {
        match address {
            Address::Proven => &self.proven,
            Address::Claimed => &self.claimed,
        }
    }

    fn is_trusted(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.trusted.iter().any(|network| network.contains(&source))
    }

    /// Who it is that failures for a name count against: the user, or the user from this source alone, if they have
    /// logged in from there lately. That is a count which nobody else can fill, and which a login does not clear.
    fn tried(&self, uptime: Duration, source: IpAddr, name: &str) -> u64 {
        let login = self.login(source, name);
        let is_exempt = self.logins.as_ref().is_some_and(|logins| logins.contains(login, uptime));
        if is_exempt { login } else { self.hash(Kind::User, &[name.as_bytes()]) }
    }

    fn source(&self, source: IpAddr) -> u64 {
        self.hash(Kind::Source, &[&Source::of(source).octets()])
    }

    fn login(&self, source: IpAddr, name: &str) -> u64 {
        self.hash(Kind::Login, &[&Source::of(source).octets(), name.as_bytes()])
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
    User,
    Login,
    Failure,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::tables::Count;
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn penalties() -> Penalties {
        Penalties::new(&[1; 16], Limits::default())
    }

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    /// Fails so many times with different digests, all for users of their own unless one is given.
    fn fail(
        penalties: &Penalties,
        second: u64,
        address: Address,
        source: IpAddr,
        user: Option<&str>,
        times: u32,
    ) {
        for number in 0..times {
            let mut digest = [number as u8; 16];
            digest[..8].copy_from_slice(&second.to_be_bytes());
            let own = format!("user{number}");
            let name = user.unwrap_or(&own);
            penalties.failed(at(second), address, source, name, Digest::from_raw(digest));
        }
    }

    #[test]
    fn the_tables_tell_how_full_they_are_and_who_gets_silence() {
        let penalties = penalties();
        fail(&penalties, 100, Address::Proven, SOURCE, None, 11);
        fail(&penalties, 100, Address::Proven, OTHER, Some("alice"), 2);
        fail(&penalties, 100, Address::Claimed, OTHER, Some("alice"), 1);
        let held = |second| {
            let failures = penalties.count(at(second));
            [failures.of_sources(), failures.of_names()]
                .map(|two| two.map(|(_, fill)| (fill.used, fill.silent)))
        };
        assert_eq!(held(100), [[(2, 1), (1, 0)], [(12, 0), (1, 0)]]);
        assert_eq!(held(2000), [[(0, 0); 2]; 2]);
    }

    #[test]
    fn ten_failures_are_free_and_the_next_costs_silence_that_doubles_up_to_ten_minutes() {
        let penalties = penalties();
        let mut second = 100;
        for silence in [15, 30, 60, 120, 240, 480, 600, 600] {
            fail(&penalties, second, Address::Proven, SOURCE, None, 10);
            assert_eq!(penalties.check_source(at(second), SOURCE), Ok(()));
            fail(&penalties, second + 1, Address::Proven, SOURCE, None, 1);
            assert_eq!(penalties.check_source(at(second + silence), SOURCE), Err(Penalty::Source));
            assert_eq!(penalties.check_source(at(second + 1 + silence), SOURCE), Ok(()));
            assert_eq!(penalties.check_source(at(second + 1), OTHER), Ok(()));
            second += 1 + silence;
        }
    }

    #[test]
    fn failures_of_another_minute_and_silences_of_long_ago_are_forgotten() {
        let penalties = penalties();
        for minute in 1..10 {
            fail(&penalties, 60 * minute, Address::Proven, SOURCE, None, 10);
            assert_eq!(penalties.check_source(at(60 * minute), SOURCE), Ok(()));
        }
        fail(&penalties, 10_000, Address::Proven, SOURCE, None, 11);
        assert_eq!(penalties.check_source(at(10_014), SOURCE), Err(Penalty::Source));
        fail(&penalties, 20_000, Address::Proven, SOURCE, None, 11);
        assert_eq!(penalties.check_source(at(20_015), SOURCE), Ok(()), "the first silence again");
    }

    #[test]
    fn what_is_sent_again_is_no_other_failure() {
        let penalties = penalties();
        for number in 0..100 {
            let digest = Digest::from_raw([number % 2; 16]);
            penalties.failed(at(5), Address::Proven, SOURCE, "userone", digest);
        }
        assert_eq!(penalties.check_source(at(5), SOURCE), Ok(()));
    }

    #[test]
    fn forged_failures_silence_answers_that_may_be_forged_and_nothing_else() {
        let penalties = penalties();
        fail(&penalties, 5, Address::Claimed, SOURCE, Some("userone"), 200);
        fail(&penalties, 5, Address::Claimed, OTHER, Some("userone"), 200);
        assert_eq!(penalties.check(at(6), Address::Claimed, SOURCE, "usertwo"), Err(Penalty::Source));
        assert_eq!(penalties.check_source(at(6), SOURCE), Ok(()));
        assert_eq!(penalties.check(at(6), Address::Proven, SOURCE, "userone"), Ok(()));
    }

    #[test]
    fn a_success_clears_its_source() {
        let penalties = penalties();
        for _ in 0..5 {
            fail(&penalties, 5, Address::Proven, SOURCE, None, 10);
            penalties.welcomed(at(5), SOURCE, "userone");
        }
        assert_eq!(penalties.check_source(at(5), SOURCE), Ok(()));
    }

    #[test]
    fn a_user_who_is_tried_from_many_sources_is_silent_but_for_those_who_have_logged_in() {
        let penalties = penalties();
        penalties.welcomed(at(1), OTHER, "userone");
        for host in 1..=7 {
            let source = IpAddr::from([198, 51, 100, host]);
            for number in 0..9 {
                let digest = Digest::from_raw([number + 10 * host; 16]);
                penalties.failed(at(5), Address::Proven, source, "userone", digest);
            }
        }
        assert_eq!(penalties.check(at(6), Address::Proven, SOURCE, "userone"), Err(Penalty::User));
        assert_eq!(penalties.check(at(6), Address::Proven, OTHER, "userone"), Ok(()));
        assert_eq!(penalties.check(at(6), Address::Proven, SOURCE, "usertwo"), Ok(()));
        assert_eq!(penalties.check(at(30 * 60 * 60), Address::Proven, OTHER, "userone"), Ok(()));
    }

    /// Somebody behind the same address, who logs in between guesses.
    #[test]
    fn a_guesser_who_shares_the_source_of_a_user_has_the_budget_of_a_user() {
        let penalties = penalties();
        penalties.welcomed(at(1), SOURCE, "victim");
        let mut guesses: u32 = 0;
        while penalties.check(at(2), Address::Proven, SOURCE, "victim") == Ok(()) {
            let digest = Digest::from_raw(u128::from(guesses).to_be_bytes());
            penalties.failed(at(2), Address::Proven, SOURCE, "victim", digest);
            penalties.welcomed(at(2), SOURCE, "guesser");
            guesses += 1;
        }
        assert_eq!(guesses, 61);
        assert_eq!(penalties.check(at(2), Address::Proven, OTHER, "victim"), Ok(()));
    }

    #[test]
    fn who_is_trusted_is_not_counted() {
        let trusted = vec!["192.0.2.0/24".parse().unwrap()];
        let penalties = Penalties::new(&[1; 16], Limits { trusted, ..Limits::default() });
        fail(&penalties, 5, Address::Proven, SOURCE, Some("userone"), 200);
        assert_eq!(penalties.check(at(5), Address::Proven, SOURCE, "userone"), Ok(()));
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        fail(&penalties, 5, Address::Proven, mapped, None, 200);
        assert_eq!(penalties.check_source(at(5), mapped), Ok(()));
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_are_one_source() {
        let penalties = penalties();
        for host in 0..11_u16 {
            let source = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]);
            fail(&penalties, 5 + u64::from(host), Address::Proven, source, None, 1);
        }
        let another = IpAddr::from([0x2001, 0xdb8, 0, 0, 1, 2, 3, 4]);
        assert_eq!(penalties.check_source(at(16), another), Err(Penalty::Source));
    }

    /// Whoever is forgotten gets in; nobody who did nothing is kept out.
    #[test]
    fn a_table_that_overflows_favours_the_well_behaved() {
        let penalties = penalties();
        let culprit = |number: u32| IpAddr::from((0x0a00_0000 + number).to_be_bytes());
        for number in 0..100_000 {
            fail(&penalties, 5, Address::Proven, culprit(number), None, 11);
        }
        let silent =
            (0..100_000).filter(|number| penalties.check_source(at(6), culprit(*number)).is_err()).count();
        assert!((20_000..=LINES * WAYS).contains(&silent), "{silent}");
        let innocent = (0..100_000_u32).map(|number| IpAddr::from((0xc000_0000 + number).to_be_bytes()));
        let kept_out = innocent.filter(|source| penalties.check_source(at(6), *source).is_err()).count();
        assert!(kept_out <= 2, "{kept_out}");
    }

    proptest! {
        #[test]
        fn what_is_packed_is_what_is_unpacked(word: u64) {
            prop_assert_eq!(Count::unpack(word).pack(), word);
        }

        /// However failures are spread in time, no silence is longer than the longest, and one that was not failed
        /// for is not there.
        #[test]
        fn silence_ends(waits in prop::collection::vec(0..700_u64, 1..200)) {
            let penalties = penalties();
            let mut second = 1;
            for wait in waits {
                second += wait;
                fail(&penalties, second, Address::Proven, SOURCE, None, 3);
            }
            prop_assert_eq!(penalties.check_source(at(second + LONGEST_SILENCE.as_secs()), SOURCE), Ok(()));
            prop_assert_eq!(penalties.check_source(at(second), OTHER), Ok(()));
        }
    }
}

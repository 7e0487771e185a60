use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::mechanism::Mechanism;
use crate::users::{PasswordAge, Users, with_passwords};

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// Penalties, and users to fail as.
struct Fixture {
    penalties: Penalties,
    users: Users,
    failures: u64,
}

impl Fixture {
    fn new(policy: Policy) -> Self {
        let users = with_passwords(&[("userone", "1"), ("usertwo", "2"), ("victim", "3")]);
        Self { penalties: Penalties::new(&[1; 16], policy), users, failures: 0 }
    }

    fn attempt<'a>(
        &'a self,
        at: Duration,
        origin: Origin,
        source: IpAddr,
        name: &'a str,
    ) -> LoginAttempt<'a> {
        LoginAttempt::new(at, origin, from(source), self.users.find(name, Mechanism::Md5))
    }

    /// Fails several times at once, each time with another digest.
    fn fail(&mut self, at: Duration, origin: Origin, source: IpAddr, name: &str, times: u32) -> Blocks {
        let mut blocks = Blocks::default();
        for _ in 0..times {
            self.failures += 1;
            let digest = Digest::from_raw(u128::from(self.failures).to_be_bytes());
            blocks = self.penalties.failed(&self.attempt(at, origin, source, name), digest);
        }
        blocks
    }

    fn fail_proven(&mut self, at: Duration, source: IpAddr, name: &str, times: u32) -> Blocks {
        self.fail(at, Origin::Proven, source, name, times)
    }

    fn welcome(&self, at: Duration, source: IpAddr, name: &str) {
        self.penalties.welcomed(&self.attempt(at, Origin::Proven, source, name), PasswordAge::Present);
    }

    fn check(&self, at: Duration, origin: Origin, source: IpAddr, name: &str) -> Result<(), Penalty> {
        self.penalties.check(self.attempt(at, origin, source, name)).map(|_| ())
    }

    /// Guesses at a name, and tells whether the guess was looked at.
    fn guess(&mut self, at: Duration, source: IpAddr, name: &str) -> bool {
        self.failures += 1;
        let digest = Digest::from_raw(u128::from(self.failures).to_be_bytes());
        let attempt = self.attempt(at, Origin::Proven, source, name);
        let Ok(attempt) = self.penalties.check(attempt) else { return false };
        self.penalties.failed(&attempt, digest);
        attempt.found.may_enter().into()
    }

    fn check_proven(&self, at: Duration, source: IpAddr, name: &str) -> Result<(), Penalty> {
        self.check(at, Origin::Proven, source, name)
    }

    fn check_source(&self, at: Duration, source: IpAddr) -> Result<(), Penalty> {
        self.penalties.check_source(at, from(source))
    }
}

/// A peer at this address.
fn from(source: IpAddr) -> Peer {
    SocketAddr::from((source, 5000)).into()
}

fn fixture() -> Fixture {
    Fixture::new(Policy::default())
}

fn at(second: u64) -> Duration {
    Duration::from_secs(second)
}

/// An address of a network that has many.
fn source(number: u32) -> IpAddr {
    (0x0a00_0000 + number).to_be_bytes().into()
}

#[test]
fn the_fill_of_the_tables_is_counted_and_the_start_of_the_oldest_block_is_known() {
    let mut fixture = fixture();
    fixture.fail_proven(at(100), SOURCE, "userone", 11);
    fixture.fail_proven(at(102), source(1), "userone", 11);
    fixture.fail_proven(at(100), OTHER, "nobody", 2);
    fixture.fail(at(100), Origin::Unproven, OTHER, "userone", 1);
    let held = |second| {
        let failures = fixture.penalties.count(at(second));
        [failures.of_sources(), failures.of_names()].map(|two| {
            two.map(|(_, fill)| (fill.used, fill.blocked, fill.since.map(|since| since.as_secs())))
        })
    };
    assert_eq!(held(102), [[(3, 2, Some(100)), (1, 0, None)], [(2, 0, None), (1, 0, None)]]);
    assert_eq!(held(2000), [[(0, 0, None); 2]; 2]);
}

#[test]
fn ten_failures_are_free_and_the_next_costs_a_block_that_doubles_up_to_ten_minutes() {
    let mut fixture = fixture();
    assert_eq!(fixture.fail_proven(at(100), SOURCE, "userone", 10), Blocks::default());
    let mut now = at(100);
    for block in [15, 30, 60, 120, 240, 480, 600, 600] {
        assert_eq!(fixture.check_source(now, SOURCE), Ok(()));
        let blocks = loop {
            let blocks = fixture.fail_proven(now, SOURCE, "userone", 1);
            if blocks.source.is_some() {
                break blocks;
            }
        };
        let (blocked, end) = blocks.source.unwrap();
        assert_eq!((blocked, end - now), (Source::of(SOURCE), at(block)));
        assert_eq!(fixture.check_source(end - Duration::from_millis(10), SOURCE), Err(Penalty::Source));
        assert_eq!(fixture.check_source(end, SOURCE), Ok(()));
        assert_eq!(fixture.check_source(now, OTHER), Ok(()));
        now = end;
    }
}

#[test]
fn a_failure_is_paid_off_in_its_part_of_the_window_and_blocks_of_long_ago_are_forgotten() {
    let mut fixture = fixture();
    fixture.fail_proven(at(54), SOURCE, "userone", 9);
    for second in (60..1000).step_by(6) {
        assert_eq!(fixture.fail_proven(at(second), SOURCE, "userone", 1), Blocks::default(), "{second}");
    }
    fixture.fail_proven(at(10_000), SOURCE, "userone", 11);
    assert_eq!(fixture.check_source(at(10_014), SOURCE), Err(Penalty::Source));
    fixture.fail_proven(at(20_000), SOURCE, "userone", 11);
    assert_eq!(fixture.check_source(at(20_015), SOURCE), Ok(()), "the first block again");
}

#[test]
fn an_answer_that_is_sent_again_counts_once_unless_it_comes_from_another_port() {
    let fixture = fixture();
    let failed = |port, number: u32| {
        let attempt = LoginAttempt {
            peer: SocketAddr::from((SOURCE, port)).into(),
            ..fixture.attempt(at(5), Origin::Proven, SOURCE, "userone")
        };
        fixture.penalties.failed(&attempt, Digest::from_raw([number as u8 % 2; 16]))
    };
    assert!((0..100).all(|number| failed(5000, number) == Blocks::default()));
    assert_eq!((1..20).filter(|port| failed(*port, 0).source.is_some()).count(), 1);
}

#[test]
fn forged_failures_block_answers_that_may_be_forged_and_nothing_else() {
    let mut fixture = fixture();
    fixture.fail(at(5), Origin::Unproven, SOURCE, "userone", 11);
    assert_eq!(fixture.check(at(6), Origin::Unproven, SOURCE, "usertwo"), Err(Penalty::Source));
    (0..10).for_each(|number| _ = fixture.fail(at(5), Origin::Unproven, source(number), "userone", 10));
    assert_eq!(fixture.check(at(6), Origin::Unproven, OTHER, "userone"), Err(Penalty::User));
    assert_eq!(fixture.check_source(at(6), SOURCE), Ok(()));
    assert_eq!(fixture.check_proven(at(6), SOURCE, "userone"), Ok(()));
}

#[test]
fn a_success_takes_back_one_failure_of_its_name_and_no_more() {
    let mut fixture = fixture();
    fixture.fail_proven(at(5), SOURCE, "userone", 10);
    fixture.welcome(at(5), SOURCE, "userone");
    assert_eq!(fixture.fail_proven(at(5), SOURCE, "usertwo", 1), Blocks::default());
    fixture.welcome(at(5), SOURCE, "userone");
    fixture.welcome(at(5), SOURCE, "userone");
    assert!(fixture.fail_proven(at(5), SOURCE, "victim", 1).source.is_some());
}

/// The attacker logs in and fails with accounts of their own between guesses.
#[test]
fn an_attacker_with_accounts_has_no_more_guesses_than_one_without() {
    let mut fixture = fixture();
    let mut guesses = 0;
    for second in 100..1300 {
        for _ in 0..100 {
            fixture.welcome(at(second), SOURCE, "userone");
            fixture.fail_proven(at(second), SOURCE, "usertwo", 1);
            fixture.welcome(at(second), SOURCE, "usertwo");
            if fixture.check_proven(at(second), SOURCE, "victim").is_ok() {
                guesses += 1;
                fixture.fail_proven(at(second), SOURCE, "victim", 1);
            }
        }
    }
    assert!((10..=10 + 20 * 10).contains(&guesses), "{guesses} in 20 minutes");
}

#[test]
fn a_user_who_is_tried_from_many_sources_is_blocked_except_where_they_have_logged_in() {
    let mut fixture = fixture();
    fixture.welcome(at(1), OTHER, "userone");
    assert_eq!((0..200).filter(|number| fixture.guess(at(5), source(*number), "userone")).count(), 61);
    assert_eq!(fixture.check_proven(at(6), SOURCE, "userone"), Err(Penalty::User));
    assert_eq!(fixture.check_proven(at(6), OTHER, "userone"), Ok(()));
    assert_eq!(fixture.check_proven(at(6), SOURCE, "usertwo"), Ok(()));
}

#[test]
fn a_user_keeps_an_exemption_through_a_hundred_thousand_logins_of_another() {
    let mut fixture = fixture();
    fixture.welcome(at(1), OTHER, "victim");
    (0..100_000).for_each(|number| fixture.welcome(at(2), source(number), "userone"));
    assert_eq!((0..200).filter(|number| fixture.guess(at(5), source(*number), "victim")).count(), 61);
    assert_eq!(fixture.check_proven(at(6), SOURCE, "victim"), Err(Penalty::User));
    assert_eq!(fixture.check_proven(at(6), OTHER, "victim"), Ok(()));
}

/// A guesser behind the same address, where sources are not counted, has the user's budget and that of the source.
#[test]
fn a_guesser_who_shares_the_source_of_a_user_keeps_them_out_of_no_other_source() {
    let mut fixture = Fixture::new(Policy { of_source: None, ..Policy::default() });
    fixture.welcome(at(1), SOURCE, "victim");
    fixture.welcome(at(1), OTHER, "victim");
    assert_eq!((0..200).filter(|_| fixture.guess(at(2), SOURCE, "victim")).count(), 2 * 61);
    assert_eq!(fixture.check_proven(at(2), SOURCE, "victim"), Err(Penalty::User));
    assert_eq!(fixture.check_proven(at(2), OTHER, "victim"), Ok(()));
}

/// A flood from more sources than a table has slots can make it forget blocks; here it forgets everything. A user still
/// looks like an unknown name, and no more guesses at the password are judged than the budget allows.
#[test]
fn a_table_that_forgets_gives_no_more_guesses_and_tells_no_user_from_an_unknown_name() {
    let [mut judged, mut guessed] = [[0; 2]; 2];
    for (index, victim) in ["victim", "nobody"].into_iter().enumerate() {
        let mut fixture = fixture();
        for number in 0..1000 {
            if number % 50 == 0 {
                fixture.penalties.lift();
            }
            let (now, from) = (at(100) + Duration::from_millis(10 * u64::from(number)), source(number));
            judged[index] += u32::from(fixture.check_proven(now, from, victim).is_ok());
            guessed[index] += u32::from(fixture.guess(now, from, victim));
        }
    }
    assert_eq!(judged, [1000; 2]);
    assert!((61..=61 + 11).contains(&guessed[0]) && guessed[1] == 0, "{guessed:?}");
}

/// Other sources take all slots before each guess.
#[test]
fn a_table_full_of_other_sources_gives_a_source_none_of_its_budget_back() {
    let mut fixture = Fixture::new(Policy { of_user: None, ..Policy::default() });
    let unblocked = (0..12_u32).filter(|round| {
        for number in 0..tables::SLOTS as u32 {
            fixture.fail_proven(at(100), source((round << 20) + number), "unknown", 1);
        }
        let is_unblocked = fixture.check_source(at(100), SOURCE).is_ok();
        let blocks = fixture.fail_proven(at(100), SOURCE, &format!("user{round}"), u32::from(is_unblocked));
        is_unblocked && blocks.source.is_none()
    });
    assert!(unblocked.count() <= 10);
}

/// Even where all slots owe as much as they can.
#[test]
fn the_first_failure_of_an_innocent_in_a_full_table_costs_the_first_block_at_most() {
    let mut fixture = Fixture::new(Policy { of_user: None, ..Policy::default() });
    for number in 0..2 * tables::SLOTS as u32 {
        fixture.fail_proven(at(100), source(number), "unknown", 11);
    }
    let innocent = IpAddr::from([203, 0, 113, 1]);
    let (_, end) =
        fixture.fail_proven(at(100), innocent, "userone", 1).source.expect("a bucket that is full of debt");
    assert_eq!(end, at(115));
}

#[test]
fn failures_from_trusted_networks_are_not_counted() {
    let trusted = vec!["192.0.2.0/24".parse().unwrap()];
    let mut fixture = Fixture::new(Policy { trusted, ..Policy::default() });
    fixture.fail_proven(at(5), SOURCE, "userone", 200);
    assert_eq!(fixture.check_proven(at(5), SOURCE, "userone"), Ok(()));
    let mapped = "::ffff:192.0.2.1".parse().unwrap();
    fixture.fail_proven(at(5), mapped, "userone", 200);
    assert_eq!(fixture.check_source(at(5), mapped), Ok(()));
}

#[test]
fn an_ipv6_network_has_one_budget_a_home_four_and_a_site_sixteen() {
    for (hosts, free) in [((0, 0, 1), 10), ((0, 1, 0), 40), ((1, 0, 0), 160)] {
        let mut fixture = Fixture::new(Policy { of_user: None, ..Policy::default() });
        let host = |number: u16| {
            let (site, home, last) = hosts;
            // The third group is of the site, the fourth of the home and of the network.
            IpAddr::from([0x2001, 0xdb8, 0, 256 * site * number + home * number, 0, 0, 0, 1 + last * number])
        };
        let blocked_by = (1..=300_u16).find_map(|number| {
            let blocks = fixture.fail_proven(at(5), host(number % 256), "userone", 1);
            blocks.source.map(|_| number)
        });
        assert_eq!(blocked_by, Some(free + 1), "{hosts:?}");
        assert_eq!(fixture.check_source(at(6), host(7)), Err(Penalty::Source));
        assert_eq!(fixture.check_source(at(6), "2001:db8:1::1".parse().unwrap()), Ok(()));
    }
}

#[test]
fn blocks_are_lifted_together() {
    let mut fixture = fixture();
    fixture.fail_proven(at(5), SOURCE, "userone", 11);
    fixture.fail(at(5), Origin::Unproven, OTHER, "userone", 11);
    assert_eq!(fixture.penalties.count(at(5)).blocks(), 2);
    fixture.penalties.lift();
    assert_eq!(fixture.penalties.count(at(5)).blocks(), 0);
    assert_eq!(fixture.check_proven(at(5), SOURCE, "userone"), Ok(()));
}

/// All slots owe so much that the first failure of a newcomer would begin a block.
#[test]
fn a_source_without_failures_is_not_blocked_by_a_table_that_is_full() {
    let mut fixture = Fixture::new(Policy { of_user: None, ..Policy::default() });
    (0..100_000).for_each(|number| _ = fixture.fail_proven(at(5), source(number), "userone", 11));
    let innocent = (0..100_000_u32).map(|number| IpAddr::from((0xc000_0000 + number).to_be_bytes()));
    let kept_out = innocent.filter(|source| fixture.check_source(at(6), *source).is_err()).count();
    assert!(kept_out <= 2, "{kept_out}");
}

proptest! {
    /// However failures are spread in time, no block exceeds the longest one, and no other source is blocked.
    #[test]
    fn blocks_end(waits in prop::collection::vec(0..700_u64, 1..200)) {
        let mut fixture = fixture();
        let mut second = 1;
        for wait in waits {
            second += wait;
            fixture.fail_proven(at(second), SOURCE, "userone", 3);
        }
        prop_assert_eq!(fixture.check_source(at(second) + LONGEST_BLOCK, SOURCE), Ok(()));
        prop_assert_eq!(fixture.check_source(at(second), OTHER), Ok(()));
    }
}

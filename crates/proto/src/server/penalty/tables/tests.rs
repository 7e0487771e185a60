use proptest::prelude::*;

use super::debt::TAG_BITS;
use super::*;

const BUDGET: Budget = Budget { count: 10, window: Duration::from_secs(10) };

/// Hashes of one bucket, each with a tag of its own.
fn neighbour(number: u64) -> u64 {
    number << (u64::BITS - TAG_BITS)
}

proptest! {
    #[test]
    fn what_is_packed_is_what_is_unpacked(word: u64) {
        prop_assert_eq!(Debt::unpack(word).pack(), word);
    }

    /// The bound on guessing: however many neighbours fail in between, and whenever, one owner has no more uncharged
    /// failures than its budget.
    #[test]
    fn no_owner_owes_less_than_its_failures(steps in prop::collection::vec((0..12_u64, 0..30_u64), 1..400)) {
        let (table, rate) = (DebtTable::new(BUDGET), Rate::new(BUDGET.count.into(), BUDGET.window));
        let (mut now_ms, mut exact) = (1_000_000_u64, 0_u64);
        for (number, (owner, wait_ms)) in steps.into_iter().enumerate() {
            now_ms += wait_ms;
            let uptime = Duration::from_millis(now_ms);
            let now = ticks(uptime);
            if table.is_blocked(uptime, Part::WHOLE, || neighbour(owner)) {
                continue;
            }
            let began = table.fail(uptime, Part::WHOLE, neighbour(owner), Trace::new(owner, 2 * number as u64));
            if owner == 0 {
                exact = exact.max(now) + rate.cost;
                prop_assert!(exact - now <= rate.limit || began.block().is_some());
            }
        }
    }
}

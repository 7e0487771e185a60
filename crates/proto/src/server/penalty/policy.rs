//! How many failures and guesses are allowed, and where none are counted.

use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;

use super::guess::GuessBudgets;

/// The longest window of a budget.
pub const WINDOW_MAX: Duration = Duration::from_secs(600);

/// Failures that begin no block, or guesses that are heard: this many at once, and as many again in each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// 1 to 255.
    pub count: u8,
    /// The time in which that many are paid off: whole seconds, up to [`WINDOW_MAX`].
    pub window: Duration,
}

/// The budgets of sources and users, and the networks that are exempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The budget of each source: an IPv4 address, or the /64 of an IPv6 address. Its /56 has 4 times as much, its /48
    /// 16 times. If absent, sources are not counted.
    pub of_source: Option<Budget>,
    /// The budget of each user, from all sources together. If absent, users are not counted.
    pub of_user: Option<Budget>,
    /// The budgets of guesses by OPAQUE.
    pub of_guesses: GuessBudgets,
    /// Networks whose failures are not counted.
    pub trusted: Vec<IpNet>,
}

impl Default for Policy {
    /// 10 failures a minute for a source, 60 for a user; guesses as [`GuessBudgets`] has them.
    fn default() -> Self {
        let window = Duration::from_secs(60);
        let budget = |count| Some(Budget { count, window });
        Self {
            of_source: budget(10),
            of_user: budget(60),
            of_guesses: GuessBudgets::default(),
            trusted: Vec::new(),
        }
    }
}

impl Policy {
    /// No failures or guesses are counted.
    #[must_use]
    pub fn none() -> Self {
        Self { of_source: None, of_user: None, of_guesses: GuessBudgets::none(), trusted: Vec::new() }
    }
}

/// The part of a budget that an owner has at this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    times: u32,
    nodes: NonZeroU32,
}

impl Part {
    pub(super) const WHOLE: Self = Self::times(1);

    /// Several times the budget, as a network around a source has.
    pub(super) const fn times(times: u32) -> Self {
        Self { times, nodes: NonZeroU32::MIN }
    }

    /// What is this node's where the budget is divided among nodes.
    pub(super) fn one_of(nodes: NonZeroU32) -> Self {
        Self { times: 1, nodes }
    }

    /// What this node and others have together where the budget is divided among nodes.
    pub(super) fn some_of(members: u32, nodes: NonZeroU32) -> Self {
        Self { times: members.clamp(1, nodes.get()), nodes }
    }

    /// This part of a number, rounded down.
    pub(super) fn of(self, number: u32) -> u32 {
        number.saturating_mul(self.times) / self.nodes
    }
}

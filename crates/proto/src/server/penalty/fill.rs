//! How full the tables of failures are, for the operator.

use std::time::Duration;

/// How full a table of failures is. Without a budget there is no table, and all is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Slots in use.
    pub used: u64,
    /// All slots.
    pub capacity: u64,
    /// Slots whose source or name is blocked now.
    pub blocked: u64,
    /// The uptime at which the oldest of these blocks began.
    pub since: Option<Duration>,
}

/// How full all tables of failures are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failures {
    pub(super) proven_sources: Fill,
    pub(super) proven_names: Fill,
    pub(super) unproven_sources: Fill,
    pub(super) unproven_names: Fill,
}

impl Failures {
    /// The tables of sources, each with its name.
    #[must_use]
    pub fn of_sources(&self) -> [(&'static str, Fill); 2] {
        [("sources", self.proven_sources), ("unproven_sources", self.unproven_sources)]
    }

    /// The tables of names, known and unknown, each with its name. A name that has logged in from a source lately has a
    /// second slot for the failures from there.
    pub fn of_names(&self) -> [(&'static str, Fill); 2] {
        [("names", self.proven_names), ("unproven_names", self.unproven_names)]
    }

    /// The number of blocks in force.
    pub fn blocks(&self) -> u64 {
        self.of_sources().iter().chain(&self.of_names()).map(|(_, fill)| fill.blocked).sum()
    }
}

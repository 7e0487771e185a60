//! The other nodes, as far as this one has heard of them.

use std::time::Duration;

use super::SILENCE_MAX;
use super::message::{Acknowledged, Message};

/// How long a node is remembered after its last message: for longer than a message is good, so that none counts twice.
const MEMORY: Duration = SILENCE_MAX.saturating_mul(3);

/// All that were heard lately.
#[derive(Default)]
pub(super) struct Others(Vec<Other>);

/// Another node, since its start.
pub(super) struct Other {
    id: u64,
    /// The number of its newest message, and the uptime at which that came.
    newest: u64,
    received_at: Duration,
    /// Its batch that was counted last.
    counted: u64,
    /// Whether it has acknowledged the present batch of this node.
    has_acknowledged: bool,
    /// The uptime at which it acknowledged a batch that was then the present one.
    acknowledged_at: Option<Duration>,
    /// The uptime since which it has done so without a long silence.
    since: Duration,
}

/// What is new in a message.
pub(super) struct Received {
    /// Whether its batch was not counted yet.
    pub(super) is_new_batch: bool,
    /// Whether its sender counts together with this node.
    pub(super) is_member: bool,
}

impl Others {
    /// Notes a message, while the batch of this number is present; `None` if it is no newer than another of its sender.
    pub(super) fn receive(
        &mut self,
        message: &Message,
        batch: Acknowledged,
        uptime: Duration,
        window: Duration,
    ) -> Option<Received> {
        let index = self.0.iter().position(|other| other.id == message.sender).unwrap_or_else(|| {
            self.0.push(Other::new(message.sender));
            self.0.len() - 1
        });
        let other = self.0.get_mut(index)?;
        if message.number <= other.newest {
            return None;
        }
        (other.newest, other.received_at) = (message.number, uptime);
        if message.acknowledged.contains(&batch) {
            other.acknowledge(uptime);
        }
        let is_new_batch = message.batch > other.counted;
        other.counted = message.batch;
        Some(Received { is_new_batch, is_member: other.is_member(uptime, window) })
    }

    /// Forgets those that were not heard for so long that none of their messages is good any more.
    pub(super) fn forget_the_silent(&mut self, uptime: Duration) {
        self.0.retain(|other| uptime.saturating_sub(other.received_at) < MEMORY);
    }

    /// What this node has of each.
    pub(super) fn acknowledged(&self) -> impl Iterator<Item = Acknowledged> {
        self.0.iter().map(|other| Acknowledged { node: other.id, batch: other.counted })
    }

    /// How many have acknowledged something lately.
    pub(super) fn reachable(&self, uptime: Duration) -> usize {
        self.0.iter().filter(|other| other.is_reachable(uptime)).count()
    }

    /// How many have done so for at least this window.
    pub(super) fn members(&self, uptime: Duration, window: Duration) -> usize {
        self.0.iter().filter(|other| other.is_member(uptime, window)).count()
    }

    /// Whether all of those that are reachable have acknowledged the present batch.
    pub(super) fn all_know(&self, uptime: Duration) -> bool {
        self.0.iter().filter(|other| other.is_reachable(uptime)).all(|other| other.has_acknowledged)
    }

    /// Notes that there is another batch.
    pub(super) fn begin_batch(&mut self) {
        self.0.iter_mut().for_each(|other| other.has_acknowledged = false);
    }
}

impl Other {
    fn new(id: u64) -> Self {
        Self {
            id,
            newest: 0,
            received_at: Duration::ZERO,
            counted: 0,
            has_acknowledged: false,
            acknowledged_at: None,
            since: Duration::ZERO,
        }
    }

    fn acknowledge(&mut self, uptime: Duration) {
        if !self.is_reachable(uptime) {
            self.since = uptime;
        }
        (self.has_acknowledged, self.acknowledged_at) = (true, Some(uptime));
    }

    fn is_reachable(&self, uptime: Duration) -> bool {
        self.acknowledged_at.is_some_and(|at| uptime.saturating_sub(at) < SILENCE_MAX)
    }

    fn is_member(&self, uptime: Duration, window: Duration) -> bool {
        self.is_reachable(uptime) && uptime.saturating_sub(self.since) >= window
    }
}

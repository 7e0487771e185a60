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
    /// The nodes that it has acknowledged in its newest message.
    hears: Vec<u64>,
}

impl Others {
    /// Notes a message of this age, while this batch is the present one. If its own batch was not counted yet, gives
    /// whether its sender has been reachable for a window. One that is no newer than another of its sender is ignored.
    pub(super) fn receive(
        &mut self,
        message: &Message,
        present: Acknowledged,
        uptime: Duration,
        age: Duration,
        window: Duration,
    ) -> Option<bool> {
        let index = self.0.iter().position(|other| other.id == message.sender).unwrap_or_else(|| {
            self.0.push(Other::new(message.sender));
            self.0.len() - 1
        });
        let other = self.0.get_mut(index).filter(|other| message.number > other.newest)?;
        (other.newest, other.received_at) = (message.number, uptime);
        other.hears = message.acknowledged.iter().map(|it| it.node).collect();
        if message.acknowledged.contains(&present) {
            other.acknowledge(uptime.saturating_sub(age));
        }
        let is_new_batch = message.batch > other.counted;
        other.counted = message.batch;
        is_new_batch.then(|| other.is_settled(uptime, window))
    }

    /// Forgets those that were not heard for so long that none of their messages is good any more.
    pub(super) fn forget_the_silent(&mut self, uptime: Duration) {
        self.0.retain(|other| uptime.saturating_sub(other.received_at) < MEMORY);
    }

    /// What this node has of each that it has heard lately.
    pub(super) fn acknowledged(&self, uptime: Duration) -> impl Iterator<Item = Acknowledged> {
        let heard = self.0.iter().filter(move |other| uptime.saturating_sub(other.received_at) < SILENCE_MAX);
        heard.map(|other| Acknowledged { node: other.id, batch: other.counted })
    }

    /// How many have acknowledged something lately.
    pub(super) fn reachable(&self, uptime: Duration) -> usize {
        self.0.iter().filter(|other| other.is_reachable(uptime)).count()
    }

    /// How many have done so for at least this window. There are none while one of them hears a node that this one does
    /// not hear: members of a pool hear each other, or else they would have more than the budget together.
    pub(super) fn members(&self, own: u64, uptime: Duration, window: Duration) -> usize {
        let is_heard = |id: &u64| *id == own || self.0.iter().any(|other| other.id == *id);
        let reachable = || self.0.iter().filter(|other| other.is_reachable(uptime));
        if !reachable().all(|other| other.hears.iter().all(is_heard)) {
            return 0;
        }
        reachable().filter(|other| other.is_settled(uptime, window)).count()
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
            hears: Vec::new(),
        }
    }

    fn acknowledge(&mut self, at: Duration) {
        if !self.is_reachable(at) {
            self.since = at;
        }
        (self.has_acknowledged, self.acknowledged_at) = (true, self.acknowledged_at.max(Some(at)));
    }

    fn is_reachable(&self, uptime: Duration) -> bool {
        self.acknowledged_at.is_some_and(|at| uptime.saturating_sub(at) < SILENCE_MAX)
    }

    /// Whether it has been reachable for a window.
    fn is_settled(&self, uptime: Duration, window: Duration) -> bool {
        self.is_reachable(uptime) && uptime.saturating_sub(self.since) >= window
    }
}

//! What the logins of all doors share: who may log in, what failures cost, whom they block, and how many connections
//! there may be.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::info;

use crate::age::Confirmation;
use crate::log::BlockLog;
use crate::net::connections::Connections;
use proto::Now;
use proto::mechanism::Mechanisms;
use proto::server::Keys;
use proto::server::penalty::Penalties;
use proto::users::Users;

/// What the logins of all doors share.
pub(crate) struct Directory {
    /// A reload puts others in their place.
    pub(crate) users: ArcSwap<Users>,
    pub(crate) reloads: Reloads,
    pub(crate) confirmation: Confirmation,
    pub(crate) nodes: Nodes,
    pub(crate) penalties: Arc<Penalties>,
    /// What is spoken, unless that follows from the users.
    pub(crate) mechanisms: Option<Mechanisms>,
    /// The caps on connections over TCP.
    pub(crate) connections: Connections,
    pub(crate) blocks: Arc<BlockLog>,
    pub(crate) keys: Keys,
}

impl Directory {
    /// Divides the limits per user among the nodes that were counted.
    pub(crate) fn divide(&self, counted: Option<NonZeroU32>) {
        if let Some(nodes) = self.nodes.update(counted) {
            self.penalties.divide(nodes);
            info!("limits per user are divided among this number of nodes: {nodes}");
        }
    }

    /// Forgets all failed logins, and so lifts all blocks. Returns how many there were.
    pub(crate) fn lift_blocks(&self, uptime: Duration) -> u64 {
        let lifted = self.penalties.count(uptime).blocks();
        self.penalties.lift();
        self.users.load().forget_guesses();
        self.blocks.lift();
        lifted
    }
}

/// Among how many nodes the limits per user are divided.
pub(crate) struct Nodes {
    /// As many as the operator has said there are at least.
    least: NonZeroU32,
    present: AtomicU32,
}

impl Nodes {
    pub(crate) fn at_least(least: NonZeroU32) -> Self {
        Self { least, present: 1.into() }
    }

    pub(crate) fn present(&self) -> u32 {
        self.present.load(Ordering::Relaxed)
    }

    /// Takes what was counted, and gives the number if it is another than before. What is not known changes nothing.
    fn update(&self, counted: Option<NonZeroU32>) -> Option<NonZeroU32> {
        let known = counted.or(NonZeroU32::new(self.present())).unwrap_or(NonZeroU32::MIN);
        let nodes = known.max(self.least);
        (self.present.swap(nodes.get(), Ordering::Relaxed) != nodes.get()).then_some(nodes)
    }
}

/// The results of reloading the users file. Only the main thread takes the lock.
#[derive(Default)]
pub(crate) struct Reloads(Mutex<Reloaded>);

/// The reloads since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reloaded {
    pub(crate) successes: u64,
    pub(crate) failures: u64,
    pub(crate) last: Option<LastReload>,
}

/// The reload that ended last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastReload {
    pub(crate) at: Now,
    pub(crate) is_ok: bool,
}

impl Reloads {
    pub(crate) fn note(&self, at: Now, is_ok: bool) {
        let mut reloaded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = if is_ok { &mut reloaded.successes } else { &mut reloaded.failures };
        *count += 1;
        reloaded.last = Some(LastReload { at, is_ok });
    }

    pub(crate) fn so_far(&self) -> Reloaded {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_nodes_as_were_counted_last_and_no_fewer_than_was_said() {
        let [two, three, five] = [2, 3, 5].map(|nodes| NonZeroU32::new(nodes).unwrap());
        let nodes = Nodes::at_least(three);
        assert_eq!(nodes.update(None), Some(three));
        assert_eq!(nodes.update(Some(two)), None);
        assert_eq!(nodes.update(Some(five)), Some(five));
        // A file that is gone or damaged changes nothing.
        assert_eq!((nodes.update(None), nodes.present()), (None, 5));
        assert_eq!(nodes.update(Some(two)), Some(three));
        assert_eq!(Nodes::at_least(NonZeroU32::MIN).update(None), None);
    }
}

//! What the logins of all doors share: who may log in, what failures cost, whom they block, and how many connections
//! there may be.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

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
    pub(crate) penalties: Arc<Penalties>,
    /// What is spoken, unless that follows from the users.
    pub(crate) mechanisms: Option<Mechanisms>,
    /// The caps on connections over TCP.
    pub(crate) connections: Connections,
    pub(crate) blocks: Arc<BlockLog>,
    pub(crate) keys: Keys,
}

impl Directory {
    /// Forgets all failed logins, and so lifts all blocks. Returns how many there were.
    pub(crate) fn lift_blocks(&self, uptime: Duration) -> u64 {
        let lifted = self.penalties.count(uptime).blocks();
        self.penalties.lift();
        self.users.load().forget_guesses();
        self.blocks.lift();
        lifted
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

//! What is to be told to other nodes: workers put it here, and nobody waits for it.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::short_name::ShortName;

/// Failures that wait to be told. More count at this node alone.
const FAILURES_MAX: usize = 1024;
/// Logins that wait to be told. Of more, other nodes do not hear.
const LOGINS_MAX: usize = 4096;

/// A source, as its hashes are made.
pub(crate) type SourceOctets = [u8; 17];

/// A source from which a user has logged in.
#[derive(Clone, Copy)]
pub(crate) struct Login {
    pub(crate) name: ShortName,
    pub(crate) source: SourceOctets,
}

/// Failures and logins, in places that are there from the start.
pub(crate) struct Outbox(Mutex<Queues>);

struct Queues {
    failures: Vec<ShortName>,
    logins: VecDeque<Login>,
}

impl Outbox {
    /// The size in bytes, with a room for failures that are being told.
    pub(crate) const BYTES: usize =
        2 * FAILURES_MAX * size_of::<ShortName>() + LOGINS_MAX * size_of::<Login>();

    pub(crate) fn new() -> Self {
        let (failures, logins) = (Self::room(), VecDeque::with_capacity(LOGINS_MAX));
        Self(Mutex::new(Queues { failures, logins }))
    }

    /// A place for as many failures as may wait.
    pub(crate) fn room() -> Vec<ShortName> {
        Vec::with_capacity(FAILURES_MAX)
    }

    /// Notes a failure, unless another thread is here: then it stays untold.
    pub(crate) fn failed(&self, name: &str) {
        if let Ok(mut queues) = self.0.try_lock()
            && queues.failures.len() < FAILURES_MAX
        {
            queues.failures.push(ShortName::new(name));
        }
    }

    /// Notes a login.
    pub(crate) fn logged_in(&self, name: &str, source: SourceOctets) {
        let mut queues = self.queues();
        if queues.logins.len() < LOGINS_MAX {
            queues.logins.push_back(Login { name: ShortName::new(name), source });
        }
    }

    /// Takes all failures in the place of an empty [`room`](Self::room).
    pub(crate) fn take_failures(&self, room: Vec<ShortName>) -> Vec<ShortName> {
        mem::replace(&mut self.queues().failures, room)
    }

    /// Takes the first logins, up to this many.
    pub(crate) fn take_logins(&self, max: usize) -> Vec<Login> {
        let logins = &mut self.queues().logins;
        let count = logins.len().min(max);
        logins.drain(..count).collect()
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

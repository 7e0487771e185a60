//! What keeps another history from taking users away: a set with fewer than half of them waits for SIGHUP.

use std::time::Duration;

use tracing::{info, warn};
use users::counted;
use users::synced::Position;

use super::Follower;
use super::error::FollowError;
use crate::folder::ReadError;

/// How often a set of users that waits for SIGHUP is counted again.
pub(super) const HELD_WAIT: Duration = Duration::from_secs(60);

/// A set of users that has too few.
pub(super) struct Held {
    pub(super) position: Position,
    pub(super) since: Duration,
}

impl Follower {
    /// Takes the next set of users, even if it has fewer than half as many.
    pub(crate) fn accept(&mut self) {
        if self.held.take().is_some() {
            info!("SIGHUP: the users of the database are taken");
            self.is_accepted = true;
        } else {
            info!("SIGHUP: no set of users waits for it");
        }
    }

    /// How many users there are, if these are fewer than half of them, and nobody has accepted that.
    pub(super) fn before_too_few(&self, users: u64) -> Result<Option<u64>, FollowError> {
        let is_too_few = |before: &u64| users < before.div_ceil(2);
        // All users are read only if there may be too few.
        let at_most = self.folder.users_at_most();
        if self.is_accepted || !is_too_few(&at_most) {
            return Ok(None);
        }
        match self.folder.users() {
            Ok(before) => Ok(Some(before).filter(is_too_few)),
            // They cannot be counted any more.
            Err(ReadError::Damaged(_)) => Ok(Some(at_most)),
            Err(ReadError::Io(error)) => Err(error.into()),
        }
    }

    /// Keeps the users that are there until SIGHUP.
    pub(super) fn hold(&mut self, position: Position, since: Duration, before: u64, users: usize) {
        self.held = Some(Held { position, since });
        self.status.send_modify(|status| status.held_users = Some(users as u64));
        warn!(
            "the database has another history and only {} of {before}: these stay until SIGHUP takes the others",
            counted(users)
        );
    }
}

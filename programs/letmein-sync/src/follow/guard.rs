//! What keeps another history from taking users away: a set with fewer than half of them waits for SIGHUP.

use std::time::Duration;

use tracing::{info, warn};
use users::counted;
use users::synced::Position;

use super::Follower;
use super::error::FollowError;
use crate::folder::ReadError;

/// How often a set of users that waits for SIGHUP is counted again.
const HELD_WAIT: Duration = Duration::from_secs(60);

/// A set of users that has too few.
pub(super) struct Held {
    position: Position,
    since: Duration,
}

/// The users of files that were damaged.
#[derive(Clone, Copy)]
pub(super) struct Lost {
    pub(super) position: Position,
    /// How many there were at most.
    users: u64,
}

/// Where users that are loaded come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    /// The history of the users before them, of which any change is taken.
    Same,
    /// Another one, or there were no users before.
    Other,
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

    /// Notes the users that are there before a look at the files that may find fewer.
    pub(super) fn note_lost(&mut self) {
        if let Some(position) = self.folder.position() {
            self.lost = Some(Lost { position, users: self.users_at_most() });
        }
    }

    /// How many users there are at most, or were until their files were damaged.
    fn users_at_most(&self) -> u64 {
        self.folder.users_at_most().max(self.lost.map_or(0, |lost| lost.users))
    }

    /// Whether a set of users that waits for SIGHUP is left alone for now.
    pub(super) fn waits(&self, head: Position, now: Duration) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| held.position == head || now.saturating_sub(held.since) < HELD_WAIT)
    }

    /// How many users there are, if these are fewer than half of them, and nobody has accepted that.
    pub(super) fn before_too_few(&self, users: u64) -> Result<Option<u64>, FollowError> {
        let is_too_few = |before: &u64| users < before.div_ceil(2);
        // All users are read only if there may be too few.
        let at_most = self.users_at_most();
        if self.is_accepted || !is_too_few(&at_most) {
            return Ok(None);
        }
        // They cannot be counted any more.
        if self.lost.is_some() {
            return Ok(Some(at_most));
        }
        match self.folder.users() {
            Ok(before) => Ok(Some(before).filter(is_too_few)),
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

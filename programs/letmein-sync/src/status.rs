//! How far this node is: for the log, metrics and health.

use std::num::NonZeroU32;
use std::time::Duration;

use users::synced::Position;

/// What is known of this node and of the database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// Where the users in the folder are; `None` if there are none.
    pub(crate) position: Option<Position>,
    /// Where the database was when it was last asked.
    pub(crate) head: Option<Position>,
    /// When the users were last as the database had them, in seconds since 1970-01-01 UTC.
    pub(crate) confirmed_unix_s: Option<u64>,
    /// How many users the database has, if a set of them waits for a SIGHUP.
    pub(crate) held_users: Option<u64>,
    /// How many nodes follow the database, as it was last counted.
    pub(crate) nodes: Option<NonZeroU32>,
    /// How often all users were loaded.
    pub(crate) loads: u64,
    /// How often changes were taken.
    pub(crate) batches: u64,
    /// Rows that were no users, since the start.
    pub(crate) invalid_rows: u64,
    /// Attempts that failed, since the start.
    pub(crate) failures: u64,
    /// Why the last attempt failed, if it did.
    pub(crate) error: Option<String>,
    /// What came of the exchange of failed logins, if there is one.
    pub(crate) exchanged: Option<Exchanged>,
}

/// What came of the exchange of failed logins, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Exchanged {
    /// How often messages were carried, for one server each time.
    pub(crate) rounds: u64,
    /// How often they were not.
    pub(crate) failures: u64,
}

impl Status {
    /// How many revisions the users are behind the database.
    pub(crate) fn lag(&self) -> u64 {
        let revision = |position: Option<Position>| position.map_or(0, |position| position.revision);
        revision(self.head).saturating_sub(revision(self.position)).try_into().unwrap_or(0)
    }

    /// How old the users are; `None` if there are none, or none that were compared with the database.
    pub(crate) fn age(&self, now_unix_s: u64) -> Option<Duration> {
        Some(Duration::from_secs(now_unix_s.saturating_sub(self.confirmed_unix_s?)))
    }

    /// How it goes, once there are users. Anybody may read what a service manager is told, so only the log says what is
    /// wrong.
    pub(crate) fn summary(&self) -> Option<&'static str> {
        self.position?;
        Some(match (self.held_users, &self.error) {
            (Some(_), _) => "a set of users waits for SIGHUP",
            (None, Some(_)) => "not following the database: the log says why",
            (None, None) if self.head.is_none() => "the database has not answered yet",
            (None, None) => "following the database",
        })
    }

    /// Whether all is well, or what is not.
    pub(crate) fn health(&self, stale_after: Duration, now_unix_s: u64) -> Result<String, String> {
        if let Some(users) = self.held_users {
            return Err(format!("the database has only {users} users, which wait for SIGHUP"));
        }
        let age = match (self.position, self.age(now_unix_s)) {
            (None, _) => return Err("no users yet".to_owned()),
            (Some(_), None) => return Err("the users were not compared with the database yet".to_owned()),
            (Some(_), Some(age)) => age.as_secs(),
        };
        if age > stale_after.as_secs() {
            Err(format!("the users are {age} s old"))
        } else {
            Ok(format!("ok: the users are {age} s old"))
        }
    }
}

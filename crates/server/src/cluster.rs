//! The keys that the servers of a cluster share: which count, and whether the clock lets this server use them.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::pending;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::directory::Directory;
use crate::net::clock::Clock;
use proto::Now;
use proto::users::Users;
use users::second_text;

/// How often the state is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Why a server that was given keys of a cluster uses its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotShared {
    /// Challenges that were issued before would be accepted again.
    #[error(
        "the clock was set back, so other servers do not accept the challenges of this one: set the clock right; if it \
         was ahead before, also add a key (letmein-users keys add) and restart the server"
    )]
    SetBack,
    /// The file was made for later.
    #[error(
        "no key of the cluster is active yet, so other servers do not accept the challenges of this one: wait until one \
         is, or check the clock"
    )]
    TooEarly,
}

/// Whether the servers of a cluster share keys now; `None` without such keys.
pub(crate) fn state(users: &Users, now: Now) -> Option<Result<(), NotShared>> {
    let keyring = users.keyring()?;
    Some(match now.cluster_s {
        None => Err(NotShared::SetBack),
        Some(second) => keyring.active(second).map(|_| ()).ok_or(NotShared::TooEarly),
    })
}

/// Logs the ids of the keys that are active now and later, if there are any, and that of the key of the records, which
/// goes into what is shared of logins by OPAQUE.
pub(crate) fn log_keys(users: &Users, now: Now) {
    let Some(keyring) = users.keyring() else { return };
    let active = now.cluster_s.and_then(|second| keyring.active(second));
    let mut line = active.map_or_else(|| "none active".to_owned(), |id| format!("{id} active"));
    // Writing to a string cannot fail.
    for (from, id) in keyring.ids().iter().filter(|(from, _)| *from > now.unix_s) {
        let _ = write!(line, ", {id} from {}", second_text(*from).unwrap_or_default());
    }
    if let Some(id) = users.key_id() {
        let _ = write!(line, "; key of the records: {id}");
    }
    info!("keys of the cluster: {line}");
}

/// Logs whether this server shares the keys whenever that changes, for as long as it runs.
pub(crate) async fn follow(directory: Option<&Directory>, clock: Clock) -> Infallible {
    let Some(directory) = directory else { return pending().await };
    let mut every = interval(CHECK_INTERVAL);
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut before = Ok(());
    loop {
        every.tick().await;
        let state = state(&directory.users.load(), clock.now()).unwrap_or(Ok(()));
        if state != before {
            match state {
                Err(reason) => warn!("{reason}"),
                Ok(()) => info!("other servers accept the challenges of this one again"),
            }
            before = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_at(from_unix_s: u64, now: Now) -> Option<Result<(), NotShared>> {
        let line = format!("{} {}", second_text(from_unix_s).unwrap(), "A".repeat(43));
        let keys = users::parse_cluster_keys(&line).unwrap();
        let users = users::parse("[users]\nalice = 'hers'").unwrap();
        state(&users.with_cluster_keys(Some(keys)), now)
    }

    #[test]
    fn keys_are_shared_once_one_is_active_unless_the_clock_was_set_back() {
        let now = Now::new(Duration::ZERO, 1000);
        assert_eq!(state_at(1000, now), Some(Ok(())));
        assert_eq!(state_at(1001, now), Some(Err(NotShared::TooEarly)));
        assert_eq!(state_at(1000, Now { cluster_s: None, ..now }), Some(Err(NotShared::SetBack)));
        assert_eq!(state(&users::parse("[users]\nalice = 'hers'").unwrap(), now), None);
    }
}

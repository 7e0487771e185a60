//! The keys that the servers of a cluster share: which count, and whether the clock lets this server use them.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::directory::Directory;
use crate::net::clock::Clock;
use proto::Now;
use proto::server::keyring::{ClusterKeyId, Keyring};
use proto::users::Users;
use users::second_text;

/// How often the state is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Why a server that was given keys of a cluster uses its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Alone {
    /// What was issued before would be good again.
    #[error(
        "the clock was set back, so challenges are good at this server alone: set the clock right, and restart the \
         server if the clock was ahead before"
    )]
    SetBack,
    /// The file was made for later.
    #[error(
        "no key of the cluster counts yet, so challenges are good at this server alone: is the clock right?"
    )]
    TooEarly,
}

/// Whether the servers of a cluster share keys now; `None` without such keys.
pub(crate) fn state(users: &Users, now: Now) -> Option<Result<(), Alone>> {
    let keyring = users.keyring()?;
    Some(match now.cluster_s {
        None => Err(Alone::SetBack),
        Some(second) if present(keyring, second).is_none() => Err(Alone::TooEarly),
        Some(_) => Ok(()),
    })
}

/// Logs the keys that count now and later, if there are any, by what they are known by.
pub(crate) fn log_keys(users: &Users, now: Now) {
    let Some(keyring) = users.keyring() else { return };
    let mut line = String::from("keys of the cluster:");
    if let Some(id) = present(keyring, now.unix_s) {
        // Writing to a string cannot fail.
        let _ = write!(line, " {id} counts;");
    }
    for (from, id) in keyring.ids().iter().filter(|(from, _)| *from > now.unix_s) {
        let _ = write!(line, " {id} from {};", second_text(*from).unwrap_or_default());
    }
    info!("{}", line.trim_end_matches(';'));
}

/// Logs whether this server shares the keys whenever that changes, for as long as it runs.
pub(crate) async fn follow(directory: Option<&Directory>, clock: Clock) -> Infallible {
    let mut every = interval(CHECK_INTERVAL);
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut before = Some(Ok(()));
    loop {
        every.tick().await;
        let Some(directory) = directory else { continue };
        let state = state(&directory.users.load(), clock.now());
        if state != before {
            match state {
                Some(Err(alone)) => warn!("{alone}"),
                Some(Ok(())) if before.is_some() => {
                    info!("challenges are good at all servers of the cluster")
                }
                Some(Ok(())) | None => {}
            }
            before = state;
        }
    }
}

/// The key that counts at a second.
fn present(keyring: &Keyring, unix_s: u64) -> Option<ClusterKeyId> {
    keyring.ids().iter().rfind(|(from, _)| *from <= unix_s).map(|(_, id)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_at(from_unix_s: u64, now: Now) -> Option<Result<(), Alone>> {
        let line = format!("{} {}", second_text(from_unix_s).unwrap(), "A".repeat(43));
        let keys = users::parse_cluster_keys(&line).unwrap();
        let users = users::parse("[users]\nalice = 'hers'").unwrap();
        state(&users.with_cluster_keys(Some(keys)), now)
    }

    #[test]
    fn keys_are_shared_once_they_count_unless_the_clock_was_set_back() {
        let now = Now::new(Duration::ZERO, 1000);
        assert_eq!(state_at(1000, now), Some(Ok(())));
        assert_eq!(state_at(1001, now), Some(Err(Alone::TooEarly)));
        assert_eq!(state_at(1000, Now { cluster_s: None, ..now }), Some(Err(Alone::SetBack)));
        assert_eq!(state(&users::parse("[users]\nalice = 'hers'").unwrap(), now), None);
    }
}

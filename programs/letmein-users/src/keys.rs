//! The commands that make and show the keys that the servers of a cluster share.

use std::path::Path;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::{SysError, SysRng};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::change::{say_waiting, unchanged};
use crate::files::Files;
use crate::list::{unix_s, wrong};
use crate::plain::Plain;
use crate::write::{ChangeError, change_cluster_keys};
use crate::{PROGRAM, failed, print, warn};
use letmein::cli::usage::Invalid;
use letmein::cli::{ExitStatus, parse_time, say};
use proto::server::keyring::{CLUSTER_KEY_LEN, ClusterKey};
use users::{CLUSTER_KEYS_MAX, ClusterFile, UsersError, parse_second, second_text};

/// How long a key stays in the file after another has replaced it, in seconds. Logins need it for some seconds, and a
/// server whose clock is late makes challenges with it for longer.
const KEPT_S: u64 = 60 * 60;

/// Why a key is not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(
        "a new key that takes effect before every server has it can make logins fail, so nothing was changed: say when it \
         does, as in --from +1h"
    )]
    AtOnce,
    #[error(
        "{} is not in the future, and a key that takes effect before every server has it can make logins fail, so nothing was \
         changed: give a later second, as in --from +1h", shown(*.0)
    )]
    Past(u64),
    #[error(
        "another key takes effect at {} already, so nothing was changed: give another second with --from",
        shown(*.0)
    )]
    SameSecond(u64),
    #[error(
        "it has {CLUSTER_KEYS_MAX} keys already, the most there may be, so nothing was changed: wait until one has been \
         replaced for an hour, or take out keys that are not active yet, here and at every server"
    )]
    TooMany,
}

/// The text of a second, which is one that a file of keys can have.
fn shown(unix_s: u64) -> String {
    second_text(unix_s).unwrap_or_default()
}

/// Parses when a key takes effect: `+` and a time from now, or a second of UTC. Gives seconds since 1970.
pub(crate) fn parse_from(text: &str) -> Result<u64, Invalid> {
    let in_time = |time: Duration| unix_s() + time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let from_unix_s = match text.strip_prefix('+') {
        Some(time) => parse_time(time).ok().map(in_time),
        None => parse_second(text),
    };
    let remedy = "write + and a time from now, as in +1h, or a second of UTC, as in 2027-01-31T12:00:00Z";
    from_unix_s.ok_or_else(|| Invalid::new("time", text, remedy))
}

/// Adds a key. The first one takes effect now, unless another second is given.
pub(crate) fn add_key(
    files: &Files,
    named: Option<&Path>,
    from_unix_s: Option<u64>,
) -> Result<ExitStatus, ExitStatus> {
    let file = files.cluster_file(named).map_err(|error| wrong(&error))?;
    let bytes = new_bytes().map_err(|error| failed(&format_args!("no random numbers for a key: {error}")))?;
    let refused = |reason| ChangeError::ClusterKey { path: file.path().into(), reason };
    let added = change_cluster_keys(file.path(), &files.users, say_waiting, |keys| {
        add(keys, bytes, from_unix_s, unix_s()).map_err(refused)
    })
    .map_err(|error| unchanged(&error))?;
    warn_of(&file).map_err(|error| wrong(&error))?;
    say_what_to_do(&file, &added);
    print([format!("{}  {}", added.key.id(), shown(added.key.from_unix_s))])
}

/// Says which keys are gone, and what to do before the new one takes effect.
fn say_what_to_do(file: &ClusterFile, Added { key, is_first, over }: &Added) {
    for over in over {
        let (id, from) = (over.id(), shown(over.from_unix_s));
        say(format_args!(
            "{PROGRAM}: took out the key {id} of {from}, which was replaced more than an hour ago"
        ));
    }
    let path = file.path().display().to_string();
    let (path, from) = (Plain(&path), shown(key.from_unix_s));
    if *is_first {
        say(format_args!(
            "{PROGRAM}: copy {path} to every server of the cluster, and start each with --cluster-key FILE"
        ));
    } else {
        say(format_args!(
            "{PROGRAM}: copy {path} to every server of the cluster before {from}: from then on, a login that begins at a \
             server with the key may fail at one without it"
        ));
    }
}

fn new_bytes() -> Result<Zeroizing<[u8; CLUSTER_KEY_LEN]>, SysError> {
    let mut bytes = Zeroizing::new([0; CLUSTER_KEY_LEN]);
    SysRng.try_fill_bytes(&mut *bytes)?;
    Ok(bytes)
}

/// A key that was added.
struct Added {
    key: ClusterKey,
    is_first: bool,
    /// The keys that were taken out.
    over: Vec<ClusterKey>,
}

/// Adds a key, and takes out those that were replaced long ago.
fn add(
    keys: &mut Vec<ClusterKey>,
    bytes: Zeroizing<[u8; CLUSTER_KEY_LEN]>,
    from_unix_s: Option<u64>,
    now_unix_s: u64,
) -> Result<Added, Refused> {
    let is_first = keys.is_empty();
    let from_unix_s = match from_unix_s {
        None if is_first => now_unix_s,
        None => return Err(Refused::AtOnce),
        Some(from) if from <= now_unix_s => return Err(Refused::Past(from)),
        Some(from) if keys.iter().any(|key| key.from_unix_s == from) => {
            return Err(Refused::SameSecond(from));
        }
        Some(from) => from,
    };
    let long_ago = now_unix_s.saturating_sub(KEPT_S);
    let replacement = keys.iter().map(|key| key.from_unix_s).filter(|from| *from < long_ago).max();
    let is_over = |key: &mut ClusterKey| replacement.is_some_and(|from| key.from_unix_s < from);
    let over = keys.extract_if(.., is_over).collect();
    if keys.len() == CLUSTER_KEYS_MAX {
        return Err(Refused::TooMany);
    }
    let key = ClusterKey { from_unix_s, bytes };
    keys.push(key.clone());
    keys.sort_by_key(|key| key.from_unix_s);
    Ok(Added { key, is_first, over })
}

/// Warns of what a server would warn of.
fn warn_of(file: &ClusterFile) -> Result<Vec<ClusterKey>, UsersError> {
    let loaded = file.load()?;
    loaded.warnings.iter().for_each(|warning| warn(Plain(&warning.to_string())));
    Ok(loaded.keys)
}

/// A key, as `keys list` shows it.
#[derive(Serialize)]
struct KeyRow {
    key: String,
    from: String,
    state: &'static str,
}

/// The keys in the order of their times.
fn rows(files: &Files, named: Option<&Path>) -> Result<Vec<KeyRow>, ExitStatus> {
    let file = files.cluster_file(named).map_err(|error| wrong(&error))?;
    let mut keys = warn_of(&file).map_err(|error| wrong(&error))?;
    keys.sort_by_key(|key| key.from_unix_s);
    let now = unix_s();
    let present = keys.iter().map(|key| key.from_unix_s).filter(|from| *from <= now).max();
    let row = |key: &ClusterKey| {
        let state = match key.from_unix_s {
            from if from > now => "pending",
            from if Some(from) == present => "active",
            _ => "retired",
        };
        KeyRow { key: key.id().to_string(), from: shown(key.from_unix_s), state }
    };
    Ok(keys.iter().map(row).collect())
}

pub(crate) fn list_keys(files: &Files, named: Option<&Path>) -> Result<ExitStatus, ExitStatus> {
    let rows = rows(files, named)?;
    let line = |key: &str, from: &str, state: &str| format!("{key:16}  {from:20}  {state}");
    let header = line("KEY", "FROM", "STATE");
    print([header].into_iter().chain(rows.iter().map(|row| line(&row.key, &row.from, row.state))))
}

pub(crate) fn list_keys_json(files: &Files, named: Option<&Path>) -> Result<ExitStatus, ExitStatus> {
    print([serde_json::to_string(&rows(files, named)?).map_err(|error| failed(&error))?])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 2_000_000_000;

    fn key(from_unix_s: u64) -> ClusterKey {
        ClusterKey { from_unix_s, bytes: Zeroizing::new([1; CLUSTER_KEY_LEN]) }
    }

    /// From when the keys count once one has been added to these, and from when those that were taken out did.
    fn added(keys: &[u64], from: Option<u64>) -> Result<(Vec<u64>, Vec<u64>), Refused> {
        let mut keys: Vec<_> = keys.iter().map(|from| key(*from)).collect();
        let added = add(&mut keys, Zeroizing::new([2; CLUSTER_KEY_LEN]), from, NOW)?;
        let seconds = |keys: &[ClusterKey]| keys.iter().map(|key| key.from_unix_s).collect();
        Ok((seconds(&keys), seconds(&added.over)))
    }

    #[test]
    fn the_first_key_is_active_from_now_on_and_all_others_from_a_later_second_that_is_free() {
        assert_eq!(added(&[], None), Ok((vec![NOW], vec![])));
        assert_eq!(added(&[], Some(NOW + 1)), Ok((vec![NOW + 1], vec![])));
        assert_eq!(added(&[NOW - 1], None), Err(Refused::AtOnce));
        assert_eq!(added(&[NOW + 1], None), Err(Refused::AtOnce));
        assert_eq!(added(&[NOW - 1], Some(NOW)), Err(Refused::Past(NOW)));
        assert_eq!(added(&[NOW + 9], Some(NOW + 9)), Err(Refused::SameSecond(NOW + 9)));
        assert_eq!(added(&[NOW + 9, NOW - 1], Some(NOW + 5)), Ok((vec![NOW - 1, NOW + 5, NOW + 9], vec![])));
    }

    #[test]
    fn a_key_is_taken_out_once_it_was_replaced_more_than_an_hour_ago() {
        let (hour, long) = (NOW - KEPT_S, NOW - KEPT_S - 1);
        assert_eq!(added(&[1, 2, hour], Some(NOW + 1)), Ok((vec![2, hour, NOW + 1], vec![1])));
        assert_eq!(added(&[long, 2, 1], Some(NOW + 1)), Ok((vec![long, NOW + 1], vec![2, 1])));
        assert_eq!(added(&[1], Some(NOW + 1)), Ok((vec![1, NOW + 1], vec![])));
    }

    #[test]
    fn there_are_sixteen_keys_at_most_beside_those_that_are_taken_out() {
        let keys: Vec<_> = (1..=16).map(|second| NOW + second).collect();
        assert_eq!(added(&keys, Some(NOW + 17)), Err(Refused::TooMany));
        let keys: Vec<_> = [1, 2].into_iter().chain((1..=14).map(|second| NOW + second)).collect();
        assert_eq!(added(&keys, Some(NOW + 17)).map(|(keys, over)| (keys.len(), over)), Ok((16, vec![1])));
    }

    #[test]
    fn a_time_from_now_is_spelled_as_in_other_options_and_ends_in_a_whole_second() {
        for (text, seconds) in [("+1h", 3600), ("+90", 90), ("+2min", 120), ("+1.5s", 2), ("+1ms", 1)] {
            let (before, from, after) = (unix_s(), parse_from(text).unwrap(), unix_s());
            assert!((before + seconds..=after + seconds).contains(&from), "{text}");
        }
        assert_eq!(parse_from("2033-05-18T03:33:20Z").unwrap(), NOW);
        for text in ["", "+", "1h", "+1y", "-1h", "+-1h", "2033-05-18", "2033-05-18T03:33:20", "now"] {
            assert!(parse_from(text).is_err(), "{text}");
        }
    }
}

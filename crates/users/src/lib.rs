//! Reads `users.toml`, checks it whole, and compares it with what it was before.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod changes;
mod cluster_file;
mod cluster_text;
mod conditions;
mod error;
pub mod file;
mod folder;
mod key_file;
mod key_text;
mod keys;
mod parse;
mod pieces;
mod problem;
mod record_text;
mod source;
pub mod synced;
mod syntax;
mod users_file;

use proto::shown::Shown;

pub use changes::Changes;
pub use cluster_file::{ClusterFile, LoadedClusterKeys, cluster_beside};
pub use cluster_text::{CLUSTER_KEYS_MAX, cluster_keys_text, parse_cluster_keys, parse_second, second_text};
pub use conditions::{NETWORKS, day_of, first_second_after, parse_network};
pub use error::{Content, Distrust, UsersError, Warning, listing};
pub use folder::{Folder, folder_of, open_folder};
pub use key_file::{KeyFile, LoadedKey, key_beside};
pub use key_text::{KeyTextError, key_text, parse_key};
pub use parse::{parse, parse_with_key};
pub use problem::{Problem, locate};
pub use record_text::{
    RECORD_START, RecordTextError, StretchingTextError, parse_record, parse_stretching, record_text,
};
pub use source::{FileStamp, Loaded, Stamp, UserSource};
pub use users_file::{LoadedText, UsersFile, load, load_text};

/// A number of users, in words.
#[must_use]
pub fn counted(users: usize) -> String {
    if users == 1 { "1 user".to_owned() } else { format!("{users} users") }
}

/// Names that are shown of many users.
const NAMES_MAX: usize = 10;

/// How many names there are, and some of them, if there are any.
#[must_use]
pub fn counted_names<'u>(names: impl Iterator<Item = &'u str>) -> Option<String> {
    let mut names: Vec<_> = names.map(|name| Shown(name.as_bytes()).to_string()).collect();
    names.sort();
    let shown = names.get(..names.len().min(NAMES_MAX)).filter(|shown| !shown.is_empty())?;
    let more = if names.len() > NAMES_MAX { ", …" } else { "" };
    Some(format!("{} ({}{more})", counted(names.len()), shown.join(", ")))
}

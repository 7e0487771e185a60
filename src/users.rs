//! Where users come from: `users.toml`, how it is read and how it is changed.

mod changes;
pub(crate) mod edit;
pub(crate) mod entries;
mod file;
mod folder;
pub(crate) mod import;
mod parse;
pub(crate) mod strength;
pub(crate) mod write;

pub(crate) use changes::Changes;
pub use file::{Distrust, Loaded, UsersError, Warning, load};
pub(crate) use file::{Stamp, UsersFile, load_text};
pub(crate) use folder::{folder_of, open_folder};
pub use parse::{Problem, parse};
pub(crate) use parse::{first_second_after, parse_network};

/// A number of users, in words.
pub(crate) fn counted(users: usize) -> String {
    if users == 1 { "1 user".to_owned() } else { format!("{users} users") }
}

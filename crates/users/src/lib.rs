//! Reads `users.toml`, checks it whole, and compares it with what it was before.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod changes;
pub mod file;
mod folder;
mod parse;

pub use changes::Changes;
pub use file::{Distrust, Loaded, UsersError, Warning, load};
pub use file::{Stamp, UsersFile, load_text};
pub use folder::{folder_of, open_folder};
pub use parse::{Problem, parse};
pub use parse::{first_second_after, locate, parse_network};

/// A number of users, in words.
#[must_use]
pub fn counted(users: usize) -> String {
    if users == 1 { "1 user".to_owned() } else { format!("{users} users") }
}

//! Users on disk as a node keeps them: what a database had, and what has changed since.
//!
//! ```text
//! users.base   MAGIC ‖ rows* ‖ end                    all users at a position
//! users.log    MAGIC ‖ start ‖ (rows* ‖ end)*         what has changed since, in batches, each at a position
//!
//! frame        length of the body: 4 ‖ CRC-32 of length, kind and body: 4 ‖ kind: 1 ‖ body
//!   rows       body: rows one after the other
//!   start      body: the position of the base that the log belongs to
//!   end        body: the position of all rows up to here ‖ their number since the last end: 8
//! position     revision: 8 ‖ stamp: 16
//! ```
//!
//! Numbers are little-endian. One program writes both files, and any number of servers read them. A base is put in the
//! place of another whole, and then the log that belongs to it. A log grows at its end, so a batch that has no end yet,
//! or a wrong one, is not there yet.
//!
//! Beside them, `users.nodes` says in decimal digits how many nodes there are. It is put in the place of another whole.

mod frames;
mod log;
mod row;
mod source;

pub use frames::{BaseWriter, DamagedError, LogWriter};
pub use log::{Base, Batches, Changed, Step, read_base, read_changed, read_log};
pub use row::{Credential, Row, RowError};
pub use source::SyncedUsers;

pub use proto::users::OVERLAY_MAX;

/// The name of the file with all users.
pub const BASE_NAME: &str = "users.base";
/// The name of the file with what has changed since.
pub const LOG_NAME: &str = "users.log";

/// The name of the file that says how many nodes keep the same users.
pub const NODES_NAME: &str = "users.nodes";

/// A place in the history of a database: after how many transactions, and in which history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// How many transactions have changed users.
    pub revision: i64,
    /// What the last of them is known by. Another history may come to the same revision, but not to the same stamp.
    pub stamp: [u8; 16],
}

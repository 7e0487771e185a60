//! Users in PostgreSQL: the schema, connections, and changes in an order in which readers miss none.
//!
//! A change takes the next revision with the lock on the row `head`, before any other lock, and keeps it until it ends.
//! So revisions are committed in their order and without gaps, and `revision > mine` finds all that is new. `sql/` has
//! the schema, which also sees to it that SQL by hand does the same.
//!
//! | module | purpose |
//! |---|---|
//! | `settings` | the file that says where the database is |
//! | `tls` | who the database has to be |
//! | `session` | statements, each with a time limit |
//! | `migrations` | the schema, made and brought up to date |
//! | `history` | past changes and nodes, and how they are forgotten |
//! | `rows` | users, read and written |
//! | `reader` | all users at a revision, and what has changed since; messages from node to node |
//! | `writer` | a change, made once whatever becomes of the connection |
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod error;
mod history;
mod migrations;
mod reader;
mod rows;
mod session;
mod settings;
mod tls;
mod writer;

pub use error::EngineError;
pub use history::{ChangesOf, Node, PastChange, PurgeAge, Purged, history, nodes, purge};
pub use migrations::{Migrated, SCHEMA_VERSION, Status, init, migrate, open, status};
pub use reader::{Given, Head, MESSAGE_LEN_MAX, Reader};
pub use rows::{
    EqualLogins, LoginText, NETWORKS_MAX, UserRow, all_users, delete_users, equal_logins, find_users,
    insert_users, record_of_anybody, rename_user, update_users,
};
pub use session::{Parameter, Session};
pub use settings::{Settings, SettingsError};
pub use tokio_postgres::Row;
pub use tokio_postgres::types::Type;
pub use writer::{Changed, Writer};

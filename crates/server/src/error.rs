//! The errors that end a server or keep it from starting: what is wrong, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::log::audit::AuditTarget;
use crate::net::address::Address;
use proto::credentials::Username;
use users::UsersError;

/// An error that ends a server or keeps it from starting.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The users file cannot be used.
    #[error("{0}")]
    Users(#[from] UsersError),
    /// A user has a sample password, which everybody knows, and other machines can reach the server.
    #[error(
        "{}: {user} has a sample password, which everybody knows, and {address} is open to other machines: \
         choose passwords of your own, listen on 127.0.0.1, or insist with --allow-sample-users", path.display()
    )]
    SampleUser {
        /// The users file.
        path: PathBuf,
        /// A user with a sample password.
        user: Username,
        /// The address of the door.
        address: Address,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address of the door.
        address: Address,
        /// The system's error.
        error: io::Error,
    },
    /// The address for monitoring cannot be bound.
    #[error("--http {address}: {error}: give an address of this machine with a port that is free, or port 0")]
    Http {
        /// The address for monitoring.
        address: SocketAddr,
        /// The system's error.
        error: io::Error,
    },
    /// The process cannot change to the user that was asked for.
    #[error("cannot run as {user}: {error}")]
    User {
        /// The name of that user.
        user: String,
        /// The system's error.
        error: io::Error,
    },
    /// The users file has no users.
    #[error("{}: there are no users in it, so nobody can log in: add one with letmein-users add", .0.display())]
    NoUsers(PathBuf),
    /// A reload would remove all users.
    #[error("{}: there are no users in it any more: to have none, start the server anew", .0.display())]
    NoUsersLeft(PathBuf),
    /// The audit cannot be written.
    #[error("audit: {target}: {error}{}", audit_remedy(error))]
    Audit {
        /// The target of the audit.
        target: AuditTarget,
        /// The system's error.
        error: io::Error,
    },
    /// A system call has failed.
    #[error("{0}")]
    System(#[from] io::Error),
}

fn audit_remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied { ": let the server's user write it" } else { "" }
}

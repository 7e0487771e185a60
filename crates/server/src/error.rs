//! Why a server does not start, or does not go on: what is wrong, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::report::audit::AuditTarget;
use proto::credentials::Username;
use users::UsersError;

/// Why a server does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// There is something wrong with the users file.
    #[error("{0}")]
    Users(#[from] UsersError),
    /// Strangers would get in with a password that everybody knows.
    #[error(
        "{}: {user} has a sample password, which everybody knows, and {address} is open to other machines: \
         choose passwords of your own, listen on 127.0.0.1, or insist with --allow-sample-users", path.display()
    )]
    SampleUser {
        /// The users file.
        path: PathBuf,
        /// Somebody in it.
        user: Username,
        /// Where the server was to listen.
        address: SocketAddr,
    },
    /// The address cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// Where the server was to listen.
        address: SocketAddr,
        /// The system's word for it.
        error: io::Error,
    },
    /// The address for monitoring cannot be had.
    #[error("--http {address}: {error}: give an address of this machine with a port that is free, or port 0")]
    Http {
        /// Where its numbers were to be.
        address: SocketAddr,
        /// The system's word for it.
        error: io::Error,
    },
    /// The server cannot be who it is to be.
    #[error("cannot run as {user}: {error}")]
    User {
        /// Who it is to be.
        user: String,
        /// The system's word for it.
        error: io::Error,
    },
    /// Nobody could log in.
    #[error("{}: there are no users in it, so nobody can log in: add one with letmein-users add", .0.display())]
    NoUsers(PathBuf),
    /// A reload would take all users away.
    #[error("{}: there are no users in it any more: to have none, start the server anew", .0.display())]
    NoUsersLeft(PathBuf),
    /// Decisions cannot be written down.
    #[error("audit: {target}: {error}{}", audit_remedy(error))]
    Audit {
        /// Where they were to go.
        target: AuditTarget,
        /// The system's word for it.
        error: io::Error,
    },
    /// The system lacks something.
    #[error("{0}")]
    System(#[from] io::Error),
}

fn audit_remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied { ": let the server's user write it" } else { "" }
}

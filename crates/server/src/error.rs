//! The errors that end a server or keep it from starting: what is wrong, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::log::audit::AuditTarget;
use crate::net::address::Address;
use proto::credentials::Username;
use proto::transport::Transport;
use users::{UsersError, folder_of};

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
    #[error("cannot listen on {address}: {error}{}", bind_remedy(*transport, error))]
    Bind {
        /// The transport of the door.
        transport: Transport,
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
    /// There can be no socket for the exchange of failed logins.
    #[error("--exchange {}: {error}{}", path.display(), exchange_remedy(path, error))]
    Exchange {
        /// The path of the socket.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The process cannot change to the user that was asked for.
    #[error("cannot run as {user}: {error}{}", user_remedy(error))]
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
    #[error("{}: no users are left in it: to serve without users, restart the server", .0.display())]
    NoUsersLeft(PathBuf),
    /// The audit cannot be written.
    #[error("audit: {target}: {error}{}", audit_remedy(target, error))]
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

fn user_remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        ": only root can change the user: leave out --user, or start it as root"
    } else {
        ""
    }
}

fn exchange_remedy(path: &Path, error: &io::Error) -> String {
    use io::ErrorKind::{AddrInUse, NotFound, PermissionDenied};
    let folder = folder_of(path).display().to_string();
    if error.kind() == AddrInUse {
        ": another server or file is there: give each server a path of its own".to_owned()
    } else if error.kind() == NotFound {
        format!(": create the folder {folder}, and let the server's user write there")
    } else if error.kind() == PermissionDenied {
        format!(": let the server's user write to the folder {folder}")
    } else {
        String::new()
    }
}

fn audit_remedy(target: &AuditTarget, error: &io::Error) -> String {
    let AuditTarget::File(path) = target else { return String::new() };
    let folder = folder_of(path);
    if error.kind() == io::ErrorKind::NotFound && !folder.exists() {
        format!(": create the folder {}, and let the server's user write there", folder.display())
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        ": let the server's user write it".to_owned()
    } else {
        String::new()
    }
}

/// What to do about an address that cannot be bound, for the end of the message.
#[must_use]
pub fn bind_remedy(transport: Transport, error: &io::Error) -> &'static str {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) {
        return ": this machine has no IPv6: give an IPv4 address, as in 0.0.0.0:8591";
    }
    if error.kind() == AddrInUse {
        return match transport {
            Transport::Udp => ": `ss -lnup` shows by which program",
            Transport::Tcp => ": `ss -lntp` shows by which program",
        };
    }
    let remedies = [
        (AddrNotAvailable, ": this machine does not have the address: `ip address` lists those it has"),
        (PermissionDenied, ": a port below 1024 needs root"),
    ];
    remedies.into_iter().find(|(kind, _)| *kind == error.kind()).map_or("", |(_, remedy)| remedy)
}

//! What can be tried without serving: the files that a server needs, and its sandbox.

use std::os::fd::OwnedFd;
use std::path::Path;

use tracing::warn;

use crate::announce::{Crowd, warn_of_no_limits, warn_of_unspoken};
use crate::error::ServerError;
use crate::log::audit::AuditTarget;
use crate::net::clock::Clock;
use crate::priority::yield_to_logins;
use crate::privileges::{become_user, network};
use crate::reload::{CheckedSource, source};
use crate::sandbox::self_test::SelfTest;
use crate::sandbox::{self, Needs};
use crate::settings::{self, Config, Logins, Service};
use proto::users::{Denial, Users};
use users::{Content, UsersError, counted_names};

/// Checks the files that a server needs, and returns its settings with the number of its users. It binds no socket, so
/// another server may be running, and makes no file. Afterwards this process has the rights that the server would have.
///
/// # Errors
/// The server could not start, or could not read its files again.
pub fn files(config: &Config) -> Result<Vec<(&'static str, String)>, ServerError> {
    // It is run beside a server before a reload.
    yield_to_logins();
    let mut settings = settings::of(config);
    if let Some(crowd) = Crowd::of(config) {
        crowd.warn();
    }
    warn_of_no_limits(config);
    if let Service::Logins(logins) = &config.service {
        let Logins { users: path, audit, mechanisms, .. } = logins;
        let mut checked = CheckedSource::of(logins, config)?;
        let (users, _) = checked.load()?;
        if users.is_empty() {
            return Err(ServerError::NoUsers(path.clone()));
        }
        settings.push(("users", users.len().to_string()));
        warn_of_denied(path, &users);
        warn_of_unspoken(*mechanisms, &users);
        let folder = audit.as_ref().map(audit_folder).transpose()?.flatten();
        become_user(config)?;
        checked.source.settle()?;
        if let (Some(target), Some(folder)) = (audit, folder) {
            target.check(&folder).map_err(|error| ServerError::Audit { target: target.clone(), error })?;
        }
    } else {
        become_user(config)?;
    }
    Ok(settings)
}

/// Warns of users and old passwords whose time is over, and of a file by which nobody can log in.
fn warn_of_denied(path: &Path, users: &Users) {
    let (path, now) = (path.display(), Clock::start().now().unix_s);
    let denied: Vec<_> = users.denied(now).collect();
    let expired = denied.iter().filter(|(_, denial)| *denial == Denial::Expired).map(|(name, _)| *name);
    if let Some(expired) = counted_names(expired) {
        warn!("{path}: expired, so their logins are refused: {expired}");
    }
    if let Some(ended) = counted_names(users.ended_old_passwords(now)) {
        warn!(
            "{path}: old passwords that are refused by now, and double the work of each login: {ended}; take them out \
             with letmein-users passwd NAME --drop-old"
        );
    }
    if denied.len() == users.len() {
        warn!("{path}: all users are disabled or expired: nobody can log in");
    }
}

/// Tries forbidden acts in the sandbox of a server with this configuration. Returns a line for each attempt, and
/// whether it was refused.
///
/// # Errors
/// There can be no sandbox, or the server would not use the users file.
pub fn sandbox(config: &Config) -> Result<Vec<(String, bool)>, ServerError> {
    let (read, append) = match &config.service {
        Service::Logins(logins) => {
            let read = match source(logins, config) {
                Ok(source) => source.needs()?.into_iter().map(|folder| folder.descriptor).collect(),
                // A missing users file does not keep the sandbox from being tested.
                Err(ServerError::Users(UsersError::Unreadable { content: Content::Users, .. })) => Vec::new(),
                Err(error) => return Err(error),
            };
            let append = logins.audit.as_ref().map(audit_folder).transpose()?.flatten();
            (read, append.into_iter().collect())
        }
        Service::Small(..) => (Vec::new(), Vec::new()),
    };
    let needs = Needs { read, append, keep: Vec::new(), network: network(config) };
    let test = SelfTest::prepare(&needs)?;
    sandbox::enter(config.sandbox, &needs)?;
    Ok(test.run().iter().map(|attempt| (attempt.to_string(), attempt.is_refused())).collect())
}

fn audit_folder(target: &AuditTarget) -> Result<Option<OwnedFd>, ServerError> {
    target.folder().map_err(|error| ServerError::Audit { target: target.clone(), error })
}

//! The rights that a server gives up before it serves.

use std::os::fd::OwnedFd;

use tracing::warn;

use crate::error::ServerError;
use crate::log::audit::AuditWriter;
use crate::reload::WatchedSource;
use crate::sandbox::{self, Needs, Network};
use crate::settings::Config;
use proto::transport::Transport;

/// Changes the user and enters the sandbox.
pub(crate) fn give_up(
    config: &Config,
    source: Option<&WatchedSource>,
    writer: Option<&mut AuditWriter>,
) -> Result<(), ServerError> {
    let needed = source.map_or(Ok(Vec::new()), |source| source.checked.source.needs())?;
    become_user(config)?;
    let mut append = Vec::new();
    if let Some(writer) = writer {
        let opened = writer.open();
        opened.map_err(|error| ServerError::Audit { target: writer.target().clone(), error })?;
        append.extend(writer.folder().map(OwnedFd::try_clone).transpose()?);
        if writer.folder().is_some_and(|folder| needed.iter().any(|needed| needed.is(folder))) {
            warn!(
                "the audit is in the folder of the users file, so the sandbox lets the server write there: \
                 move the audit to a folder of its own"
            );
        }
    }
    let read = needed.into_iter().map(|folder| folder.descriptor).collect();
    Ok(sandbox::enter(config.sandbox, &Needs { read, append, keep: Vec::new(), network: network(config) })?)
}

pub(crate) fn become_user(config: &Config) -> Result<(), ServerError> {
    let Some(user) = &config.user else { return Ok(()) };
    sandbox::become_user(user).map_err(|error| ServerError::User { user: user.clone(), error })
}

pub(crate) fn network(config: &Config) -> Network {
    if config.threads(Transport::Udp) > 0 { Network::Datagrams } else { Network::Connections }
}

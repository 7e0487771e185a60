//! What happened → log lines on standard error.

use std::io;
use std::net::SocketAddr;

use tracing::{debug, warn};

use crate::auth::recent::Sighting;
use crate::auth::server::{Event, Refusal};
use crate::net::Transport;
use crate::net::connections::Full;

/// Reports what came of a message. No name that a stranger sent is shown, since people type passwords there.
pub(crate) fn event(transport: Transport, peer: SocketAddr, event: &Event<'_>) {
    match event {
        Event::Malformed(reason) => debug!("{transport} {peer}: malformed: {reason}"),
        Event::Challenged => debug!("{transport} {peer}: sent a challenge"),
        Event::Rechallenged => debug!("{transport} {peer}: answered an old challenge, sent a new one"),
        Event::Welcomed { user, sighting: Sighting::First } => {
            debug!("{transport} {peer}: {user} is welcome")
        }
        Event::Welcomed { user, sighting: Sighting::Repeat } => {
            debug!("{transport} {peer}: {user} is welcome, as said before");
        }
        Event::Refused(Refusal::UnknownUser) => debug!("{transport} {peer}: refused an unknown user"),
        Event::Refused(Refusal::WrongPassword { user }) => {
            debug!("{transport} {peer}: refused {user}: wrong password");
        }
        Event::Refused(Refusal::Denied { user, denial }) => {
            debug!("{transport} {peer}: refused {user}: {denial}")
        }
    }
}

pub(crate) fn turned_away(peer: SocketAddr, full: Full) {
    debug!("TCP {peer}: turned away: {full}");
}

pub(crate) fn connection_lost(peer: SocketAddr, error: &io::Error) {
    debug!("TCP {peer}: connection lost: {error}");
}

pub(crate) fn socket_error(transport: Transport, error: &io::Error) {
    warn!("{transport} socket: {error}; going on");
}

pub(crate) fn unsent(error: &io::Error) {
    debug!("UDP: a reply could not be sent: {error}");
}

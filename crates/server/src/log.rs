//! The log and the audit: both are written from the events of the protocol and the errors of sockets.

pub(crate) mod audit;
mod blocks;
mod budget;
mod lines;
mod stderr;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use siphasher::sip::SipHasher24;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::{debug, info, warn};

use crate::counters::Counters;
use crate::net::address::SocketKind;
use proto::mechanism::Mechanism;
use proto::origin::Origin;
use proto::server::event::{Event, Reaction, Reason, Refusal};
use proto::server::penalty::{Blocks, Scope};
use proto::server::recent::Sighting;
use proto::shown::Shown;
use proto::small;
use proto::users::PasswordAge;
use proto::{Now, Peer};

use audit::{Audit, Decision};
pub(crate) use blocks::BlockLog;
use blocks::Followed;
pub(crate) use lines::Lines;
pub use lines::Verbosity;
pub use stderr::{LOG_LINES, LogFormat, log_to_stderr};

/// The log and the audit of logins, which all doors of a server share.
#[derive(Clone)]
pub(crate) struct EventLog {
    unknown_names: UnknownNames,
    keyed: SipHasher24,
    audit: Option<Audit>,
    blocks: Arc<BlockLog>,
}

/// The log, the audit and the counters of one worker.
pub(crate) struct WorkerLog {
    log: EventLog,
    kind: SocketKind,
    counters: Arc<Counters>,
}

/// How unknown names are logged. People type passwords where a name belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownNames {
    /// As a short hash, under a key that changes with each start: equal names can be recognized, but not read.
    Hashed,
    /// As they are, escaped.
    Shown,
}

impl EventLog {
    pub(crate) fn new(
        unknown_names: UnknownNames,
        key: &[u8; 16],
        audit: Option<Audit>,
        blocks: Arc<BlockLog>,
    ) -> Self {
        Self { unknown_names, keyed: SipHasher24::new_with_key(key), audit, blocks }
    }

    /// The log of a worker with these counters.
    pub(crate) fn of_worker(&self, kind: SocketKind, counters: &Arc<Counters>) -> WorkerLog {
        WorkerLog { log: self.clone(), kind, counters: counters.clone() }
    }
}

impl WorkerLog {
    /// Counts how long a login over TCP has taken, from its start to its verdict.
    pub(crate) fn login_took(&self, time: Duration) {
        self.counters.login_took(time);
    }

    /// Notes the event of a message, and the blocks that it has caused. Blocks for answers from unproven addresses are
    /// not logged, since anybody can forge them.
    pub(crate) fn reaction(&self, now: Now, peer: Peer, reaction: &Reaction<'_>) {
        self.event(now, peer, Some(reaction.mechanism), &reaction.event);
        if let Event::Refused(refusal) = &reaction.event
            && refusal.origin == Origin::Proven
            && reaction.blocks != Blocks::default()
        {
            self.blocked(now, peer, refusal, &reaction.blocks);
        }
    }

    fn blocked(&self, now: Now, peer: Peer, refusal: &Refusal<'_>, blocks: &Blocks) {
        if let Some((source, end)) = blocks.source {
            self.log.blocks.begin(now, Followed::Other, source.to_string(), end);
        }
        let Some((scope, end)) = blocks.name else { return };
        // Both are made for every name, so that the time does not tell which is shown.
        let (hashed, shown) =
            (Hashed(&self.log.keyed, refusal.name).to_string(), Shown(refusal.name.as_bytes()).to_string());
        let (followed, name) = match (refusal.reason, self.log.unknown_names) {
            (Reason::UnknownUser, UnknownNames::Hashed) => (Followed::Other, hashed),
            (Reason::UnknownUser, UnknownNames::Shown) => (Followed::Other, shown),
            (
                Reason::WrongPassword
                | Reason::TriedTooOften
                | Reason::Suspended
                | Reason::NotAdmitted(_)
                | Reason::Denied(_),
                _,
            ) => (Followed::User, shown),
        };
        let blocked = match scope {
            Scope::Everywhere => format!("user {name}"),
            Scope::Here => format!("user {name} from {}", peer.source()),
        };
        self.log.blocks.begin(now, followed, blocked, end);
    }

    /// The mechanism is absent where nothing was said yet.
    pub(crate) fn event(&self, now: Now, peer: Peer, mechanism: Option<Mechanism>, event: &Event<'_>) {
        self.counters.event(event);
        if let (Some(Mechanism::Opaque), Event::Welcomed { sighting: Sighting::First, .. }) =
            (mechanism, event)
        {
            self.counters.welcomed_by_opaque.add(1);
        }
        if let Some(audit) = &self.log.audit
            && let Some(decision) = Decision::of(now, self.kind, peer, mechanism, event)
        {
            audit.note(now.uptime, decision);
        }
        let kind = self.kind;
        match event {
            Event::Penalized { penalty, .. } => debug!("{kind} {peer}: ignored, {penalty}"),
            Event::Malformed(reason) => debug!("{kind} {peer}: malformed: {reason}"),
            Event::Challenged => debug!("{kind} {peer}: sent a challenge"),
            Event::Rechallenged => debug!("{kind} {peer}: answered an old challenge, sent a new one"),
            Event::Offered => debug!("{kind} {peer}: sent an offer"),
            Event::Waiting { .. } => debug!("{kind} {peer}: began a login by OPAQUE"),
            Event::Crowded => debug!("{kind} {peer}: ignored, no place to wait for an offer"),
            Event::Welcomed { user, sighting, password } => {
                let by = match (password, mechanism) {
                    (PasswordAge::Old, _) => " with the old password",
                    (PasswordAge::Present, Some(Mechanism::Opaque)) => " by OPAQUE",
                    (PasswordAge::Present, Some(Mechanism::Md5) | None) => "",
                };
                let again = match sighting {
                    Sighting::First => "",
                    Sighting::Repeat => " (repeated)",
                };
                debug!("{kind} {peer}: {} is welcome{by}{again}", Shown(user.as_bytes()));
            }
            Event::Refused(Refusal { name, reason: Reason::UnknownUser, .. }) => {
                match self.log.unknown_names {
                    UnknownNames::Hashed => {
                        // The hash is made only if the line is written, since its time could be measured.
                        debug!("{kind} {peer}: refused an unknown user {}", Hashed(&self.log.keyed, name));
                    }
                    UnknownNames::Shown => {
                        debug!("{kind} {peer}: refused an unknown user {}", Shown(name.as_bytes()));
                    }
                }
            }
            Event::Refused(Refusal { name, reason, .. }) => {
                debug!("{kind} {peer}: refused {}: {reason}", Shown(name.as_bytes()));
            }
        }
    }
}

/// A short hash of a name, in place of the name.
struct Hashed<'a>(&'a SipHasher24, &'a str);

impl fmt::Display for Hashed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:08x}", self.0.hash(self.1.as_bytes()) as u32)
    }
}

/// Seconds since 1970-01-01 in the format of RFC 3339, UTC.
fn unix_time(unix_s: u64) -> String {
    let time = i64::try_from(unix_s).ok().and_then(|unix_s| OffsetDateTime::from_unix_timestamp(unix_s).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

pub(crate) fn turned_away(kind: SocketKind, peer: Peer, reason: &dyn fmt::Display) {
    debug!("{kind} {peer}: turned away: {reason}");
}

pub(crate) fn connection_lost(kind: SocketKind, peer: Peer, error: &io::Error) {
    debug!("{kind} {peer}: connection lost: {error}");
}

pub(crate) fn socket_error(kind: SocketKind, error: &io::Error) {
    warn!("{kind} socket: {error}; still serving");
}

/// Bytes that the kernel queues for a socket, and that it was asked to.
pub(crate) struct Buffers {
    pub(crate) receive_len: usize,
    pub(crate) asked_len: usize,
}

/// Logs how to have the kernel queue as much as it was asked to.
pub(crate) fn buffers(buffers: &Buffers) {
    let Buffers { receive_len, asked_len } = buffers;
    if receive_len < asked_len {
        info!(
            "the receive buffer is {} KiB; to get {} KiB, run: sysctl -w net.core.rmem_max={asked_len}",
            receive_len / 1024,
            asked_len / 1024
        );
    }
}

pub(crate) fn unsent(replies: u64, error: &io::Error) {
    debug!("UDP: replies that could not be sent: {replies}: {error}");
}

pub(crate) fn unanswered(peer: Peer, reason: small::guard::Ignored) {
    debug!("UDP {peer}: not answered: {reason}");
}

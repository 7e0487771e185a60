//! What comes of a message: a reply, and an event for the operator.

use crate::peer::Address;
use crate::server::penalty::{Blocks, Penalty};
use crate::server::recent::Sighting;
use crate::users::Denial;
use crate::wire::{Malformed, Reply, ServerMessage};
use std::fmt;

/// What came of a message: what to send, and what to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaction<'a> {
    /// The bytes for the peer; silence, if none.
    pub reply: Option<Reply>,
    /// What happened, for the operator.
    pub event: Event<'a>,
    /// Whom it has blocked.
    pub blocks: Blocks,
}

impl<'a> Reaction<'a> {
    pub(crate) fn reply(message: ServerMessage, event: Event<'a>) -> Self {
        Self { reply: Some(message.encode()), event, blocks: Blocks::default() }
    }

    pub(crate) fn silence(event: Event<'a>) -> Self {
        Self { reply: None, event, blocks: Blocks::default() }
    }
}

/// What happened to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// It was no message.
    Malformed(Malformed),
    /// It was a request, and got a challenge.
    Challenged,
    /// It carried a challenge that is none of ours, or no longer, and got a new one.
    Rechallenged,
    /// It was a right answer.
    Welcomed {
        /// The user's name.
        user: &'a str,
        /// Whether this login has been counted before.
        sighting: Sighting,
    },
    /// It was an answer that is not let in.
    Refused(Refusal<'a>),
    /// It was not looked at.
    Silenced {
        /// Who is blocked.
        penalty: Penalty,
        /// The name of the user, if it is known by then and somebody's.
        user: Option<&'a str>,
    },
}

/// An answer that was not let in. The peer is never told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// What was given for a name. If nobody has it, it may be a password.
    pub name: &'a str,
    /// Why, for the operator.
    pub reason: Reason,
    /// Whether it came from where it says it did.
    pub address: Address,
}

/// Why an answer was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody has the name.
    UnknownUser,
    /// The digest fits no challenge.
    WrongPassword,
    /// The user was tried too often for the digest to be looked at.
    TriedTooOften,
    /// The digest is right, but the user may not log in.
    Denied(Denial),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownUser => f.write_str("unknown user"),
            Self::WrongPassword => f.write_str("wrong password"),
            Self::TriedTooOften => f.write_str("tried too often"),
            Self::Denied(it) => write!(f, "{it}"),
        }
    }
}

impl std::error::Error for Reason {}

//! The reaction to a message, besides the reply: an event for the operator.

use crate::mechanism::Mechanism;
use crate::opaque::session::SessionKey;
use crate::origin::Origin;
use crate::server::opaque::Place;
use crate::server::penalty::{Blocks, Penalty, Rank};
use crate::server::recent::Sighting;
use crate::users::{Denial, PasswordAge};
use crate::wire::Malformed;
use std::fmt;

/// The reaction to a message, besides the reply.
#[derive(Clone, Debug)]
pub struct Reaction<'a> {
    /// The event to log and count.
    pub event: Event<'a>,
    /// The mechanism of the message.
    pub mechanism: Mechanism,
    /// The blocks that it began.
    pub blocks: Blocks,
    /// The key that the client has, too: once, with the first welcome of a login by OPAQUE.
    pub session: Option<SessionKey>,
}

impl<'a> Reaction<'a> {
    /// Whether there is no reply, or none yet. Over TCP the connection is then closed, unless its login waits.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        match self.event {
            Event::Malformed(_) | Event::Penalized { .. } | Event::Crowded | Event::Waiting { .. } => true,
            Event::Challenged
            | Event::Rechallenged
            | Event::Offered
            | Event::Welcomed { .. }
            | Event::Refused(_) => false,
        }
    }
}

/// An event of the first mechanism that began no block.
impl<'a> From<Event<'a>> for Reaction<'a> {
    fn from(event: Event<'a>) -> Self {
        event.by(Mechanism::Md5)
    }
}

/// The result of a message, for logs and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The bytes were no message.
    Malformed(Malformed),
    /// It was a request, and got a challenge.
    Challenged,
    /// It carried back a challenge that this server did not issue, or that has expired, and got a new one.
    Rechallenged,
    /// It began a login by OPAQUE, and got an offer.
    Offered,
    /// The same, and the offer follows.
    Waiting {
        /// The order in which logins that wait are served.
        rank: Rank,
        /// Over UDP, the place at which it waits.
        place: Option<Place>,
    },
    /// The same, but all places to wait are taken. Its client will send it again.
    Crowded,
    /// It was a right answer, and the user may log in.
    Welcomed {
        /// The user's name.
        user: &'a str,
        /// Whether this login has been counted before.
        sighting: Sighting,
        /// Which of the user's passwords it was made with.
        password: PasswordAge,
    },
    /// It was an answer, and was refused.
    Refused(Refusal<'a>),
    /// It was ignored, because of a block, or because it would be a guess by OPAQUE and there is none left.
    Penalized {
        /// Whose budget is used up, and of what.
        penalty: Penalty,
        /// The user's name, if the message was decoded and there is such a user.
        user: Option<&'a str>,
    },
}

impl<'a> Event<'a> {
    /// The reaction to a message of a mechanism.
    pub(crate) fn by(self, mechanism: Mechanism) -> Reaction<'a> {
        Reaction { event: self, mechanism, blocks: Blocks::default(), session: None }
    }
}

/// A refused answer. The peer is never told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The name in the answer. If no user has it, it may be a password that was typed in the wrong field.
    pub name: &'a str,
    /// Why it was refused, for the operator.
    pub reason: Reason,
    /// Whether its sender has shown that it can receive at its address.
    pub origin: Origin,
}

/// Why an answer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No user has the name.
    UnknownUser,
    /// The digest is right for no challenge.
    WrongPassword,
    /// The user was guessed at beyond the budget, so the digest was ignored.
    TriedTooOften,
    /// All users are suspended, so the digest was ignored.
    Suspended,
    /// The user may not log in, so the offer was one that no password fits.
    NotAdmitted(Denial),
    /// The password is right, but the user may not log in.
    Denied(Denial),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownUser => f.write_str("unknown user"),
            Self::WrongPassword => f.write_str("wrong password"),
            Self::TriedTooOften => f.write_str("tried too often"),
            Self::Suspended => f.write_str("all users suspended"),
            Self::NotAdmitted(it) | Self::Denied(it) => write!(f, "{it}"),
        }
    }
}

impl std::error::Error for Reason {}

//! The conditions of a user's logins, besides the password.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::source::any_covers;

/// Conditions of a user's logins: whether, until when and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Whether the user may log in at all.
    pub standing: Standing,
    /// The first second since 1970-01-01 UTC in which the user is refused; never, if absent.
    pub expires_unix_s: Option<u64>,
    /// The networks from which the user may log in; all, if empty.
    pub from: Vec<IpNet>,
}

/// The conditions of users who have none.
pub(super) static NO_CONDITIONS: Conditions = Conditions::none();

/// Whether a user may log in at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The user may.
    Enabled,
    /// The user may not, whatever the password.
    Disabled,
}

/// Why a user with the right password is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// `disabled = true`
    Disabled,
    /// The time of `expires` has passed.
    Expired,
    /// The source is in none of the networks of `from`.
    NotFromHere,
    /// The password is the one before, and the time of `old_until` has passed.
    OldPassword,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("disabled"),
            Self::Expired => f.write_str("expired"),
            Self::NotFromHere => f.write_str("not allowed from this address"),
            Self::OldPassword => f.write_str("old password"),
        }
    }
}

impl std::error::Error for Denial {}

impl Conditions {
    /// None: the user may log in from anywhere, for ever.
    #[must_use]
    pub const fn none() -> Self {
        Self { standing: Standing::Enabled, expires_unix_s: None, from: Vec::new() }
    }

    /// Whether the user may log in at this time from this address, if there is one.
    pub(crate) fn admit(&self, unix_s: u64, source: Option<IpAddr>) -> Result<(), Denial> {
        let Self { standing, expires_unix_s, from } = self;
        if *standing == Standing::Disabled {
            Err(Denial::Disabled)
        } else if expires_unix_s.is_some_and(|expiry| unix_s >= expiry) {
            Err(Denial::Expired)
        } else if !from.is_empty() && !any_covers(from, source) {
            Err(Denial::NotFromHere)
        } else {
            Ok(())
        }
    }
}

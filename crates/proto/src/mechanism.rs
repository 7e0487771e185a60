//! The ways in which a user proves to know a password.

use std::fmt;

/// A way to prove a password. Each user has a credential of one of them, and there is no falling back to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// The digest of name, password and challenge: [`proof`](crate::proof).
    Md5,
    /// RFC 9807: [`opaque`](crate::opaque).
    Opaque,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Md5, Self::Opaque];

    /// `md5` or `opaque`, for options and machine-readable output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Opaque => "opaque",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "MD5",
            Self::Opaque => "OPAQUE",
        })
    }
}

/// Which of them a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mechanisms {
    /// Whether it issues challenges for digests.
    pub md5: bool,
    /// Whether it speaks OPAQUE.
    pub opaque: bool,
}

impl fmt::Display for Mechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.md5, self.opaque) {
            (true, true) => "md5,opaque",
            (true, false) => "md5",
            (false, true) => "opaque",
            (false, false) => "none",
        })
    }
}

impl Mechanisms {
    /// All of them.
    pub const ALL: Self = Self { md5: true, opaque: true };
}

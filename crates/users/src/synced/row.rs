//! A user as a database has them ⇄ bytes.
//!
//! ```text
//! flags: 1 ‖ lengths of name: 1 and secret: 2 ‖ name ‖ secret ‖ day: 4, if any ‖ number: 1 and networks, if any
//! network: 4 or 6: 1 ‖ prefix: 1 ‖ address: 4 or 16
//! ```

use std::net::IpAddr;

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::conditions::first_second_after_day;
use crate::record_text::RECORD_START;
use proto::credentials::{NameError, PASSWORD_MAX, PasswordError, Username};
use proto::users::{Conditions, Standing};

/// A user as a database has them, or had them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The name.
    pub name: &'a str,
    /// What the user logs in by.
    pub credential: Credential<'a>,
    /// Whether the user is refused.
    pub is_disabled: bool,
    /// The last day on which the user may log in, in days since 1970-01-01; `None` for no end.
    pub last_day: Option<u32>,
    /// From where the user may log in; empty for anywhere.
    pub networks: Vec<IpNet>,
}

/// What a user logs in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// Nothing: the user is not there any more.
    Removed,
    /// A password.
    Password(&'a str),
    /// The text of a record of OPAQUE.
    Record(&'a str),
}

/// Why a row is no user. No text shows the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The name breaks a rule.
    #[error("a name {0}")]
    Name(NameError),
    /// The password breaks a rule.
    #[error("a password {0}")]
    Password(PasswordError),
    /// The password is empty.
    #[error("a password is empty")]
    EmptyPassword,
    /// There is nothing to log in by.
    #[error("a user has neither password nor record")]
    NoCredential,
    /// The record is none.
    #[error("a record is none of OPAQUE")]
    Record,
    /// The last day is not in the calendar of users.
    #[error("a last day is before 1970 or after 9999")]
    Day,
    /// There are too many networks, or one is none.
    #[error("a user has more than {NETWORKS_MAX} networks, or one that is none")]
    Networks,
}

/// Networks of a user.
const NETWORKS_MAX: usize = 64;
/// Bytes of a record's text.
const RECORD_MAX: usize = 512;

/// Bytes of a row without name, secret and networks, and of the longest network.
const FIXED_LEN: usize = 9;
const NETWORK_LEN: usize = 18;

const REMOVED: u8 = 1;
const RECORD: u8 = 2;
const DISABLED: u8 = 4;
const LAST_DAY: u8 = 8;
const NETWORKS: u8 = 16;

impl<'a> Row<'a> {
    /// The user of this name is not there any more.
    #[must_use]
    pub fn removed(name: &'a str) -> Self {
        let (credential, is_disabled, last_day) = (Credential::Removed, false, None);
        Self { name, credential, is_disabled, last_day, networks: Vec::new() }
    }

    /// # Errors
    /// The rule that it breaks. Whether a record is one for the server's key is not among them.
    pub fn check(&self) -> Result<(), RowError> {
        Username::check(self.name.as_bytes()).map_err(RowError::Name)?;
        match self.credential {
            Credential::Removed => {}
            Credential::Password("") => return Err(RowError::EmptyPassword),
            Credential::Password(it) if it.len() > PASSWORD_MAX => {
                return Err(RowError::Password(PasswordError::TooLong));
            }
            Credential::Password(it) if it.contains('\0') => {
                return Err(RowError::Password(PasswordError::Nul));
            }
            Credential::Password(_) => {}
            Credential::Record(it) if !it.starts_with(RECORD_START) || it.len() > RECORD_MAX => {
                return Err(RowError::Record);
            }
            Credential::Record(_) => {}
        }
        if self.networks.len() > NETWORKS_MAX { Err(RowError::Networks) } else { Ok(()) }
    }

    /// The conditions of the user's logins.
    #[must_use]
    pub fn conditions(&self) -> Conditions {
        Conditions {
            standing: if self.is_disabled { Standing::Disabled } else { Standing::Enabled },
            expires_unix_s: self.last_day.map(first_second_after_day),
            from: self.networks.clone(),
        }
    }

    /// The row, which keeps all rules, alone.
    pub(super) fn bytes(&self) -> Zeroizing<Vec<u8>> {
        // A vector that grows leaves copies of the password behind.
        let secret_len = match self.credential {
            Credential::Removed => 0,
            Credential::Password(secret) | Credential::Record(secret) => secret.len(),
        };
        let len_max = FIXED_LEN + self.name.len() + secret_len + self.networks.len() * NETWORK_LEN;
        let mut bytes = Zeroizing::new(Vec::with_capacity(len_max));
        self.write(&mut bytes);
        bytes
    }

    /// Appends the row, which keeps all rules, to bytes.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let (kind, secret) = match self.credential {
            Credential::Removed => (REMOVED, ""),
            Credential::Password(password) => (0, password),
            Credential::Record(record) => (RECORD, record),
        };
        let flag = |flag, is_set| if is_set { flag } else { 0 };
        let flags = kind
            | flag(DISABLED, self.is_disabled)
            | flag(LAST_DAY, self.last_day.is_some())
            | flag(NETWORKS, !self.networks.is_empty());
        bytes.extend([flags, self.name.len() as u8]);
        bytes.extend((secret.len() as u16).to_le_bytes());
        bytes.extend(self.name.as_bytes());
        bytes.extend(secret.as_bytes());
        bytes.extend(self.last_day.iter().flat_map(|day| day.to_le_bytes()));
        if !self.networks.is_empty() {
            bytes.push(self.networks.len() as u8);
        }
        for network in &self.networks {
            match network.addr() {
                IpAddr::V4(address) => {
                    bytes.extend([4, network.prefix_len()]);
                    bytes.extend(address.octets());
                }
                IpAddr::V6(address) => {
                    bytes.extend([6, network.prefix_len()]);
                    bytes.extend(address.octets());
                }
            }
        }
    }

    /// Takes a row off the front of bytes; `None` if there is none.
    pub(super) fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let [flags, name_len] = *take(bytes)?;
        let secret_len = u16::from_le_bytes(*take(bytes)?);
        let name = text(bytes, name_len.into())?;
        let secret = text(bytes, secret_len.into())?;
        let credential = match flags & (REMOVED | RECORD) {
            0 => Credential::Password(secret),
            REMOVED => Credential::Removed,
            RECORD => Credential::Record(secret),
            _ => return None,
        };
        let last_day = if flags & LAST_DAY == 0 { None } else { Some(u32::from_le_bytes(*take(bytes)?)) };
        let count = if flags & NETWORKS == 0 { 0 } else { take::<1>(bytes)?[0] };
        let networks = (0..count).map(|_| network(bytes)).collect::<Option<_>>()?;
        Some(Self { name, credential, is_disabled: flags & DISABLED != 0, last_day, networks })
    }
}

fn take<'a, const LEN: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; LEN]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(taken)
}

fn text<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a str> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    str::from_utf8(taken).ok()
}

fn network(bytes: &mut &[u8]) -> Option<IpNet> {
    let [family, prefix] = *take(bytes)?;
    let address = match family {
        4 => IpAddr::from(*take::<4>(bytes)?),
        6 => IpAddr::from(*take::<16>(bytes)?),
        _ => return None,
    };
    IpNet::new(address, prefix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice(credential: Credential<'static>) -> Row<'static> {
        Row { name: "alice", credential, is_disabled: false, last_day: None, networks: Vec::new() }
    }

    #[test]
    fn every_row_is_read_as_it_was_written() {
        let networks: Vec<IpNet> =
            ["10.0.0.0/8", "2001:db8::/32", "::1/128"].map(|it| it.parse().unwrap()).into();
        let rows = [
            Row::removed("bob"),
            alice(Credential::Password("hers")),
            alice(Credential::Record("$opaque-3dh$v=1$…")),
            Row { is_disabled: true, last_day: Some(20_000), ..alice(Credential::Password("hers")) },
            Row { networks, ..alice(Credential::Password("hers")) },
        ];
        let mut bytes = Vec::new();
        rows.iter().for_each(|row| row.write(&mut bytes));
        let mut rest = &bytes[..];
        for row in &rows {
            assert_eq!(Row::read(&mut rest).as_ref(), Some(row));
        }
        assert!(rest.is_empty() && Row::read(&mut rest).is_none());
    }

    #[test]
    fn a_row_alone_takes_no_more_room_than_it_needs() {
        let networks = vec!["::1/128".parse().unwrap(); NETWORKS_MAX];
        for row in [
            Row::removed("bob"),
            Row { last_day: Some(1), networks, ..alice(Credential::Record("$opaque-3dh$v=1$…")) },
        ] {
            let bytes = row.bytes();
            assert_eq!(Row::read(&mut bytes.as_slice()), Some(row));
            // No more was allocated later, which would have left a copy of the password behind.
            assert!(bytes.capacity() <= bytes.len() + FIXED_LEN, "{} for {}", bytes.capacity(), bytes.len());
        }
    }

    #[test]
    fn a_row_that_is_cut_short_is_none() {
        let networks = vec!["10.0.0.0/8".parse().unwrap()];
        let row = Row { last_day: Some(1), networks, ..alice(Credential::Password("hers")) };
        let mut bytes = Vec::new();
        row.write(&mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(Row::read(&mut &bytes[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn each_rule_has_its_own_reason() {
        let long = "p".repeat(129);
        let many = vec!["10.0.0.0/8".parse().unwrap(); 65];
        for (row, reason) in [
            (Row { name: "a:b", ..alice(Credential::Removed) }, "a name has a colon in it"),
            (alice(Credential::Password("")), "a password is empty"),
            (
                Row { credential: Credential::Password(&long), ..alice(Credential::Removed) },
                "a password is longer than 128 bytes",
            ),
            (alice(Credential::Password("a\0")), "a password has a NUL in it"),
            (alice(Credential::Record("none")), "a record is none of OPAQUE"),
            (
                Row { networks: many, ..alice(Credential::Password("hers")) },
                "a user has more than 64 networks, or one that is none",
            ),
        ] {
            assert_eq!(row.check().unwrap_err().to_string(), reason);
        }
        assert_eq!(alice(Credential::Password("hers")).check(), Ok(()));
    }
}

//! Names and passwords, within the protocol's limits.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

/// The longest name, in bytes of UTF-8.
pub const NAME_MAX: usize = 64;
/// The longest password, in bytes of UTF-8.
pub const PASSWORD_MAX: usize = 128;

/// A user's name: 1 to 64 bytes of UTF-8 without colon, control character, or white space at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Username(Box<str>);

/// The rule that a name violates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// No bytes.
    Empty,
    /// More than [`NAME_MAX`] bytes.
    TooLong,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// The colon, which ends a name on the wire.
    Colon,
    /// A control character.
    Control,
    /// White space at either end.
    OuterSpace,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong => write!(f, "is longer than {NAME_MAX} bytes"),
            Self::NotUtf8 => f.write_str("is not UTF-8"),
            Self::Colon => f.write_str("has a colon in it"),
            Self::Control => f.write_str("has a control character in it"),
            Self::OuterSpace => f.write_str("begins or ends with white space"),
        }
    }
}

impl std::error::Error for NameError {}

impl Username {
    /// Checks a name without making one.
    ///
    /// # Errors
    /// The first rule that it violates.
    pub fn check(name: &[u8]) -> Result<&str, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > NAME_MAX {
            return Err(NameError::TooLong);
        }
        let is_plain = name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b':');
        let name = str::from_utf8(name).map_err(|_| NameError::NotUtf8)?;
        if is_plain {
            // Most names are, and need no slower check.
            Ok(name)
        } else if name.contains(':') {
            Err(NameError::Colon)
        } else if name.contains(char::is_control) {
            Err(NameError::Control)
        } else if name.trim() != name {
            Err(NameError::OuterSpace)
        } else {
            Ok(name)
        }
    }

    /// The name, valid by all rules.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Username {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::check(name.as_bytes()).map(|name| Self(name.into()))
    }
}

impl Borrow<str> for Username {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A password: up to 128 bytes of UTF-8 without NUL. It is wiped from memory when dropped, and is never shown.
///
/// It may be empty, since somebody may type nothing; but no users file gives a user an empty password.
#[derive(Clone)]
pub struct Password(Zeroizing<Box<str>>);

/// The rule that a password violates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordError {
    /// More than [`PASSWORD_MAX`] bytes.
    TooLong,
    /// A NUL.
    Nul,
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "is longer than {PASSWORD_MAX} bytes"),
            Self::Nul => f.write_str("has a NUL in it"),
        }
    }
}

impl std::error::Error for PasswordError {}

impl Password {
    /// Checks a password, and copies it.
    ///
    /// # Errors
    /// The rule that it violates.
    pub fn new(password: &str) -> Result<Self, PasswordError> {
        if password.len() > PASSWORD_MAX {
            Err(PasswordError::TooLong)
        } else if password.contains('\0') {
            Err(PasswordError::Nul)
        } else {
            Ok(Self(Zeroizing::new(password.into())))
        }
    }

    /// The bytes of the password, to digest, compare or write to a users file. Never show them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_every_rule() {
        for name in ["u", "userone", "zoë", "a b", &"u".repeat(64)] {
            assert_eq!(Username::check(name.as_bytes()), Ok(name));
        }
        for (name, rule) in [
            ("", NameError::Empty),
            (&*"u".repeat(65), NameError::TooLong),
            ("a:b", NameError::Colon),
            ("a\tb", NameError::Control),
            ("a\u{85}b", NameError::Control),
            (" a", NameError::OuterSpace),
            ("a\u{a0}", NameError::OuterSpace),
        ] {
            assert_eq!(Username::check(name.as_bytes()), Err(rule), "{name:?}");
        }
    }

    #[test]
    fn a_password_keeps_every_rule_and_is_not_shown() {
        assert!(Password::new(&"p".repeat(128)).is_ok());
        assert_eq!(Password::new(&"p".repeat(129)).unwrap_err(), PasswordError::TooLong);
        assert_eq!(Password::new("pass\0word").unwrap_err(), PasswordError::Nul);
        assert_eq!(format!("{:?}", Password::new("hunter2").unwrap()), "Password(…)");
    }
}

//! What a user logs in by, as it is in a users file.

use toml_edit::Value;
use zeroize::Zeroizing;

use proto::credentials::Password;
use proto::mechanism::Mechanism;
use proto::opaque::record::Record;
use users::record_text;

/// A password, or what stands in its place.
pub(crate) enum Credential {
    Password(Password),
    Record(Box<Record>),
}

impl Credential {
    /// The keys of a users file that have one as their value.
    pub(crate) const KEYS: [&str; 2] = [PASSWORD, OPAQUE];

    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Password(_) => PASSWORD,
            Self::Record(_) => OPAQUE,
        }
    }

    pub(crate) fn mechanism(&self) -> Mechanism {
        match self {
            Self::Password(_) => Mechanism::Md5,
            Self::Record(_) => Mechanism::Opaque,
        }
    }

    pub(crate) fn password(&self) -> Option<&Password> {
        match self {
            Self::Password(password) => Some(password),
            Self::Record(_) => None,
        }
    }

    /// Whether it is a record that lets nobody in, as far as that shows.
    pub(crate) fn is_damaged(&self) -> bool {
        match self {
            Self::Password(_) => false,
            Self::Record(record) => !record.has_public_key(),
        }
    }

    /// Its text, without quotes.
    pub(crate) fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(match self {
            Self::Password(password) => str::from_utf8(password.expose()).unwrap_or_default().to_owned(),
            Self::Record(record) => record_text(record),
        })
    }

    /// The same between quotes, in TOML. A record needs no escapes, and the parser takes less time for a string that
    /// can have none.
    pub(crate) fn in_toml(&self) -> Zeroizing<String> {
        let text = self.text();
        match self {
            Self::Password(_) => quoted(&text),
            Self::Record(_) => Zeroizing::new(["'", &text, "'"].concat()),
        }
    }
}

const PASSWORD: &str = "password";
pub(crate) const OPAQUE: &str = "opaque";

/// Any text as a string in TOML.
pub(crate) fn quoted(text: &str) -> Zeroizing<String> {
    Zeroizing::new(Value::from(text).to_string())
}

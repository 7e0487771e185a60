//! Users one by one, those of a file with the places of their passwords and records: for lists and checks.

use toml::de::DeTable;
use toml::value::Datetime;

use crate::credential::{Credential, OPAQUE};
use letmein::cli::normal;
use proto::credentials::{Password, Username};
use users::{first_second_after, parse_record};

/// A user of a valid file, or of the database.
pub(crate) struct UserEntry {
    pub(crate) name: Username,
    pub(crate) credential: Credential,
    /// Where the password or record is, in a file.
    pub(crate) at: Option<At>,
    pub(crate) is_disabled: bool,
    /// The last good day.
    pub(crate) expires: Option<Datetime>,
    pub(crate) from: Vec<String>,
    pub(crate) old: Option<OldEntry>,
}

/// A place in a file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// The password of a user before the present one.
pub(crate) struct OldEntry {
    pub(crate) password: Password,
    /// The last good day.
    pub(crate) until: Datetime,
}

/// Whether a user is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountState {
    Enabled,
    Disabled,
    Expired,
}

impl AccountState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
        }
    }
}

impl UserEntry {
    pub(crate) fn state(&self, unix_s: u64) -> AccountState {
        let expiry = self.expires.as_ref().and_then(first_second_after);
        if self.is_disabled {
            AccountState::Disabled
        } else if expiry.is_some_and(|expiry| unix_s >= expiry) {
            AccountState::Expired
        } else {
            AccountState::Enabled
        }
    }
}

/// The user of this name in a text, in whatever form the name is typed and written.
pub(crate) fn entry(text: &str, typed: &Username) -> Option<UserEntry> {
    chosen(entries(text), typed)
}

/// The user of this name among several.
pub(crate) fn chosen(mut entries: Vec<UserEntry>, typed: &Username) -> Option<UserEntry> {
    position(&entries, typed).map(|index| entries.swap_remove(index))
}

/// The index of that user.
pub(crate) fn position(entries: &[UserEntry], typed: &Username) -> Option<usize> {
    let normal = normal::name(typed.as_str());
    let position = |is_it: &dyn Fn(&str) -> bool| entries.iter().position(|entry| is_it(entry.name.as_str()));
    position(&|name| name == typed.as_str())
        .or_else(|| position(&|name| name == normal))
        .or_else(|| position(&|name| normal::name(name) == normal))
}

/// All users of a valid text, in its order.
pub(crate) fn entries(text: &str) -> Vec<UserEntry> {
    let Ok(document) = DeTable::parse(text) else { return Vec::new() };
    let users = document.get_ref().get("users").and_then(|users| users.get_ref().as_table());
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<toml::de::DeValue<'_>>)| {
        let key: &str = AsRef::<str>::as_ref(key.get_ref());
        let table = value.get_ref().as_table();
        let part = |key| table.and_then(|table| table.get(key));
        let record = part(OPAQUE);
        let credential = record.or_else(|| part("password")).unwrap_or(value);
        let text = credential.get_ref().as_str()?;
        let from = part("from").and_then(|from| from.get_ref().as_array());
        let old = || {
            let password = part("old_password")?.get_ref().as_str()?;
            let until = *part("old_until")?.get_ref().as_datetime()?;
            Some(OldEntry { password: Password::new(password).ok()?, until })
        };
        let entry = UserEntry {
            name: key.parse().ok()?,
            credential: match record {
                Some(_) => Credential::Record(Box::new(parse_record(text).ok()?)),
                None => Credential::Password(Password::new(text).ok()?),
            },
            at: None,
            is_disabled: part("disabled").is_some_and(|disabled| disabled.get_ref().as_bool() == Some(true)),
            expires: part("expires").and_then(|expires| expires.get_ref().as_datetime()).copied(),
            from: from
                .into_iter()
                .flatten()
                .filter_map(|from| Some(from.get_ref().as_str()?.to_owned()))
                .collect(),
            old: old(),
        };
        Some((credential.span().start, entry))
    };
    let mut entries: Vec<_> = users.into_iter().flatten().filter_map(entry).collect();
    entries.sort_by_key(|(start, _)| *start);
    let mut lines = Lines { text, number: 1, start: 0 };
    entries.into_iter().map(|(start, entry)| UserEntry { at: Some(lines.at(start)), ..entry }).collect()
}

/// The lines of a text, up to places that only rise.
struct Lines<'a> {
    text: &'a str,
    /// The number of the line, and where it starts.
    number: usize,
    start: usize,
}

impl Lines<'_> {
    fn at(&mut self, place: usize) -> At {
        let between = self.text.get(self.start..place).unwrap_or_default();
        let newlines = between.match_indices('\n');
        if let Some((last, _)) = newlines.clone().next_back() {
            self.number += newlines.count();
            self.start += last + 1;
        }
        let column = self.text.get(self.start..place).unwrap_or_default().chars().count() + 1;
        At { line: self.number, column }
    }
}

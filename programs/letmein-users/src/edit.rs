//! Changes of the text of `users.toml`: only what has to change does; comments, order and spaces stay as they are.
//!
//! An entry may have any of these forms:
//!
//! ```toml
//! [users]
//! alice = "her password"
//! bob = { password = "his password", disabled = true }
//! carol.password = "hers"
//!
//! [users.dave]
//! password = "his"
//! ```
//!
//! In place of `password` there may be `opaque`, with a record.

mod draft;
mod keys;
mod places;

use std::collections::HashMap;
use std::ops::Range;

use toml_edit::{Document, Item, Key, Table};
use zeroize::Zeroizing;

use self::places::{BOM, Room, has_header, key_before, lines, parts, span};
use crate::conditions::Condition;
use crate::credential::{Credential, OPAQUE, quoted};
use crate::entries::OldEntry;
use letmein::cli::normal;
use proto::credentials::{Password, Username};
use users::Problem;
use users::locate;

/// The text of a valid users file, and the changes to make in it.
pub(crate) struct Edit<'a> {
    text: &'a str,
    document: Document<&'a str>,
    room: Room,
    newline: &'static str,
    /// The users whose names are not in their normal form, by that form.
    abnormal: HashMap<String, Username>,
    changes: Vec<Change>,
}

/// Two changes overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overlap;

/// A range of the text, and its replacement.
struct Change {
    place: Range<usize>,
    new: Zeroizing<String>,
}

/// A user to add.
pub(crate) struct NewUser {
    pub(crate) name: Username,
    pub(crate) credential: Credential,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) old: Option<OldEntry>,
}

impl<'a> Edit<'a> {
    /// Starts to change a text that [`users::parse`](fn@users::parse) accepts, or one of nothing but comments, which
    /// gets a section of users.
    ///
    /// # Errors
    /// If the users are written in a form that cannot be changed.
    pub(crate) fn new(text: &'a str) -> Result<Self, Problem> {
        // Only the message: the rest of such an error shows the line, and so perhaps a password.
        let document = Document::parse(text)
            .map_err(|error| locate(text, &error.span().unwrap_or_default(), error.message().to_owned()))?;
        let users = document.as_table().get_key_value("users");
        let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let room = match users {
            Some((_, Item::Table(users))) => Room::of(text, users),
            Some((key, Item::None | Item::Value(_) | Item::ArrayOfTables(_))) => {
                let message = "users in braces cannot be changed: write [users], and one line for each user";
                return Err(locate(text, &key.span().unwrap_or_default(), message.into()));
            }
            None => Room::Lines { at: text.len(), indent: String::new() },
        };
        let has_section = users.is_some();
        let abnormal = users.and_then(|(_, users)| users.as_table()).map(abnormal).unwrap_or_default();
        let mut edit = Self { text, document, room, newline, abnormal, changes: Vec::new() };
        if !has_section {
            edit.change(text.len()..text.len(), edit.as_line(text.len(), "[users]"));
        }
        Ok(edit)
    }

    /// The user of this name, in whatever form the name is typed and written.
    pub(crate) fn find(&self, typed: &Username) -> Option<Username> {
        let normal = normal::name(typed.as_str());
        let is_there = |name: &Username| self.entry(name).is_some();
        let as_typed = Some(typed.clone()).filter(is_there);
        as_typed
            .or_else(|| normal.parse().ok().filter(is_there))
            .or_else(|| self.abnormal.get(&*normal).cloned())
    }

    /// Adds a user. There must be none of that name.
    pub(crate) fn add(&mut self, user: &NewUser) {
        let newline = self.newline;
        let key = Key::new(user.name.as_str()).display_repr().into_owned();
        let (at, new) = match &self.room {
            Room::Lines { at, indent } => {
                let line = Zeroizing::new(format!("{indent}{key} = {}", *user.value()));
                (*at, self.as_line(*at, &line))
            }
            Room::Sections => {
                let lines = Zeroizing::new(user.keys().join(newline));
                (self.text.len(), format!("{newline}[users.{key}]{newline}{}{newline}", *lines))
            }
        };
        self.change(at..at, new);
    }

    /// Gives a user a new name, which no other user has.
    pub(crate) fn rename(&mut self, name: &Username, new: &Username) {
        let Some((key, entry)) = self.users().and_then(|users| users.get_key_value(name.as_str())) else {
            return;
        };
        let places = match entry {
            // The name is in the line of each part.
            Item::Table(table) if table.is_dotted() => {
                let parts = parts(table).into_iter();
                parts.filter_map(|part| key_before(self.text, part.key.start)).collect()
            }
            Item::None | Item::Value(_) | Item::Table(_) | Item::ArrayOfTables(_) => {
                Vec::from_iter(key.span())
            }
        };
        let key = Key::new(new.as_str()).display_repr().into_owned();
        for place in places {
            self.change(place, key.clone());
        }
    }

    /// Changes what a user logs in by; there is no old password then.
    ///
    /// # Errors
    /// If a comment would go with an old password.
    pub(crate) fn set_credential(&mut self, name: &Username, new: &Credential) -> Result<(), Problem> {
        let value = new.in_toml();
        let Some(entry) = self.entry(name) else { return Ok(()) };
        let Some(table) = entry.as_table_like() else {
            let value = match new {
                Credential::Password(_) => value.to_string(),
                Credential::Record(_) => format!("{{ {} = {} }}", new.key(), *value),
            };
            self.change(span(entry), value);
            return Ok(());
        };
        let part = parts(table).into_iter().find(|part| Credential::KEYS.contains(&part.name));
        let changed = part.map(|part| (part.key.clone(), part.value.clone(), part.name == new.key()));
        if let Some((key, old, is_same_key)) = changed {
            if !is_same_key {
                self.change(key, new.key().to_owned());
            }
            self.change(old, value.to_string());
        }
        self.drop_old_password(name)
    }

    /// Changes the password of a user, who may log in with the one before as well to the end of a day, in TOML.
    pub(crate) fn keep_old_password(&mut self, name: &Username, password: &Password, last_day: String) {
        let Some(entry) = self.entry(name) else { return };
        let old = Self::key_of(entry, "password").unwrap_or(entry);
        let old = Zeroizing::new(self.text.get(span(old)).unwrap_or_default().to_owned());
        let last_day = Zeroizing::new(last_day);
        let new = str::from_utf8(password.expose()).unwrap_or_default();
        let keys = [("password", quoted(new)), ("old_password", old), ("old_until", last_day)];
        self.set_all(name, &keys);
    }

    /// Whether a user logs in by this now.
    pub(crate) fn has(&self, name: &Username, credential: &Credential) -> bool {
        let Some(entry) = self.entry(name) else { return false };
        let present = match credential {
            Credential::Password(_) if entry.is_str() => Some(entry),
            Credential::Password(_) | Credential::Record(_) => Self::key_of(entry, credential.key()),
        };
        present.and_then(Item::as_str) == Some(credential.text().as_str())
    }

    /// Whether a user has a record.
    pub(crate) fn has_record(&self, name: &Username) -> bool {
        self.entry(name).is_some_and(|entry| Self::key_of(entry, OPAQUE).is_some())
    }

    /// Whether any user has.
    pub(crate) fn has_records(&self) -> bool {
        let mut entries = self.users().into_iter().flat_map(Table::iter);
        entries.any(|(_, entry)| Self::key_of(entry, OPAQUE).is_some())
    }

    /// Whether this is the password before it.
    pub(crate) fn has_old_password(&self, name: &Username, password: &Password) -> bool {
        let old = self.entry(name).and_then(|entry| Self::key_of(entry, "old_password"));
        old.and_then(Item::as_str).is_some_and(|old| old.as_bytes() == password.expose())
    }

    /// The last day of a user's old password, in TOML, if there is one.
    pub(crate) fn old_until(&self, name: &Username) -> Option<String> {
        Some(Self::key_of(self.entry(name)?, "old_until")?.as_datetime()?.to_string())
    }

    fn key_of<'i>(entry: &'i Item, key: &str) -> Option<&'i Item> {
        entry.as_table_like()?.get(key)
    }

    /// Takes the old password of a user out, if there is one.
    ///
    /// # Errors
    /// If a comment would go with it.
    pub(crate) fn drop_old_password(&mut self, name: &Username) -> Result<(), Problem> {
        self.unset_all(name, &["old_password", "old_until"])
    }

    /// Removes a user, with all that is on their lines.
    pub(crate) fn remove(&mut self, name: &Username) {
        let Some((key, entry)) = self.users().and_then(|users| users.get_key_value(name.as_str())) else {
            return;
        };
        let key = key.span().unwrap_or_default();
        let places = match entry {
            Item::Table(table) => {
                // The line of the key is the section's own, or that of the first part.
                let parts = parts(table).into_iter().map(|part| self.lines(&part.whole()));
                let mut places: Vec<_> =
                    parts.chain((!table.is_dotted()).then(|| self.lines(&key))).collect();
                places.sort_by_key(|place| place.start);
                places
            }
            Item::None | Item::Value(_) | Item::ArrayOfTables(_) => {
                vec![self.lines(&(key.start..span(entry).end))]
            }
        };
        let end = self.text.len();
        let goes_to_end = places.last().is_some_and(|place| place.end == end);
        for place in places {
            self.change(place, String::new());
        }
        let is_last = self.users().is_some_and(|users| users.len() == 1 && !has_header(users));
        if is_last {
            let header =
                if goes_to_end { format!("[users]{}", self.newline) } else { self.as_line(end, "[users]") };
            self.change(end..end, header);
        }
    }

    /// The text after all changes.
    ///
    /// # Errors
    /// If two of them overlap.
    pub(crate) fn finish(mut self) -> Result<Zeroizing<String>, Overlap> {
        self.changes.sort_by_key(|change| (change.place.start, change.place.end));
        let mut neighbours = self.changes.iter().zip(self.changes.iter().skip(1));
        if neighbours.any(|(first, second)| second.place.start < first.place.end) {
            return Err(Overlap);
        }
        let added: usize = self.changes.iter().map(|change| change.new.len()).sum();
        // One allocation of the right size: a buffer that grows leaves copies of passwords behind.
        let mut text = Zeroizing::new(String::with_capacity(self.text.len() + added));
        let mut end = 0;
        for change in &self.changes {
            text.push_str(self.text.get(end..change.place.start).unwrap_or_default());
            text.push_str(&change.new);
            end = change.place.end;
        }
        text.push_str(self.text.get(end..).unwrap_or_default());
        Ok(text)
    }

    fn users(&self) -> Option<&Table> {
        self.document.as_table().get("users")?.as_table()
    }

    fn entry(&self, name: &Username) -> Option<&Item> {
        self.users()?.get(name.as_str())
    }

    fn change(&mut self, place: Range<usize>, new: String) {
        self.changes.push(Change { place, new: Zeroizing::new(new) });
    }

    /// What to insert for a new line at `at`, the end of a line.
    fn as_line(&self, at: usize, line: &str) -> String {
        let newline = self.newline;
        let before = self.text.get(..at).unwrap_or_default().trim_start_matches(BOM);
        if before.is_empty() || before.ends_with('\n') {
            format!("{line}{newline}")
        } else {
            format!("{newline}{line}")
        }
    }

    fn lines(&self, place: &Range<usize>) -> Range<usize> {
        lines(self.text, place)
    }
}

impl NewUser {
    /// The value in TOML.
    fn value(&self) -> Zeroizing<String> {
        let is_limited = self.conditions.iter().any(Condition::limits);
        if let (Credential::Password(_), false, None) = (&self.credential, is_limited, &self.old) {
            return self.credential.in_toml();
        }
        Zeroizing::new(format!("{{ {} }}", Zeroizing::new(self.keys().join(", ")).as_str()))
    }

    fn keys(&self) -> Vec<String> {
        let credential = format!("{} = {}", self.credential.key(), *self.credential.in_toml());
        let in_toml = |condition: &Condition| Some(format!("{} = {}", condition.key(), condition.in_toml()?));
        let conditions = self.conditions.iter().filter_map(in_toml);
        let old = self.old.iter().flat_map(|OldEntry { password, until }| {
            let password = quoted(str::from_utf8(password.expose()).unwrap_or_default());
            [format!("old_password = {}", *password), format!("old_until = {until}")]
        });
        [credential].into_iter().chain(conditions).chain(old).collect()
    }
}

/// The names of users that are not in their normal form, by that form.
fn abnormal(users: &Table) -> HashMap<String, Username> {
    let names = users.iter().filter_map(|(name, _)| Some((normal::name(name), name.parse().ok()?)));
    names
        .filter(|(normal, name): &(_, Username)| **normal != *name.as_str())
        .map(|(normal, name)| (normal.into_owned(), name))
        .collect()
}

#[cfg(test)]
mod tests;

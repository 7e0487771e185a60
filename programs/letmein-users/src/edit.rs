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

mod keys;
mod places;

use std::collections::HashMap;
use std::ops::Range;

use toml_edit::{Document, Item, Key, Table, Value};
use zeroize::Zeroizing;

use self::places::{BOM, Room, has_header, key_before, lines, parts, span};
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
    pub(crate) password: Password,
    /// Keys and values in TOML, beside the password.
    pub(crate) conditions: Vec<(&'static str, String)>,
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

    /// Changes the password of a user, who has no other one then.
    ///
    /// # Errors
    /// If a comment would go with an old password.
    pub(crate) fn set_password(&mut self, name: &Username, password: &Password) -> Result<(), Problem> {
        self.set_all(name, &[("password", literal(password))]);
        self.drop_old_password(name)
    }

    /// Changes the password of a user, who may log in with the one before as well to the end of a day, in TOML.
    pub(crate) fn keep_old_password(&mut self, name: &Username, password: &Password, last_day: String) {
        let Some(entry) = self.entry(name) else { return };
        let old = Self::key_of(entry, "password").unwrap_or(entry);
        let old = Zeroizing::new(self.text.get(span(old)).unwrap_or_default().to_owned());
        let last_day = Zeroizing::new(last_day);
        let keys = [("password", literal(password)), ("old_password", old), ("old_until", last_day)];
        self.set_all(name, &keys);
    }

    /// Whether this is the present password of a user.
    pub(crate) fn has_password(&self, name: &Username, password: &Password) -> bool {
        let entry = self.entry(name);
        let present = entry.map(|entry| Self::key_of(entry, "password").unwrap_or(entry));
        present.is_some_and(|present| is_text(present, password))
    }

    /// Whether this is the password before it.
    pub(crate) fn has_old_password(&self, name: &Username, password: &Password) -> bool {
        let old = self.entry(name).and_then(|entry| Self::key_of(entry, "old_password"));
        old.is_some_and(|old| is_text(old, password))
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
        if self.conditions.is_empty() {
            return literal(&self.password);
        }
        Zeroizing::new(format!("{{ {} }}", Zeroizing::new(self.keys().join(", ")).as_str()))
    }

    fn keys(&self) -> Vec<String> {
        let password = format!("password = {}", *literal(&self.password));
        let conditions = self.conditions.iter().map(|(key, value)| format!("{key} = {value}"));
        [password].into_iter().chain(conditions).collect()
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

fn is_text(item: &Item, password: &Password) -> bool {
    item.as_str().is_some_and(|text| text.as_bytes() == password.expose())
}

/// A string in TOML.
fn literal(password: &Password) -> Zeroizing<String> {
    Zeroizing::new(Value::from(str::from_utf8(password.expose()).unwrap_or_default()).to_string())
}

#[cfg(test)]
mod tests;

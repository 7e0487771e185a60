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

mod places;

use std::collections::HashMap;
use std::ops::Range;

use toml_edit::{Document, Item, Key, Table, Value};
use zeroize::Zeroizing;

use self::places::{BOM, Part, Room, has_header, indent, lines, parts, span};
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
                let message =
                    "users are between braces, where they cannot be changed: write [users], a line a user";
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

    /// Changes the password of a user.
    pub(crate) fn set_password(&mut self, name: &Username, password: &Password) {
        let literal = literal(password);
        match self.entry(name) {
            Some(Item::Value(Value::String(old))) => self.change(old.span().unwrap_or_default(), literal),
            Some(Item::None | Item::Value(_) | Item::Table(_) | Item::ArrayOfTables(_)) | None => {
                self.set(name, "password", literal);
            }
        }
    }

    /// Sets a condition of a user to a value in TOML.
    pub(crate) fn set(&mut self, name: &Username, key: &str, value: String) {
        let Some(entry) = self.entry(name) else { return };
        let condition = format!("{key} = {value}");
        let (place, new) = match (entry.as_table_like(), entry) {
            (Some(table), _) if let Some(old) = table.get(key) => (span(old), value),
            (Some(table), Item::Table(_)) => {
                let password = parts(table).into_iter().find(|part| part.name == "password");
                let Some(Part { key, value, .. }) = password else { return };
                let indent = indent(self.text, key.start);
                let at = self.lines(&value).end;
                (at..at, self.as_line(at, &format!("{indent}{condition}")))
            }
            (Some(table), _) => {
                let end = parts(table).last().map_or(0, |part| part.value.end);
                (end..end, format!(", {condition}"))
            }
            (None, _) => {
                let password = span(entry);
                let literal = self.text.get(password.clone()).unwrap_or_default();
                let new = format!("{{ password = {literal}, {condition} }}");
                (password, new)
            }
        };
        self.change(place, new);
    }

    /// Removes a condition of a user, if there is one.
    ///
    /// # Errors
    /// If that would remove a comment.
    pub(crate) fn unset(&mut self, name: &Username, key: &str) -> Result<(), Problem> {
        let Some(entry) = self.entry(name) else { return Ok(()) };
        let parts = entry.as_table_like().map(parts).unwrap_or_default();
        let Some(index) = parts.iter().position(|part| part.name == key) else { return Ok(()) };
        let neighbours = (index.checked_sub(1).and_then(|before| parts.get(before)), parts.get(index + 1));
        let Some(part) = parts.get(index) else { return Ok(()) };
        let place = match (entry, neighbours) {
            (Item::Table(_), _) => self.lines(&part.whole()),
            (_, (Some(before), _)) => before.value.end..part.value.end,
            (_, (None, Some(after))) => part.key.start..after.key.start,
            (_, (None, None)) => part.whole(),
        };
        let around = [place.start..part.value.start, part.value.end..place.end];
        let has_comment =
            around.into_iter().any(|place| self.text.get(place).unwrap_or_default().contains('#'));
        let (place, new) = match entry {
            Item::None | Item::Value(_) | Item::ArrayOfTables(_) if has_comment => match key {
                "disabled" => (part.value.clone(), "false".to_owned()),
                _ => {
                    let message = format!("a comment would go with {key}: take {key} out by hand");
                    return Err(locate(self.text, &part.key, message));
                }
            },
            Item::None | Item::Value(_) | Item::Table(_) | Item::ArrayOfTables(_) => (place, String::new()),
        };
        self.change(place, new);
        Ok(())
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
        Zeroizing::new(if self.conditions.is_empty() {
            literal(&self.password)
        } else {
            format!("{{ {} }}", Zeroizing::new(self.keys().join(", ")).as_str())
        })
    }

    fn keys(&self) -> Vec<String> {
        let password = format!("password = {}", literal(&self.password));
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

/// A string in TOML.
fn literal(password: &Password) -> String {
    Value::from(str::from_utf8(password.expose()).unwrap_or_default()).to_string()
}

#[cfg(test)]
mod tests;

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

use std::ops::Range;

use toml_edit::{Document, Item, Key, Table, TableLike, Value};
use zeroize::Zeroizing;

use proto::credentials::{Password, Username};
use users::Problem;
use users::locate;

/// The text of a valid users file, and the changes to make in it.
pub(crate) struct Edit<'a> {
    text: &'a str,
    document: Document<&'a str>,
    room: Room,
    newline: &'static str,
    changes: Vec<Change>,
}

/// Two changes overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overlap;

/// The byte order mark, which some editors write at the start of a text.
const BOM: char = '\u{feff}';

/// A range of the text, and its replacement.
struct Change {
    place: Range<usize>,
    new: Zeroizing<String>,
}

/// Where new users go.
enum Room {
    /// Lines at this offset, with this indent.
    Lines { at: usize, indent: String },
    /// A section each, at the end.
    Sections,
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
            Some((_, Item::Table(users))) => room(text, users),
            Some((key, Item::None | Item::Value(_) | Item::ArrayOfTables(_))) => {
                let message =
                    "users are between braces, where they cannot be changed: write [users], a line a user";
                return Err(locate(text, &key.span().unwrap_or_default(), message.into()));
            }
            None => Room::Lines { at: text.len(), indent: String::new() },
        };
        let has_section = users.is_some();
        let mut edit = Self { text, document, room, newline, changes: Vec::new() };
        if !has_section {
            edit.change(text.len()..text.len(), edit.as_line(text.len(), "[users]"));
        }
        Ok(edit)
    }

    /// Whether there is a user of this name.
    pub(crate) fn contains(&self, name: &Username) -> bool {
        self.entry(name).is_some()
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

/// A string in TOML.
fn literal(password: &Password) -> String {
    Value::from(str::from_utf8(password.expose()).unwrap_or_default()).to_string()
}

/// A key with its value.
struct Part<'a> {
    name: &'a str,
    key: Range<usize>,
    value: Range<usize>,
}

impl Part<'_> {
    fn whole(&self) -> Range<usize> {
        self.key.start..self.value.end
    }
}

/// The keys and values of an entry, in the order of the text.
fn parts(table: &dyn TableLike) -> Vec<Part<'_>> {
    let part = |(name, value): (_, &Item)| {
        let (key, _) = table.get_key_value(name)?;
        Some(Part { name, key: key.span()?, value: span(value) })
    };
    let mut parts: Vec<_> = table.iter().filter_map(part).collect();
    parts.sort_by_key(|part| part.key.start);
    parts
}

fn span(item: &Item) -> Range<usize> {
    item.span().unwrap_or_default()
}

fn has_header(users: &Table) -> bool {
    !users.is_implicit() && !users.is_dotted()
}

/// Room after the last line of the section of users, or after its header.
fn room(text: &str, users: &Table) -> Room {
    let line = |(name, entry): (&str, &Item)| {
        let key = users.get_key_value(name)?.0.span()?;
        let end = match entry {
            Item::Table(table) if table.is_dotted() => parts(table).last()?.value.end,
            Item::Table(_) => return None,
            Item::None | Item::Value(_) | Item::ArrayOfTables(_) => span(entry).end,
        };
        Some((end, key.start))
    };
    if let Some((end, key_start)) = users.iter().filter_map(line).max() {
        let indent = indent(text, key_start).to_owned();
        Room::Lines { at: lines(text, &(end..end)).end, indent }
    } else if has_header(users) {
        Room::Lines { at: lines(text, &users.span().unwrap_or_default()).end, indent: String::new() }
    } else {
        Room::Sections
    }
}

/// The indent of the line with this key, without a byte order mark.
fn indent(text: &str, key_start: usize) -> &str {
    let line_start = lines(text, &(key_start..key_start)).start;
    text.get(line_start..key_start).unwrap_or_default().trim_start_matches(BOM)
}

/// The whole lines that a range touches, with the newline of the last.
fn lines(text: &str, place: &Range<usize>) -> Range<usize> {
    let start =
        text.get(..place.start).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    let end = text.get(place.end..).and_then(|after| after.find('\n'));
    start..end.map_or(text.len(), |newline| place.end + newline + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text after a change, which must leave it valid.
    fn changed(text: &str, change: impl FnOnce(&mut Edit<'_>)) -> String {
        users::parse(text).unwrap();
        let mut edit = Edit::new(text).unwrap();
        change(&mut edit);
        let new = edit.finish().unwrap();
        assert!(users::parse(&new).is_ok(), "{}", *new);
        new.to_string()
    }

    fn name(name: &str) -> Username {
        name.parse().unwrap()
    }

    fn user(user: &str, conditions: &[(&'static str, &str)]) -> NewUser {
        let conditions = conditions.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        NewUser { name: name(user), password: Password::new("new").unwrap(), conditions }
    }

    const FORMS: &str = "\
# Who may log in.
[users] # all of them
# Staff
alice = \"a\"     # since 2020
  \"bob b\"   = { password = 'b', # his
             disabled = true, from = [\"::1\"] } # gone
carol . password = \"c\" # hers
carol . expires  =  2027-01-31 # contract

# A section.
[users.dave] # of his own
  # secret
  password = \"\"\"
d\"\"\"  # two lines
  disabled = false
# end
";

    /// `FORMS` with one part replaced.
    fn forms_with(old: &str, new: &str) -> String {
        assert_eq!(FORMS.matches(old).count(), 1, "{old}");
        FORMS.replacen(old, new, 1)
    }

    #[test]
    fn a_password_changes_where_it_is_in_every_form() {
        for (user, old, new) in [
            ("alice", "= \"a\" ", "= \"new\" "),
            ("bob b", "'b'", "\"new\""),
            ("carol", "= \"c\"", "= \"new\""),
            ("dave", "\"\"\"\nd\"\"\"", "\"new\""),
        ] {
            let password = Password::new("new").unwrap();
            let text = changed(FORMS, |edit| edit.set_password(&name(user), &password));
            assert_eq!(text, forms_with(old, new), "{user}");
        }
    }

    #[test]
    fn a_condition_is_added_or_changed_in_every_form() {
        for (user, key, value, old, new) in [
            ("alice", "disabled", "true", "\"a\" ", "{ password = \"a\", disabled = true } "),
            ("bob b", "disabled", "false", "= true", "= false"),
            ("bob b", "expires", "2027-01-31", "[\"::1\"]", "[\"::1\"], expires = 2027-01-31"),
            ("carol", "disabled", "true", "# hers\n", "# hers\ncarol . disabled = true\n"),
            ("carol", "expires", "2028-01-31", "2027-01-31", "2028-01-31"),
            ("dave", "expires", "2027-01-31", "# two lines\n", "# two lines\n  expires = 2027-01-31\n"),
        ] {
            let text = changed(FORMS, |edit| edit.set(&name(user), key, value.to_owned()));
            assert_eq!(text, forms_with(old, new), "{user}");
        }
    }

    #[test]
    fn a_condition_is_taken_out_of_every_form() {
        for (user, key, old, new) in [
            ("alice", "disabled", "# since 2020", "# since 2020"),
            ("bob b", "from", ", from = [\"::1\"]", ""),
            ("carol", "expires", "carol . expires  =  2027-01-31 # contract\n", ""),
            ("dave", "disabled", "  disabled = false\n", ""),
        ] {
            let text = changed(FORMS, |edit| edit.unset(&name(user), key).unwrap());
            assert_eq!(text, forms_with(old, new), "{user}");
        }
        let text = "[users]\na = { disabled = true, password = \"a\" }\n";
        let enabled = changed(text, |edit| edit.unset(&name("a"), "disabled").unwrap());
        assert_eq!(enabled, "[users]\na = { password = \"a\" }\n");
    }

    #[test]
    fn comments_between_braces_stay() {
        for (text, enabled) in [
            (
                "[users]\na = { password = \"a\", # mine\n disabled = true }\n",
                "[users]\na = { password = \"a\", # mine\n disabled = false }\n",
            ),
            (
                "[users]\na = { disabled = true, # why\n password = \"a\" }\n",
                "[users]\na = { disabled = false, # why\n password = \"a\" }\n",
            ),
            (
                "[users]\na = { password = \"a#\", disabled = true # why\n }\n",
                "[users]\na = { password = \"a#\" # why\n }\n",
            ),
        ] {
            assert_eq!(changed(text, |edit| edit.unset(&name("a"), "disabled").unwrap()), enabled);
        }
        let text = "[users]\na = { password = \"a\", # mine\n expires = 2027-01-31 }\n";
        let problem = Edit::new(text).unwrap().unset(&name("a"), "expires").unwrap_err();
        assert_eq!(problem.to_string(), "3:2: a comment would go with expires: take expires out by hand");
    }

    #[test]
    fn a_user_goes_with_their_lines_and_the_comments_above_stay() {
        for (user, old) in [
            ("alice", "alice = \"a\"     # since 2020\n"),
            (
                "bob b",
                "  \"bob b\"   = { password = 'b', # his\n             disabled = true, from = [\"::1\"] } # gone\n",
            ),
            ("carol", "carol . password = \"c\" # hers\ncarol . expires  =  2027-01-31 # contract\n"),
        ] {
            let text = changed(FORMS, |edit| edit.remove(&name(user)));
            assert_eq!(text, forms_with(old, ""), "{user}");
        }
        let text = changed(FORMS, |edit| edit.remove(&name("dave")));
        let rest = FORMS.split_once("[users.dave]").unwrap().0;
        assert_eq!(text, format!("{rest}  # secret\n# end\n"));
    }

    #[test]
    fn a_new_user_comes_after_the_last_in_the_form_of_the_file() {
        for (text, added) in [
            ("[users]\n", "[users]\nzoe = \"new\"\n"),
            ("[users]", "[users]\nzoe = \"new\""),
            ("[users]\n\n# nobody\n", "[users]\nzoe = \"new\"\n\n# nobody\n"),
            ("[users]\na = \"a\" # a\n\n# end", "[users]\na = \"a\" # a\nzoe = \"new\"\n\n# end"),
            ("[users]\na = \"a\" # a", "[users]\na = \"a\" # a\nzoe = \"new\""),
            ("[users]\r\n  a = \"a\"\r\n", "[users]\r\n  a = \"a\"\r\n  zoe = \"new\"\r\n"),
            ("users.a.password = \"a\"\n", "users.a.password = \"a\"\nusers.zoe = \"new\"\n"),
            (
                "[users.a]\npassword = \"a\"\n",
                "[users.a]\npassword = \"a\"\n\n[users.zoe]\npassword = \"new\"\n",
            ),
            (
                "[users.a]\npassword = \"a\"\n[users]\n# more\n",
                "[users.a]\npassword = \"a\"\n[users]\nzoe = \"new\"\n# more\n",
            ),
            ("\u{feff}[users]\na = \"a\"\n", "\u{feff}[users]\na = \"a\"\nzoe = \"new\"\n"),
            ("\u{feff}users.a = \"a\"\n", "\u{feff}users.a = \"a\"\nusers.zoe = \"new\"\n"),
        ] {
            assert_eq!(changed(text, |edit| edit.add(&user("zoe", &[]))), added, "{text:?}");
        }
    }

    #[test]
    fn new_users_may_have_conditions_and_names_in_need_of_quotes() {
        let conditions = [("disabled", "true"), ("expires", "2027-01-31")];
        let text = changed("[users]\n", |edit| {
            edit.add(&user("zo\u{eb}.x", &conditions));
            edit.add(&user("y", &[]));
        });
        assert_eq!(
            text,
            "[users]\n\"zo\u{eb}.x\" = { password = \"new\", disabled = true, expires = 2027-01-31 }\ny = \"new\"\n"
        );
    }

    #[test]
    fn the_section_stays_when_the_last_user_goes() {
        for (text, empty) in [
            ("[users]\na = \"a\"\n", "[users]\n"),
            ("# all\n[users.a] # of a\npassword = \"a\"\n", "# all\n[users]\n"),
            ("users.a = \"a\"", "[users]\n"),
            ("users.a = \"a\"\n# end", "# end\n[users]"),
            ("# all\nusers.a = \"a\"", "# all\n[users]\n"),
        ] {
            assert_eq!(changed(text, |edit| edit.remove(&name("a"))), empty, "{text:?}");
        }
    }

    #[test]
    fn two_changes_of_one_place_are_not_made() {
        let mut edit = Edit::new(FORMS).unwrap();
        edit.set(&name("alice"), "disabled", "true".into());
        edit.set_password(&name("alice"), &Password::new("new").unwrap());
        assert_eq!(edit.finish().err(), Some(Overlap));
    }

    #[test]
    fn a_mark_in_front_of_the_text_is_not_written_again() {
        let text = changed("\u{feff}users.a.password = \"a\"\n", |edit| {
            edit.set(&name("a"), "disabled", "true".into());
        });
        assert_eq!(text, "\u{feff}users.a.password = \"a\"\nusers.a.disabled = true\n");
    }

    #[test]
    fn users_between_braces_are_refused_with_a_remedy() {
        let problem = Edit::new("users = { a = \"a\" }\n").err().unwrap();
        assert!(problem.to_string().starts_with("1:1: users are between braces"), "{problem}");
    }
}

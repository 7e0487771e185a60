//! Changes of the keys of a user: `password` or `opaque`, and the conditions.

use std::ops::Range;

use toml_edit::{Item, TableLike};
use zeroize::Zeroizing;

use super::Edit;
use super::places::{Part, indent, parts, span};
use crate::credential::Credential;
use proto::credentials::Username;
use users::{Problem, locate};

impl Edit<'_> {
    /// Sets a condition of a user to a value in TOML.
    pub(crate) fn set(&mut self, name: &Username, key: &str, value: String) {
        self.set_all(name, &[(key, Zeroizing::new(value))]);
    }

    /// Sets keys of a user to values in TOML: those that there are where they are, the others after them.
    pub(super) fn set_all(&mut self, name: &Username, keys: &[(&str, Zeroizing<String>)]) {
        let Some(entry) = self.entry(name) else { return };
        let Some(table) = entry.as_table_like() else {
            let password = span(entry);
            let new = self.in_braces(password.clone(), keys);
            return self.change(password, new);
        };
        let (old, new): (Vec<_>, Vec<_>) = keys.iter().partition(|(key, _)| table.contains_key(key));
        let new: Vec<_> =
            new.iter().map(|(key, value)| Zeroizing::new(format!("{key} = {}", **value))).collect();
        let old: Vec<_> =
            old.iter().filter_map(|(key, value)| Some((span(table.get(key)?), value.to_string()))).collect();
        let added =
            if let Item::Table(_) = entry { self.new_lines(table, &new) } else { in_row(table, &new) };
        old.into_iter().chain(added).for_each(|(place, new)| self.change(place, new));
    }

    /// The value of a user who has had nothing but a password, once they have these keys.
    fn in_braces(&self, password: Range<usize>, keys: &[(&str, Zeroizing<String>)]) -> String {
        let old = self.text.get(password).unwrap_or_default();
        let password = keys.iter().find(|(key, _)| *key == "password").map_or(old, |(_, value)| value);
        let others: Vec<_> = keys.iter().filter(|(key, _)| *key != "password").collect();
        if others.is_empty() {
            return password.to_owned();
        }
        let others: Zeroizing<String> =
            Zeroizing::new(others.iter().map(|(key, value)| format!(", {key} = {}", **value)).collect());
        format!("{{ password = {password}{} }}", *others)
    }

    /// Keys with their values as lines below that of the password or record.
    fn new_lines(&self, table: &dyn TableLike, keys: &[Zeroizing<String>]) -> Option<(Range<usize>, String)> {
        let password = parts(table).into_iter().find(|part| Credential::KEYS.contains(&part.name))?;
        let indent = indent(self.text, password.key.start);
        let lines: Vec<_> = keys.iter().map(|key| Zeroizing::new(format!("{indent}{}", **key))).collect();
        let lines =
            Zeroizing::new(lines.iter().map(|line| line.as_str()).collect::<Vec<_>>().join(self.newline));
        let at = self.lines(&password.value).end;
        (!keys.is_empty()).then(|| (at..at, self.as_line(at, &lines)))
    }

    /// Removes a condition of a user, if there is one.
    ///
    /// # Errors
    /// If that would remove a comment.
    pub(crate) fn unset(&mut self, name: &Username, key: &str) -> Result<(), Problem> {
        self.unset_all(name, &[key])
    }

    /// Removes keys of a user, if there are any. At least one other key is left.
    pub(super) fn unset_all(&mut self, name: &Username, keys: &[&str]) -> Result<(), Problem> {
        let Some(entry) = self.entry(name) else { return Ok(()) };
        let parts = entry.as_table_like().map(parts).unwrap_or_default();
        let is_kept = |part: &Part<'_>| !keys.contains(&part.name);
        let mut places = Vec::new();
        for (index, part) in parts.iter().enumerate().filter(|(_, part)| !is_kept(part)) {
            let (before, after) = (parts.get(..index).unwrap_or_default(), parts.get(index + 1));
            // The comma before goes as well, or that after where nothing is left before.
            let place = match (entry, before.last(), after) {
                (Item::Table(_), _, _) => self.lines(&part.whole()),
                (_, Some(last), _) if before.iter().any(is_kept) => last.value.end..part.value.end,
                (_, _, Some(after)) => part.key.start..after.key.start,
                (_, _, None) => part.whole(),
            };
            places.push(self.without_comment(entry, part, place)?);
        }
        places.into_iter().for_each(|(place, new)| self.change(place, new));
        Ok(())
    }

    /// The change that takes a key out at this place.
    ///
    /// # Errors
    /// If there is a comment in braces, unless the key can have a value that means nothing.
    fn without_comment(
        &self,
        entry: &Item,
        part: &Part<'_>,
        place: Range<usize>,
    ) -> Result<(Range<usize>, String), Problem> {
        let around = [place.start..part.value.start, part.value.end..place.end];
        let has_comment =
            around.into_iter().any(|place| self.text.get(place).unwrap_or_default().contains('#'));
        match (entry, part.name) {
            (Item::Table(_), _) => Ok((place, String::new())),
            (_, "disabled") if has_comment => Ok((part.value.clone(), "false".to_owned())),
            (_, key) if has_comment => {
                let message = format!("a comment would go with {key}: take {key} out by hand");
                Err(locate(self.text, &part.key, message))
            }
            (_, _) => Ok((place, String::new())),
        }
    }
}

/// Keys with their values after the last in braces.
fn in_row(table: &dyn TableLike, keys: &[Zeroizing<String>]) -> Option<(Range<usize>, String)> {
    let end = parts(table).last()?.value.end;
    let row = keys.iter().map(|key| format!(", {}", **key)).collect();
    (!keys.is_empty()).then_some((end..end, row))
}

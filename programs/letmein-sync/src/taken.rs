//! What was taken of the database: how much, and what of it is no user.

use std::fmt::Display;
use std::io;
use std::mem;

use engine::Given;
use proto::small::md5;
use tracing::warn;
use users::synced::Row;

/// What was taken of the database.
pub(crate) struct Taken {
    /// Users, or changes of users, that were written. A removal in the place of a row that is no user is none.
    pub(crate) rows: usize,
    pub(crate) invalid: Invalid,
    written: io::Result<()>,
}

impl Default for Taken {
    fn default() -> Self {
        Self { rows: 0, invalid: Invalid::default(), written: Ok(()) }
    }
}

impl Taken {
    /// Writes a user. A row that is none is left out.
    pub(crate) fn note_user(&mut self, given: Given<'_>, write: impl FnOnce(&Row<'_>) -> io::Result<()>) {
        match given.row {
            Ok(row) => self.write_counted(&row, write),
            Err(error) => self.invalid.note(given.name, &error),
        }
    }

    /// Writes a change. A row that is no user removes the one whom it was before.
    pub(crate) fn note_change(&mut self, given: Given<'_>, write: impl FnOnce(&Row<'_>) -> io::Result<()>) {
        match given.row {
            Ok(row) => self.write_counted(&row, write),
            Err(error) => {
                self.invalid.note(given.name, &error);
                let removed = Row::removed(given.name);
                // A name that breaks the rules was never a user's.
                if removed.check().is_ok() {
                    self.write(&removed, write);
                }
            }
        }
    }

    fn write_counted(&mut self, row: &Row<'_>, write: impl FnOnce(&Row<'_>) -> io::Result<()>) {
        self.rows += usize::from(self.written.is_ok());
        self.write(row, write);
    }

    fn write(&mut self, row: &Row<'_>, write: impl FnOnce(&Row<'_>) -> io::Result<()>) {
        if self.written.is_ok() {
            self.written = write(row);
        }
    }

    /// Whether all was written.
    pub(crate) fn written(&mut self) -> io::Result<()> {
        mem::replace(&mut self.written, Ok(()))
    }
}

/// Rows that are no users.
#[derive(Default)]
pub(crate) struct Invalid {
    /// How many there are.
    pub(crate) rows: u64,
    /// The first of them.
    found: Vec<InvalidRow>,
}

/// How a row is found in the database, and why it is no user. Neither shows the row.
struct InvalidRow {
    /// The first digits of the MD5 of the name.
    hash: String,
    reason: String,
}

/// So many rows are told apart at a time.
const FOUND_MAX: usize = 5;
/// With so many digits there is hardly another row that has them, among any number of users.
const HASH_LEN: usize = 12;

impl Invalid {
    pub(crate) fn note(&mut self, name: &str, reason: &dyn Display) {
        self.rows += 1;
        if self.found.len() < FOUND_MAX {
            let hash = md5::answer(name.as_bytes()).iter().take(HASH_LEN).copied().map(char::from).collect();
            self.found.push(InvalidRow { hash, reason: reason.to_string() });
        }
    }

    /// Ends a line that says how many there are, by why the first of them is none.
    pub(crate) fn first_text(&self) -> String {
        self.found.first().map_or_else(String::new, |first| format!("; the first: {}", first.reason))
    }

    /// Ends a log line.
    pub(crate) fn text(&self) -> String {
        if self.rows == 0 {
            return String::new();
        }
        format!("; rows that are no users: {}{}", self.rows, self.first_text())
    }

    /// A line for each of the first.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let line = |row: &InvalidRow| {
            format!("{}: the row with md5(name) LIKE '{}%' is no user", row.reason, row.hash)
        };
        self.found.iter().map(line)
    }

    /// Logs these lines.
    pub(crate) fn log(&self) {
        self.lines().for_each(|line| warn!("{line}"));
    }
}

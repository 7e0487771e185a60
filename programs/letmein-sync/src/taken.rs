//! What was taken of the database: how much, and what of it is no user.

use std::io;
use std::mem;

use engine::Given;
use users::synced::Row;

/// What was taken of the database.
pub(crate) struct Taken {
    /// Rows that were written.
    pub(crate) rows: usize,
    /// Rows that are no users.
    pub(crate) invalid: u64,
    /// Why the first of them is none.
    first: Option<String>,
    written: io::Result<()>,
}

impl Default for Taken {
    fn default() -> Self {
        Self { rows: 0, invalid: 0, first: None, written: Ok(()) }
    }
}

impl Taken {
    /// Writes a user. A row that is none is left out.
    pub(crate) fn note_user(&mut self, given: Given<'_>, write: impl FnOnce(&Row<'_>) -> io::Result<()>) {
        match given.row {
            Ok(row) => self.write(&row, write),
            Err(error) => self.invalid(error.to_string()),
        }
    }

    /// Writes a change. A row that is no user removes the one whom it was before.
    pub(crate) fn note_change(&mut self, given: Given<'_>, write: impl FnOnce(&Row<'_>) -> io::Result<()>) {
        match given.row {
            Ok(row) => self.write(&row, write),
            Err(error) => {
                self.invalid(error.to_string());
                let removed = Row::removed(given.name);
                // A name that breaks the rules was never a user's.
                if removed.check().is_ok() {
                    self.write(&removed, write);
                }
            }
        }
    }

    fn write(&mut self, row: &Row<'_>, write: impl FnOnce(&Row<'_>) -> io::Result<()>) {
        if self.written.is_ok() {
            self.rows += 1;
            self.written = write(row);
        }
    }

    /// Whether all was written.
    pub(crate) fn written(&mut self) -> io::Result<()> {
        mem::replace(&mut self.written, Ok(()))
    }

    fn invalid(&mut self, reason: String) {
        self.invalid += 1;
        self.first.get_or_insert(reason);
    }

    /// Ends a log line.
    pub(crate) fn invalid_text(&self) -> String {
        let Self { invalid, first, .. } = self;
        first.as_ref().map_or_else(String::new, |first| {
            format!("; rows that are no users: {invalid}; the first: {first}")
        })
    }
}

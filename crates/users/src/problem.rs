//! What is wrong in a text, and where.

use std::fmt;
use std::ops::Range;

/// Something wrong in a users file. It never shows a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Problems in the order of a text, with the line and column of each place, in one pass through it.
pub(crate) fn locate_all(text: &str, mut problems: Vec<(Range<usize>, String)>) -> Vec<Problem> {
    problems.sort_by_key(|(place, _)| place.start);
    let (mut seen, mut at) = (0, (1, 1));
    let located = problems.into_iter().map(|(place, message)| {
        at = behind(at, text.get(seen..place.start).unwrap_or_default());
        seen = place.start;
        Problem { line: at.0, column: at.1, message }
    });
    located.collect()
}

/// A problem with the line and column of its place in a text.
#[must_use]
pub fn locate(text: &str, place: &Range<usize>, message: String) -> Problem {
    let (line, column) = behind((1, 1), text.get(..place.start).unwrap_or(text));
    Problem { line, column, message }
}

/// The line and column behind a text that begins at a line and column.
fn behind(start: (usize, usize), text: &str) -> (usize, usize) {
    text.chars().fold(start, |(line, column), character| match character {
        '\n' => (line + 1, 1),
        _ => (line, column + 1),
    })
}

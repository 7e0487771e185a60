//! Where entries and lines are in the text of a users file.

use std::ops::Range;

use toml_edit::{Item, Table, TableLike};

/// The byte order mark, which some editors write at the start of a text.
pub(super) const BOM: char = '\u{feff}';

/// Where new users go.
pub(super) enum Room {
    /// Lines at this offset, with this indent.
    Lines { at: usize, indent: String },
    /// A section each, at the end.
    Sections,
}

impl Room {
    /// Room after the last line of the section of users, or after its header.
    pub(super) fn of(text: &str, users: &Table) -> Self {
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
            Self::Lines { at: lines(text, &(end..end)).end, indent }
        } else if has_header(users) {
            Self::Lines { at: lines(text, &users.span().unwrap_or_default()).end, indent: String::new() }
        } else {
            Self::Sections
        }
    }
}

/// A key with its value.
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

impl Part<'_> {
    pub(super) fn whole(&self) -> Range<usize> {
        self.key.start..self.value.end
    }
}

/// The keys and values of an entry, in the order of the text.
pub(super) fn parts(table: &dyn TableLike) -> Vec<Part<'_>> {
    let part = |(name, value): (_, &Item)| {
        let (key, _) = table.get_key_value(name)?;
        Some(Part { name, key: key.span()?, value: span(value) })
    };
    let mut parts: Vec<_> = table.iter().filter_map(part).collect();
    parts.sort_by_key(|part| part.key.start);
    parts
}

pub(super) fn span(item: &Item) -> Range<usize> {
    item.span().unwrap_or_default()
}

pub(super) fn has_header(users: &Table) -> bool {
    !users.is_implicit() && !users.is_dotted()
}

/// The indent of the line with this key, without a byte order mark.
pub(super) fn indent(text: &str, key_start: usize) -> &str {
    let line_start = lines(text, &(key_start..key_start)).start;
    text.get(line_start..key_start).unwrap_or_default().trim_start_matches(BOM)
}

/// The key before the last dot in front of a part: the name in `users."bob b" . password`.
pub(super) fn key_before(text: &str, part_start: usize) -> Option<Range<usize>> {
    let line_start = lines(text, &(part_start..part_start)).start;
    let before = text.get(line_start..part_start)?.trim_end().strip_suffix('.')?.trim_end();
    let (mut start, mut quote, mut is_escaped) = (None, None, false);
    for (at, character) in before.char_indices() {
        match (quote, character) {
            (Some('"'), '\\') => is_escaped = !is_escaped,
            (Some(open), _) if open == character && !is_escaped => quote = None,
            (Some(_), _) => is_escaped = false,
            (None, '.') => start = None,
            (None, ' ' | '\t' | BOM) => {}
            (None, _) => {
                start = start.or(Some(at));
                quote = Some(character).filter(|it| matches!(it, '"' | '\''));
            }
        }
    }
    Some(line_start + start?..line_start + before.len())
}

/// The whole lines that a range touches, with the newline of the last.
pub(super) fn lines(text: &str, place: &Range<usize>) -> Range<usize> {
    let start =
        text.get(..place.start).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    let end = text.get(place.end..).and_then(|after| after.find('\n'));
    start..end.map_or(text.len(), |newline| place.end + newline + 1)
}

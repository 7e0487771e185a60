//! What a stranger wrote, as it may be shown on a terminal or in a log.

use std::fmt;

/// Bytes of a stranger as text for a terminal: what is no text or would steer the terminal is escaped, what is
/// long is cut.
pub struct Shown<'a>(pub &'a [u8]);

/// Characters of a message that are printed.
const SHOWN_MAX: usize = 1000;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No character has more than four bytes.
        let start = self.0.get(..4 * SHOWN_MAX).unwrap_or(self.0);
        for character in String::from_utf8_lossy(start).chars().take(SHOWN_MAX) {
            match character {
                '"' | '\'' => write!(f, "{character}")?,
                _ => write!(f, "{}", character.escape_debug())?,
            }
        }
        let is_cut =
            start.len() < self.0.len() || String::from_utf8_lossy(start).chars().nth(SHOWN_MAX).is_some();
        f.write_str(if is_cut { "…" } else { "" })
    }
}

/// Text of a stranger, whole and as it is, but for what would steer a terminal: that is escaped.
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(steers_terminals) {
            let (plain, from) = rest.split_at(at);
            f.write_str(plain)?;
            let mut characters = from.chars();
            if let Some(character) = characters.next() {
                write!(f, "{}", character.escape_debug())?;
            }
            rest = characters.as_str();
        }
        f.write_str(rest)
    }
}

/// Control characters, of which a tab alone is plain text, and those that reorder a line.
fn steers_terminals(character: char) -> bool {
    let reorders = matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    reorders || (character.is_control() && character != '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_escaped_and_all_else_is_shown() {
        let shown = |bytes| Shown(bytes).to_string();
        assert_eq!(shown(b"It's \"fine\", zo\xc3\xab"), "It's \"fine\", zoë");
        assert_eq!(shown(b"\x1b[2J\r\n\0"), "\\u{1b}[2J\\r\\n\\0");
        assert_eq!(shown("a\u{202e}b\u{9b}".as_bytes()), "a\\u{202e}b\\u{9b}");
        assert_eq!(shown(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn what_is_long_is_cut() {
        assert_eq!(Shown(&[b'a'; SHOWN_MAX]).to_string(), "a".repeat(SHOWN_MAX));
        assert_eq!(Shown(&[b'a'; SHOWN_MAX + 1]).to_string(), "a".repeat(SHOWN_MAX) + "…");
        assert_eq!(Shown(&[b'a'; 65_507]).to_string(), "a".repeat(SHOWN_MAX) + "…");
    }
}

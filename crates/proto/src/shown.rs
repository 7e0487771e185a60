//! Shows untrusted text on a terminal or in a log.

use std::fmt;

/// Shows untrusted bytes as text of at most 1000 characters. Characters that would control the terminal are escaped.
pub struct Shown<'a>(pub &'a [u8]);

/// Characters of a message that are shown.
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

/// Shows untrusted text in full. Characters that would control the terminal are escaped.
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(controls_terminals) {
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

/// Control characters except the tab, and characters that reorder a line.
fn controls_terminals(character: char) -> bool {
    let reorders = matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    reorders || (character.is_control() && character != '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_control_a_terminal_are_escaped_and_others_are_shown() {
        let shown = |bytes| Shown(bytes).to_string();
        assert_eq!(shown(b"It's \"fine\", zo\xc3\xab"), "It's \"fine\", zoë");
        assert_eq!(shown(b"\x1b[2J\r\n\0"), "\\u{1b}[2J\\r\\n\\0");
        assert_eq!(shown("a\u{202e}b\u{9b}".as_bytes()), "a\\u{202e}b\\u{9b}");
        assert_eq!(shown(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(Shown(&[b'a'; SHOWN_MAX]).to_string(), "a".repeat(SHOWN_MAX));
        assert_eq!(Shown(&[b'a'; SHOWN_MAX + 1]).to_string(), "a".repeat(SHOWN_MAX) + "…");
        assert_eq!(Shown(&[b'a'; 65_507]).to_string(), "a".repeat(SHOWN_MAX) + "…");
    }
}

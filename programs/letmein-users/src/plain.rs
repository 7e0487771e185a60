//! Text as people can read it, and as no terminal obeys it.

use std::fmt;

/// Shows names and messages with names in them. Characters that would control the terminal, change the direction of
/// writing or be invisible are escaped; accents are not, except where there is no letter to bear them.
pub(crate) struct Plain<'a>(pub(crate) &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.0.split_inclusive(QUOTES) {
            let text = piece.trim_end_matches(QUOTES);
            write!(f, "{}{}", text.escape_debug(), piece.get(text.len()..).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// They need no escape outside of quotes.
const QUOTES: [char; 2] = ['"', '\''];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_they_are_but_for_what_nobody_sees() {
        for (text, shown) in [
            ("zo\u{eb} \"x\" it's", "zo\u{eb} \"x\" it's"),
            ("zoe\u{308}", "zoe\u{308}"),
            ("\u{928}\u{93f}", "\u{928}\u{93f}"),
            ("\u{308}a '\u{308}'", "\\u{308}a '\\u{308}'"),
            ("a\u{202e}b\u{200b}c\u{1b}[2J\r", "a\\u{202e}b\\u{200b}c\\u{1b}[2J\\r"),
        ] {
            assert_eq!(Plain(text).to_string(), shown);
        }
    }
}

//! One form for each name and password, however a keyboard writes it: RFC 8265, with the profile UsernameCasePreserved
//! for names and OpaqueString for passwords.
//!
//! `é` is one character or two, `e` and an accent; people see no difference, and a digest does. So what is typed and
//! what is stored is brought into the same form first. Nothing is refused for that: [`unfit_for_names`] and
//! [`unfit_for_passwords`] find what a new name or password should not have, while an old one stays as it is.

use std::borrow::Cow;
use std::iter;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{decompose_compatible, is_combining_mark};
use zeroize::Zeroizing;

/// The name in its normal form (RFC 8265, section 3.4.2): full-width and half-width characters as ordinary ones, then
/// Unicode's form C. Its case stays.
#[must_use]
pub fn name(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut wide = String::with_capacity(text.len());
    for character in text.chars() {
        if has_width(character) {
            decompose_compatible(character, |plain| wide.push(plain));
        } else {
            wide.push(character);
        }
    }
    Cow::Owned(wide.nfc().collect())
}

/// The password in its normal form (RFC 8265, section 4.2.2): every space as U+0020, then Unicode's form C.
#[must_use]
pub fn password(text: &str) -> Zeroizing<String> {
    // One allocation that is large enough: a buffer that grows leaves copies behind.
    let mut normal = Zeroizing::new(String::with_capacity(GROWTH_MAX * text.len()));
    normal.extend(text.chars().map(|character| if is_space(character) { ' ' } else { character }).nfc());
    normal
}

/// The first character that a name in its normal form should not have: neither a letter, a digit, a mark of one, a
/// character of ASCII nor a space. Symbols, invisible characters and those that change the direction of writing are
/// such, since they let two names look alike (RFC 8264, section 4.2).
///
/// The rules for directions and contexts are left out. They tell scripts apart, and need more tables than they are
/// worth here.
#[must_use]
pub fn unfit_for_names(name: &str) -> Option<char> {
    name.chars().find(|character| !fits_names(*character))
}

/// The first control character of a password, which few keyboards can write (RFC 8264, section 4.3).
#[must_use]
pub fn unfit_for_passwords(password: &str) -> Option<char> {
    password.chars().find(|character| character.is_control())
}

/// By how much form C may lengthen a text in UTF-8 (Unicode Standard Annex 15, section 12.2).
const GROWTH_MAX: usize = 3;

/// Whether a character has a full or half width, and the other form as its decomposition. Of Hangul letters that
/// decomposition is not the end, and no keyboard writes them.
fn has_width(character: char) -> bool {
    matches!(character, '\u{3000}' | '\u{ff01}'..='\u{ff9f}' | '\u{ffe0}'..='\u{ffe2}' | '\u{ffe4}'..='\u{ffee}')
}

/// The characters of the category Zs.
fn is_space(character: char) -> bool {
    character.is_whitespace() && !character.is_control() && !matches!(character, '\u{2028}' | '\u{2029}')
}

fn fits_names(character: char) -> bool {
    match character {
        ' '..='~' => true,
        // The fillers and selectors among letters and marks are invisible.
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' => false,
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => false,
        _ => {
            let is_plain = iter::once(character).nfkc().eq(iter::once(character));
            is_plain && (character.is_alphanumeric() || is_combining_mark(character))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_form_however_it_is_typed() {
        for (typed, normal) in [
            ("juliet", "juliet"),
            ("Juliet", "Juliet"),
            ("zo\u{eb}", "zo\u{eb}"),
            ("zoe\u{308}", "zo\u{eb}"),
            ("fu\u{df}ball", "fu\u{df}ball"),
            ("\u{3c0}", "\u{3c0}"),
            ("\u{ff4a}\u{ff55}\u{ff4c}\u{ff49}\u{ff45}\u{ff54}", "juliet"),
            ("a\u{3000}b", "a b"),
            ("\u{ff76}\u{ff9e}", "\u{30ac}"),
            ("\u{1100}\u{1161}", "\u{ac00}"),
            ("\u{212b}", "\u{c5}"),
            ("\u{2163}", "\u{2163}"),
        ] {
            assert_eq!(name(typed), normal, "{typed:?}");
            assert_eq!(name(&name(typed)), normal, "{typed:?}");
        }
    }

    #[test]
    fn a_password_has_one_form_and_keeps_its_width_and_its_spaces() {
        for (typed, normal) in [
            ("", ""),
            (" correct horse battery staple ", " correct horse battery staple "),
            ("\u{3c0}\u{df}a\u{30a}", "\u{3c0}\u{df}\u{e5}"),
            ("Jack of \u{2666}s", "Jack of \u{2666}s"),
            ("foo\u{1680}bar\u{a0}\u{3000}", "foo bar  "),
            ("\u{ff50}", "\u{ff50}"),
            ("a\tb\u{2028}c", "a\tb\u{2028}c"),
        ] {
            assert_eq!(*password(typed), normal, "{typed:?}");
            assert_eq!(*password(&password(typed)), normal, "{typed:?}");
        }
    }

    /// U+1D160 becomes three characters of four bytes.
    #[test]
    fn a_password_grows_within_its_first_buffer() {
        for text in ["\u{1d160}".repeat(32), "\u{390}".repeat(64), "\u{fb2c}".repeat(42)] {
            let buffer = String::with_capacity(GROWTH_MAX * text.len()).capacity();
            assert_eq!(password(&text).capacity(), buffer, "{text}");
        }
    }

    #[test]
    fn letters_digits_and_marks_of_all_scripts_are_fit_for_names_and_what_looks_like_others_is_not() {
        let good = ["userone", "o'neill <it>; -x", "zo\u{eb}", "\u{3c0}", "\u{5d0}\u{5d1}", "\u{928}\u{93f}"];
        for good in good.into_iter().chain(["\u{4e2d}\u{6587} 7", "\u{ac00}", "x\u{338}", "\u{664}"]) {
            assert_eq!(unfit_for_names(good), None, "{good}");
        }
        for unfit in [
            '\u{265a}',
            '\u{2163}',
            '\u{202e}',
            '\u{200b}',
            '\u{feff}',
            '\u{fe0f}',
            '\u{ad}',
            '\u{a0}',
            '\u{e000}',
            '\u{115f}',
            '\u{34f}',
            '\u{378}',
            '\u{1f600}',
            '\u{fb01}',
            '\t',
        ] {
            assert_eq!(unfit_for_names(&format!("a{unfit}b")), Some(unfit), "{unfit:?}");
        }
    }

    #[test]
    fn control_characters_are_not_fit_for_passwords() {
        assert_eq!(unfit_for_passwords("my cat is a \tby"), Some('\t'));
        assert_eq!(unfit_for_passwords("my cat is a \u{2666}, \u{1f63a}"), None);
    }
}

//! How long a password would hold against somebody who has captured an exchange and tries passwords on it.

use std::fmt;

use zxcvbn::matching::Match;
use zxcvbn::matching::patterns::MatchPattern;
use zxcvbn::{Entropy, zxcvbn};

use proto::credentials::{Password, Username};

/// What one GPU tries, for the protocol prescribes one MD5.
const GUESSES_A_SECOND: f64 = 1e11;
const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;
const YEAR: f64 = 365.25 * DAY;
/// What a password should hold at least.
const ENOUGH: f64 = 10.0 * YEAR;
/// What `zxcvbn` counts for a character in which it sees no pattern.
const COUNTED: f64 = 10.0;
/// What counts for one among small letters, capitals and digits: half of them, for it may be part of a word.
const MIXED: f64 = 31.0;

/// What counts for one that may be of words which `zxcvbn` does not know.
const WORDS: f64 = 8.0;

/// The time that one GPU needs.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Holds {
    seconds: f64,
}

impl Holds {
    /// Estimates it by the words and patterns in a password.
    pub(crate) fn estimate(name: &Username, password: &Password) -> Self {
        let text = str::from_utf8(password.expose()).unwrap_or_default();
        let entropy = zxcvbn(text, &[name.as_str()]);
        let guesses = if entropy.guesses() == u64::MAX {
            // From here on it counts no further, but it does for each part.
            entropy.sequence().iter().map(of_part).product()
        } else {
            entropy.guesses() as f64
        };
        Self { seconds: guesses * random(&entropy) / GUESSES_A_SECOND }
    }

    /// Whether the password is one to be warned of.
    pub(crate) fn is_too_short(self) -> bool {
        self.seconds < ENOUGH
    }
}

/// The guesses for a part, also where `zxcvbn` counts no further.
fn of_part(part: &Match) -> f64 {
    match part.guesses {
        Some(guesses) if guesses < u64::MAX => guesses as f64,
        Some(_) | None => COUNTED.powf(part.token.chars().count() as f64),
    }
}

/// How many times more guesses there are, or fewer, where a password has no pattern: `zxcvbn` takes any text for one
/// that people chose, but nobody chooses small letters, capitals and digits in a jumble; and it knows few languages.
fn random(entropy: &Entropy) -> f64 {
    let stretches = entropy.sequence().iter().filter(|part| matches!(part.pattern, MatchPattern::BruteForce));
    stretches.map(|part| (worth(&part.token) / COUNTED).powf(part.token.chars().count() as f64)).product()
}

/// What counts for a character of a text in which `zxcvbn` sees no pattern. In a jumble there is another class after at
/// least a third of the characters; words that are written together, with numbers between them, are none.
fn worth(text: &str) -> f64 {
    let classes: Vec<_> = text.chars().map(Class::of).collect();
    let neighbours = classes.iter().zip(classes.iter().skip(1));
    // Words begin with a capital.
    let changes = neighbours
        .filter(|(first, second)| first != second && (**first, **second) != (Class::Capital, Class::Small));
    let is_jumble = 3 * changes.count() >= classes.len().saturating_sub(1);
    let has_all = [Class::Small, Class::Capital, Class::Digit].iter().all(|class| classes.contains(class));
    match (is_jumble, has_all) {
        (true, true) => MIXED,
        (true, false) => COUNTED,
        (false, _) => WORDS,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Small,
    Capital,
    Digit,
    Other,
}

impl Class {
    fn of(character: char) -> Self {
        match character {
            _ if character.is_lowercase() => Self::Small,
            _ if character.is_uppercase() => Self::Capital,
            _ if character.is_numeric() => Self::Digit,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds } = *self;
        let units = [(YEAR, "years"), (DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes"), (1.0, "seconds")];
        match units.into_iter().find(|(unit, _)| seconds >= 2.0 * unit) {
            Some((unit, name)) => write!(f, "{:.0} {name}", seconds / unit),
            None if seconds >= 1.0 => f.write_str("a second"),
            None => f.write_str("less than a second"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(password: &str) -> Holds {
        Holds::estimate(&"alice".parse().unwrap(), &Password::new(password).unwrap())
    }

    #[test]
    fn what_people_think_of_is_too_short() {
        for password in [
            "a",
            "password",
            "passwordone",
            "alice2027",
            "Tr0ub4dor&3",
            "correct horse battery",
            "qwertyuiop[]",
            "DieKatzeIst3Jahre",
            "Hans1Peter2Klaus3",
            "Kartoffelsalat2024Oma",
        ] {
            assert!(holds(password).is_too_short(), "{password}: {}", holds(password));
        }
    }

    #[test]
    fn what_is_drawn_by_lot_is_long_enough() {
        for password in ["kmzx7q2vtb9dhwy4nfcrp3sgj8", "o5Ww3hLq/UXbXk0sV9sZr1dA", "R7vK2mXq9LpT4wBz"] {
            assert!(!holds(password).is_too_short(), "{password}: {}", holds(password));
        }
    }

    #[test]
    fn times_are_told_in_the_largest_unit_of_which_there_are_two() {
        for (seconds, shown) in [
            (0.001, "less than a second"),
            (1.0, "a second"),
            (119.0, "119 seconds"),
            (120.0, "2 minutes"),
            (3.0 * HOUR, "3 hours"),
            (400.0 * DAY, "400 days"),
            (9.0 * YEAR, "9 years"),
        ] {
            assert_eq!(Holds { seconds }.to_string(), shown);
        }
    }
}

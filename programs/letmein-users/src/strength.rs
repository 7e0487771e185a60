//! How long a password would resist an attacker who has captured a login and tries passwords on it.

use std::fmt;

use zxcvbn::matching::Match;
use zxcvbn::matching::patterns::MatchPattern;
use zxcvbn::{Entropy, zxcvbn};

use proto::credentials::{Password, Username};

/// Guesses a second of one GPU: the protocol prescribes a single MD5.
const GUESSES_A_SECOND: f64 = 1e11;
const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;
const YEAR: f64 = 365.25 * DAY;
/// How long a password should hold at least.
const ENOUGH: f64 = 10.0 * YEAR;
/// Choices that `zxcvbn` assumes for each character where it finds no pattern.
const ZXCVBN_CHOICES: f64 = 10.0;
/// Choices assumed for each character of a mix of lower case, upper case and digits: half of 62, since part of it may
/// be a word.
const MIXED_CHOICES: f64 = 31.0;
/// Choices assumed for each character of what may be words that `zxcvbn` does not know.
const WORD_CHOICES: f64 = 8.0;

/// The time that one GPU needs to guess a password.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Holds {
    seconds: f64,
}

impl Holds {
    /// Estimates the time by the words and patterns in the password.
    pub(crate) fn estimate(name: &Username, password: &Password) -> Self {
        let text = str::from_utf8(password.expose()).unwrap_or_default();
        let entropy = zxcvbn(text, &[name.as_str()]);
        let guesses = if entropy.guesses() == u64::MAX {
            // The count is saturated, but those of the parts are not.
            entropy.sequence().iter().map(guesses_for_part).product()
        } else {
            entropy.guesses() as f64
        };
        Self { seconds: guesses * correction(&entropy) / GUESSES_A_SECOND }
    }

    /// Whether to warn of the password.
    pub(crate) fn is_too_short(self) -> bool {
        self.seconds < ENOUGH
    }
}

/// What is weak about a password, if anything is.
pub(crate) fn weakness(name: &Username, password: &Password) -> Option<String> {
    let holds = Holds::estimate(name, password);
    holds.is_too_short().then(|| {
        format!("the password of {name} is weak: one GPU guesses it in {holds} once a login was captured")
    })
}

/// The guesses for a part, even where the count of `zxcvbn` is saturated.
fn guesses_for_part(part: &Match) -> f64 {
    match part.guesses {
        Some(guesses) if guesses < u64::MAX => guesses as f64,
        Some(_) | None => ZXCVBN_CHOICES.powf(part.token.chars().count() as f64),
    }
}

/// The factor by which the estimate of `zxcvbn` is wrong for the parts without a pattern. It takes any text for one
/// that a person chose, but nobody chooses a jumble of lower case, upper case and digits; and it knows the words of few
/// languages.
fn correction(entropy: &Entropy) -> f64 {
    let stretches = entropy.sequence().iter().filter(|part| matches!(part.pattern, MatchPattern::BruteForce));
    stretches
        .map(|part| (choices(&part.token) / ZXCVBN_CHOICES).powf(part.token.chars().count() as f64))
        .product()
}

/// The choices for each character of a text in which `zxcvbn` finds no pattern. In a jumble, at least a third of the
/// characters are followed by one of another class; in a row of words with numbers between them, fewer are.
fn choices(text: &str) -> f64 {
    let classes: Vec<_> = text.chars().map(Class::of).collect();
    let neighbours = classes.iter().zip(classes.iter().skip(1));
    // Words begin with a capital.
    let changes = neighbours
        .filter(|(first, second)| first != second && (**first, **second) != (Class::Upper, Class::Lower));
    let is_jumble = 3 * changes.count() >= classes.len().saturating_sub(1);
    let has_all = [Class::Lower, Class::Upper, Class::Digit].iter().all(|class| classes.contains(class));
    match (is_jumble, has_all) {
        (true, true) => MIXED_CHOICES,
        (true, false) => ZXCVBN_CHOICES,
        (false, _) => WORD_CHOICES,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Digit,
    Other,
}

impl Class {
    fn of(character: char) -> Self {
        match character {
            _ if character.is_lowercase() => Self::Lower,
            _ if character.is_uppercase() => Self::Upper,
            _ if character.is_numeric() => Self::Digit,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds } = *self;
        let units = [
            (1e6 * YEAR, "million years"),
            (YEAR, "years"),
            (DAY, "days"),
            (HOUR, "hours"),
            (MINUTE, "minutes"),
            (1.0, "seconds"),
        ];
        match units.into_iter().find(|(unit, _)| seconds >= 2.0 * unit) {
            Some(_) if seconds >= 1e12 * YEAR => f.write_str("more than a million million years"),
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
            (9.3e6 * YEAR, "9 million years"),
            (9.3e12 * YEAR, "more than a million million years"),
        ] {
            assert_eq!(Holds { seconds }.to_string(), shown);
        }
    }
}

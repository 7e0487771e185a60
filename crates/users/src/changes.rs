//! What has changed from one users file to the next.

use std::fmt;

use proto::shown::Shown;
use proto::users::Users;

/// The users that were added, removed and changed: the first few of each by name, and how many there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    added: Names,
    removed: Names,
    changed: Names,
}

/// Names shown of each kind; the others are only counted.
const NAMES_MAX: usize = 10;

#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    first: Vec<String>,
    count: usize,
}

impl Names {
    fn add(&mut self, name: &str) {
        if self.count < NAMES_MAX {
            self.first.push(Shown(name.as_bytes()).to_string());
        }
        self.count += 1;
    }
}

impl Changes {
    /// The changes from `old` to `new`.
    #[must_use]
    pub fn between(old: &Users, new: &Users) -> Self {
        let mut changes = Self::default();
        for name in new.names_that_may_differ(old) {
            match (old.is_unchanged(new, name), new.contains(name), old.contains(name)) {
                (Some(true), ..) | (None, false, false) => {}
                (Some(false), ..) => changes.changed.add(name),
                (None, true, _) => changes.added.add(name),
                (None, false, true) => changes.removed.add(name),
            }
        }
        changes
    }
}

/// As in `+2 (alice, bob), -1 (carol)`.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, removed, changed } = self;
        let parts = [("+", added, ""), ("-", removed, ""), ("", changed, " changed")];
        let mut is_first = true;
        for (sign, Names { first, count }, what) in parts.into_iter().filter(|(_, names, _)| names.count > 0)
        {
            let more = if *count > NAMES_MAX { ", …" } else { "" };
            let comma = if is_first { "" } else { ", " };
            write!(f, "{comma}{sign}{count}{what} ({}{more})", first.join(", "))?;
            is_first = false;
        }
        if is_first { f.write_str("nothing changed") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn changes(old: &str, new: &str) -> String {
        let [old, new] = [old, new].map(|lines| parse(&format!("[users]\n{lines}")).unwrap());
        Changes::between(&old, &new).to_string()
    }

    #[test]
    fn users_that_were_added_removed_and_changed_are_shown_by_name() {
        assert_eq!(changes("a = '1'\nb = '2'", "b = '2'\na = '1'"), "nothing changed");
        assert_eq!(changes("a = '1'\nb = '2'", "c = '3'\nb = '4'"), "+1 (c), -1 (a), 1 changed (b)");
        for new in ["{password = '1', disabled = true}", "{password = '1', from = ['10.0.0.0/8']}", "'2'"] {
            assert_eq!(changes("a = '1'", &format!("a = {new}")), "1 changed (a)", "{new}");
        }
        assert_eq!(changes("", "\"a\u{202e}b\" = '1'"), "+1 (a\\u{202e}b)");
    }

    #[test]
    fn ten_of_many_names_are_shown() {
        let many: String = (0..1000).map(|number| format!("user{number:03} = 'x{number}'\n")).collect();
        let names = (0..10).map(|number| format!("user{number:03}")).collect::<Vec<_>>().join(", ");
        assert_eq!(changes("", &many), format!("+1000 ({names}, …)"));
    }
}

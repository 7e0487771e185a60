//! The commands that show a users file.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::entries::{UserEntry, entries};
use crate::plain::Plain;
use crate::{failed, print, say_each_line};
use letmein::cli::ExitStatus;
use users::{UsersError, load_text};

/// A user, as `list` shows them.
#[derive(Serialize)]
struct UserRow {
    name: String,
    state: &'static str,
    expires: Option<String>,
    from: Vec<String>,
    /// The last day of the old password, if there is one.
    old_until: Option<String>,
}

impl UserRow {
    fn new(entry: UserEntry, unix_s: u64) -> Self {
        Self {
            name: entry.name.to_string(),
            state: entry.state(unix_s).word(),
            expires: entry.expires.map(|day| day.to_string()),
            from: entry.from,
            old_until: entry.old.map(|old| old.until.to_string()),
        }
    }
}

fn rows(users: &Path) -> Result<Vec<UserRow>, ExitStatus> {
    let source = load_text(users).map_err(|error| wrong(&error))?;
    let now = unix_s();
    Ok(entries(source.text()).into_iter().map(|entry| UserRow::new(entry, now)).collect())
}

pub(crate) fn list(users: &Path) -> Result<ExitStatus, ExitStatus> {
    let rows = rows(users)?;
    let cells = rows.iter().map(|row| {
        let from = if row.from.is_empty() { "anywhere".to_owned() } else { row.from.join(" ") };
        let expires = row.expires.clone().unwrap_or_else(|| "never".into());
        [Plain(&row.name).to_string(), row.state.to_owned(), expires, from]
    });
    let header = ["NAME", "STATE", "EXPIRES", "FROM"].map(str::to_owned);
    let table: Vec<_> = [header].into_iter().chain(cells).collect();
    let width = table.iter().map(|[name, ..]| name.width()).max().unwrap_or(0);
    let lines = table.iter().map(|[name, state, expires, from]| {
        let space = width - name.width();
        format!("{name}{:space$}  {state:8}  {expires:10}  {from}", "")
    });
    print(lines)
}

pub(crate) fn list_json(users: &Path) -> Result<ExitStatus, ExitStatus> {
    let json = serde_json::to_string(&rows(users)?).map_err(|error| failed(&error))?;
    print([json])
}

#[expect(clippy::disallowed_methods, reason = "whether a user is expired is a matter of the day")]
pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(crate) fn wrong(error: &UsersError) -> ExitStatus {
    say_each_line(error);
    ExitStatus::Usage
}

//! The commands that show a users file.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::conditions::is_over;
use crate::entries::{UserEntry, entries, entry};
use crate::plain::Plain;
use crate::strength::Holds;
use crate::write::ChangeError;
use crate::{failed, print, say_each_line};
use letmein::cli::ExitStatus;
use proto::credentials::Username;
use users::{UsersError, load_text, locate};

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

    /// Name, state, last day and networks, as people read them.
    fn cells(&self) -> [String; 4] {
        let from = if self.from.is_empty() { "anywhere".to_owned() } else { self.from.join(" ") };
        let expires = self.expires.clone().unwrap_or_else(|| "never".into());
        [Plain(&self.name).to_string(), self.state.to_owned(), expires, from]
    }
}

fn rows(users: &Path) -> Result<Vec<UserRow>, ExitStatus> {
    let source = load_text(users, None).map_err(|error| wrong(&error))?;
    let now = unix_s();
    Ok(entries(source.text()).into_iter().map(|entry| UserRow::new(entry, now)).collect())
}

/// The user of this name, in whatever form it is typed, and the line of the password.
pub(crate) fn find(users: &Path, name: &Username) -> Result<(UserEntry, usize), ExitStatus> {
    let source = load_text(users, None).map_err(|error| wrong(&error))?;
    let Some(entry) = entry(source.text(), name) else {
        say_each_line(&ChangeError::NoSuchUser { path: users.into(), name: name.clone() });
        return Err(ExitStatus::Refused);
    };
    let line = locate(source.text(), &entry.place, String::new()).line;
    Ok((entry, line))
}

/// Prints all about a user but the password.
pub(crate) fn show(users: &Path, name: &Username) -> Result<ExitStatus, ExitStatus> {
    let (entry, line) = find(users, name)?;
    let holds = Holds::estimate(&entry.name, &entry.password);
    let is_weak = if holds.is_too_short() { ", so it is weak" } else { "" };
    let now = unix_s();
    let row = UserRow::new(entry, now);
    let [name, state, expires, from] = row.cells();
    let old = match &row.old_until {
        None => "none".to_owned(),
        Some(day) if is_over(day, now) => format!("was good until {day}"),
        Some(day) => format!("good until {day}"),
    };
    let password = format!("one GPU needs {holds} to guess it{is_weak}");
    let line = format!("{line} of {}", users.display());
    let rows = [
        ("name", name),
        ("state", state),
        ("expires", expires),
        ("from", from),
        ("password", password),
        ("old password", old),
        ("line", line),
    ];
    print(rows.map(|(what, it)| format!("{what:12}  {it}")))
}

pub(crate) fn show_json(users: &Path, name: &Username) -> Result<ExitStatus, ExitStatus> {
    let row = UserRow::new(find(users, name)?.0, unix_s());
    print([serde_json::to_string(&row).map_err(|error| failed(&error))?])
}

pub(crate) fn list(users: &Path) -> Result<ExitStatus, ExitStatus> {
    let rows = rows(users)?;
    let cells = rows.iter().map(UserRow::cells);
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
    say_wrong(error);
    ExitStatus::Usage
}

/// Says why a users file cannot be used. The remedies are for servers, which are other users than who runs this.
pub(crate) fn say_wrong(error: &UsersError) {
    match error {
        UsersError::Unreadable { path, error: system }
            if system.kind() == io::ErrorKind::PermissionDenied =>
        {
            let path = path.display();
            say_each_line(&format_args!("{path}: {system}: run this as root, or as the file's owner"));
        }
        UsersError::Unreadable { .. }
        | UsersError::UnreadableKey { .. }
        | UsersError::WrongKey { .. }
        | UsersError::Unsafe { .. }
        | UsersError::Wrong { .. } => {
            say_each_line(error);
        }
    }
}

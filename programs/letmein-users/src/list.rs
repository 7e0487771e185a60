//! The commands that show users.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::backend::Backend;
use crate::change::unchanged;
use crate::conditions::is_over;
use crate::credential::Credential;
use crate::entries::UserEntry;
use crate::plain::Plain;
use crate::strength::Holds;
use crate::{failed, print, say_each_line};
use letmein::cli::ExitStatus;
use proto::credentials::Username;
use proto::mechanism::Mechanism;
use users::UsersError;

/// A user, as `list` shows them.
#[derive(Serialize)]
struct UserRow {
    name: String,
    state: &'static str,
    expires: Option<String>,
    from: Vec<String>,
    /// The last day of the old password, if there is one.
    old_until: Option<String>,
    /// How the user logs in.
    mechanism: &'static str,
}

impl UserRow {
    fn new(entry: UserEntry, unix_s: u64) -> Self {
        Self {
            mechanism: entry.credential.mechanism().name(),
            name: entry.name.to_string(),
            state: entry.state(unix_s).word(),
            expires: entry.expires.map(|day| day.to_string()),
            from: entry.from,
            old_until: entry.old.map(|old| old.until.to_string()),
        }
    }

    /// Name, state, last day, networks and mechanism, as people read them.
    fn cells(&self) -> [String; 5] {
        let from = if self.from.is_empty() { "anywhere".to_owned() } else { self.from.join(" ") };
        let expires = self.expires.clone().unwrap_or_else(|| "never".into());
        [Plain(&self.name).to_string(), self.state.to_owned(), expires, from, self.mechanism.to_owned()]
    }
}

fn rows(backend: &Backend) -> Result<Vec<UserRow>, ExitStatus> {
    let users = backend.load().map_err(|error| unchanged(&error))?;
    let now = unix_s();
    Ok(users.entries.into_iter().map(|entry| UserRow::new(entry, now)).collect())
}

/// Prints all about a user but the password.
pub(crate) fn show(backend: &Backend, name: &Username) -> Result<ExitStatus, ExitStatus> {
    let entry = backend.find(name).map_err(|error| unchanged(&error))?;
    let path = backend.path().display();
    let line = entry.at.map(|at| ("line", format!("{} of {path}", at.line)));
    let now = unix_s();
    let about_credential = about(&entry, now);
    let [name, state, expires, from, _] = UserRow::new(entry, now).cells();
    let rows = [("name", name), ("state", state), ("expires", expires), ("from", from)];
    let rows = rows.into_iter().chain(about_credential).chain(line);
    print(rows.map(|(what, it)| format!("{what:12}  {it}")))
}

/// What to know about a password, or about the record in its place.
fn about(entry: &UserEntry, unix_s: u64) -> Vec<(&'static str, String)> {
    let password = match &entry.credential {
        Credential::Password(password) => password,
        Credential::Record(record) => {
            let password = "in a record, so nobody can guess it without the key file".to_owned();
            let (stretching, key) = (record.stretching.to_string(), record.key.to_string());
            return vec![("password", password), ("stretching", stretching), ("key", key)];
        }
    };
    let holds = Holds::estimate(&entry.name, password);
    let is_weak = if holds.is_too_short() { ", so it is weak" } else { "" };
    let password = format!("one GPU needs {holds} to guess it{is_weak}");
    let old = match entry.old.as_ref().map(|old| old.until.to_string()) {
        None => "none".to_owned(),
        Some(day) if is_over(&day, unix_s) => format!("was good until {day}"),
        Some(day) => format!("good until {day}"),
    };
    vec![("password", password), ("old password", old)]
}

pub(crate) fn show_json(backend: &Backend, name: &Username) -> Result<ExitStatus, ExitStatus> {
    let entry = backend.find(name).map_err(|error| unchanged(&error))?;
    let row = UserRow::new(entry, unix_s());
    print([serde_json::to_string(&row).map_err(|error| failed(&error))?])
}

pub(crate) fn list(backend: &Backend) -> Result<ExitStatus, ExitStatus> {
    let rows = rows(backend)?;
    // Without records, all users log in in the same way.
    let has_records = rows.iter().any(|row| row.mechanism == Mechanism::Opaque.name());
    let cells = rows.iter().map(UserRow::cells);
    let header = ["NAME", "STATE", "EXPIRES", "FROM", "LOGIN"].map(str::to_owned);
    let table: Vec<_> = [header].into_iter().chain(cells).collect();
    let width = table.iter().map(|[name, ..]| name.width()).max().unwrap_or(0);
    let lines = table.iter().map(|[name, state, expires, from, mechanism]| {
        let space = width - name.width();
        let mechanism = if has_records { format!("{mechanism:6}  ") } else { String::new() };
        format!("{name}{:space$}  {state:8}  {expires:10}  {mechanism}{from}", "")
    });
    print(lines)
}

pub(crate) fn list_json(backend: &Backend) -> Result<ExitStatus, ExitStatus> {
    let json = serde_json::to_string(&rows(backend)?).map_err(|error| failed(&error))?;
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
        UsersError::Unreadable { path, error: system, .. }
            if system.kind() == io::ErrorKind::PermissionDenied =>
        {
            let path = path.display();
            say_each_line(&format_args!("{path}: {system}: run this as root, or as the file's owner"));
        }
        UsersError::Unreadable { .. }
        | UsersError::WrongKey { .. }
        | UsersError::Unsafe { .. }
        | UsersError::Wrong { .. }
        | UsersError::Damaged { .. }
        | UsersError::NobodyLeft { .. } => {
            say_each_line(error);
        }
    }
}

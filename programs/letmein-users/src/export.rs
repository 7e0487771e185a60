//! The command that prints users with their passwords, so that they can be imported elsewhere.

use std::io::{self, IsTerminal, Write};

use zeroize::Zeroizing;

use crate::backend::Backend;
use crate::change::{unchanged, wrong};
use crate::conditions::Condition;
use crate::edit::{Edit, NewUser, Overlap};
use crate::entries::UserEntry;
use crate::plain::Plain;
use crate::write::ChangeError;
use crate::{EXAMPLE, failed, warn};
use letmein::cli::ExitStatus;
use letmein::cli::usage::invalid;

/// How users are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExportFormat {
    /// A table, as `import --csv` reads it.
    Csv,
    /// A users file.
    Toml,
}

pub(crate) fn export(
    backend: &Backend,
    format: ExportFormat,
    shows_passwords: bool,
) -> Result<ExitStatus, ExitStatus> {
    if io::stdout().is_terminal() && !shows_passwords {
        let reason = "refusing to print passwords on a terminal: redirect the output, or add --force";
        return Err(invalid(reason, EXAMPLE));
    }
    let users = backend.load().map_err(|error| unchanged(&error))?.entries;
    let with_old: Vec<_> = users.iter().filter(|user| user.old.is_some()).map(|user| &user.name).collect();
    if let (ExportFormat::Csv, [first, others @ ..]) = (format, &*with_old) {
        let others =
            if others.is_empty() { String::new() } else { format!(" and of {} others", others.len()) };
        warn(Plain(&format!(
            "the old password of {first}{others} is left out: a table has no column for it, and --toml writes it"
        )));
    }
    let text = match format {
        ExportFormat::Csv => table(&users),
        ExportFormat::Toml => {
            let mut file =
                Edit::new("").map_err(|problem| unchanged(&wrong(backend.path(), problem).into()))?;
            users.into_iter().for_each(|user| file.add(&user.into()));
            file.finish()
                .map_err(|Overlap| unchanged(&ChangeError::Overlap { path: backend.path().into() }))?
        }
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| failed(&error))?;
    Ok(ExitStatus::Done)
}

fn table(users: &[UserEntry]) -> Zeroizing<String> {
    // One allocation that is large enough: a buffer that grows leaves copies of passwords behind.
    let len_max = HEADER.len() + users.iter().map(row_len_max).sum::<usize>();
    let mut text = Zeroizing::new(String::with_capacity(len_max));
    text.push_str(HEADER);
    for user in users {
        push_field(&mut text, user.name.as_str());
        text.push(',');
        push_field(&mut text, &user.credential.text());
        text.push_str(if user.is_disabled { ",true," } else { ",," });
        text.extend(user.expires.map(|day| day.to_string()));
        text.push(',');
        text.push_str(&user.from.join(" "));
        text.push('\n');
    }
    text
}

const HEADER: &str = "name,password,disabled,expires,from\n";

/// A field of RFC 4180: between quotes if need be, with each quote in it twice.
fn push_field(text: &mut String, field: &str) {
    if !field.contains([',', '"', '\r', '\n']) {
        return text.push_str(field);
    }
    text.push('"');
    for character in field.chars() {
        if character == '"' {
            text.push('"');
        }
        text.push(character);
    }
    text.push('"');
}

/// The bytes of a row in which every character is a quote.
fn row_len_max(user: &UserEntry) -> usize {
    let networks: usize = user.from.iter().map(|network| network.len() + 1).sum();
    2 * (user.name.as_str().len() + user.credential.text().len())
        + networks
        + ",,true,2027-01-31,\n".len()
        + 8
}

impl From<UserEntry> for NewUser {
    fn from(entry: UserEntry) -> Self {
        let conditions = [
            Condition::Disabled(entry.is_disabled),
            Condition::Expires(entry.expires.map(|day| day.to_string())),
            Condition::From(entry.from),
        ];
        let conditions = conditions.into_iter().filter(Condition::limits).collect();
        Self { name: entry.name, credential: entry.credential, conditions, old: entry.old }
    }
}

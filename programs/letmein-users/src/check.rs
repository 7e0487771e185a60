//! The command that says what is wrong and what is weak.

use std::collections::HashMap;
use std::path::Path;

use crate::backend::{AllUsers, Backend};
use crate::change::unchanged;
use crate::entries::{AccountState, At, OldEntry, UserEntry};
use crate::list::unix_s;
use crate::normal_form::{name_flaw, password_flaw};
use crate::plain::Plain;
use crate::print;
use crate::strength::weakness;
use letmein::cli::ExitStatus;
use letmein::cli::normal;
use proto::credentials::Username;
use users::{RecordTextError, counted, first_second_after};

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

pub(crate) fn check(backend: &Backend) -> Result<ExitStatus, ExitStatus> {
    let AllUsers { entries, warnings: of_file } = backend.load().map_err(|error| unchanged(&error))?;
    let warnings: Vec<_> = of_file.into_iter().chain(warnings(backend.path(), &entries, unix_s())).collect();
    let problems = match warnings.len() {
        0 => "no problems".to_owned(),
        1 => "1 warning".to_owned(),
        count => format!("{count} warnings"),
    };
    let summary = format!("{}, {problems}", counted(entries.len()));
    // They contain names.
    let shown = warnings.iter().map(|warning| Plain(warning).to_string());
    print(shown.chain([summary]))?;
    // No server starts with it.
    Ok(if entries.is_empty() { ExitStatus::Usage } else { ExitStatus::Done })
}

/// Warnings about users, each with its file, line and column, or with that of the settings.
fn warnings(path: &Path, entries: &[UserEntry], unix_s: u64) -> Vec<String> {
    let mut of_names: HashMap<_, Vec<_>> = HashMap::new();
    for entry in entries {
        of_names.entry(normal::name(entry.name.as_str())).or_default().push(entry);
    }
    let mut first: HashMap<&[u8], &Username> = HashMap::new();
    let mut warnings = Vec::new();
    for entry in entries {
        let path = path.display();
        let place = match entry.at {
            Some(At { line, column }) => format!("{path}:{line}:{column}"),
            None => path.to_string(),
        };
        let mut warn = |what: String| warnings.push(format!("{place}: {what}"));
        let UserEntry { name, credential, .. } = entry;
        match of_names.get(&normal::name(name.as_str())).map(Vec::as_slice) {
            Some([.., other, last]) if name == &last.name => warn(one_name(other, last)),
            Some([_, _, ..]) => {}
            Some(_) | None => name_flaw(name, credential.mechanism()).into_iter().for_each(&mut warn),
        }
        if credential.is_damaged() {
            warn(format!("the record of {name} {}", RecordTextError::Damaged));
        }
        if let Some(password) = credential.password() {
            password_flaw(name, password).into_iter().for_each(&mut warn);
            if let Some(weakness) = weakness(name, password) {
                warn(format!("{weakness}: change it with passwd --generate"));
            }
            match first.get(password.expose()) {
                Some(other) => warn(format!("{name} has the same password as {other}: give each their own")),
                None => drop(first.insert(password.expose(), name)),
            }
        }
        if let Some(OldEntry { until, .. }) = &entry.old {
            let end = first_second_after(until).unwrap_or(0);
            let remedy = "once all have the new one, take it out with passwd --drop-old";
            warn(match end.saturating_sub(unix_s) {
                0 => format!("the old password of {name} is refused since {until} is over: {remedy}"),
                1..SECONDS_A_DAY => {
                    format!("{name} has an old password as well, up to {until}, which is today: {remedy}")
                }
                left => {
                    let days = left / SECONDS_A_DAY;
                    format!(
                        "{name} has an old password as well, up to {until}, {days} days from now: {remedy}"
                    )
                }
            });
        }
        if entry.state(unix_s) == AccountState::Expired {
            warn(format!("{name} is expired: remove the user, or set a later day with expire"));
        }
    }
    warnings
}

/// Says that two users have names that are one to clients.
fn one_name(other: &UserEntry, last: &UserEntry) -> String {
    match (other.at, last.at) {
        (Some(other), Some(at)) => {
            format!(
                "{} in lines {} and {} is one name to clients: remove one of them",
                last.name, other.line, at.line
            )
        }
        (_, _) => format!("{} and {} are one name to clients: remove one of them", other.name, last.name),
    }
}

//! The command that says what is wrong and what is weak.

use std::collections::HashMap;
use std::path::Path;

use crate::entries::{AccountState, OldEntry, UserEntry, entries};
use crate::files::Files;
use crate::list::{unix_s, wrong};
use crate::normal_form::{name_flaw, password_flaw};
use crate::plain::Plain;
use crate::print;
use crate::strength::weakness;
use letmein::cli::ExitStatus;
use letmein::cli::normal;
use proto::credentials::Username;
use users::{RecordTextError, counted, first_second_after};

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

pub(crate) fn check(files: &Files) -> Result<ExitStatus, ExitStatus> {
    let source = files.load_text().map_err(|error| wrong(&error))?;
    let entries = entries(source.text());
    let of_file = source.loaded.warnings.iter().map(ToString::to_string);
    let warnings: Vec<_> = of_file.chain(warnings(&files.users, source.text(), &entries, unix_s())).collect();
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

/// Warnings about users, each with file, line and column.
fn warnings(path: &Path, text: &str, entries: &[UserEntry], unix_s: u64) -> Vec<String> {
    let mut line_starts = vec![0];
    line_starts.extend(text.match_indices('\n').map(|(newline, _)| newline + 1));
    let line_of = |entry: &UserEntry| line_starts.partition_point(|start| *start <= entry.place.start);
    let mut lines_of_names: HashMap<_, Vec<_>> = HashMap::new();
    for entry in entries {
        lines_of_names.entry(normal::name(entry.name.as_str())).or_default().push(line_of(entry));
    }
    let mut first: HashMap<&[u8], &Username> = HashMap::new();
    let mut warnings = Vec::new();
    for entry in entries {
        let line = line_of(entry);
        let line_start = line_starts.get(line - 1).copied().unwrap_or(0);
        let column = text.get(line_start..entry.place.start).unwrap_or_default().chars().count() + 1;
        let mut warn = |what: String| warnings.push(format!("{}:{line}:{column}: {what}", path.display()));
        let UserEntry { name, credential, .. } = entry;
        match lines_of_names.get(&normal::name(name.as_str())).map(Vec::as_slice) {
            Some([.., other, last]) if line == *last => {
                warn(format!("{name} in lines {other} and {line} is one name to clients: remove one of them"))
            }
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

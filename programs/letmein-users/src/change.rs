//! The commands that change a users file.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

use crate::conditions::is_over;
use crate::edit::{Edit, NewUser};
use crate::entries::entry;
use crate::list::{say_wrong, unix_s};
use crate::new_password::{NewPassword, PasswordMissing};
use crate::normal_form::outer_space;
use crate::plain::Plain;
use crate::strength::weakness;
use crate::write::{self, ChangeError, Missing};
use crate::{EXAMPLE, PROGRAM, failed, say_each_line, warn};
use letmein::cli::usage::invalid;
use letmein::cli::{ExitStatus, say};
use proto::credentials::{Password, Username};
use users::{Problem, UsersError, load_text};

/// Adds a user with these conditions, as keys and values in TOML.
pub(crate) fn add(
    users: &Path,
    name: Username,
    conditions: &[(&'static str, String)],
    password: &NewPassword,
) -> Result<ExitStatus, ExitStatus> {
    if let Ok(Some(name)) = seen(users, &name) {
        return Err(unchanged(&ChangeError::Exists { path: users.into(), name }));
    }
    let new = read(password, &name)?;
    change(users, Missing::Create, |edit| {
        if let Some(name) = edit.find(&name) {
            return Err(ChangeError::Exists { path: users.into(), name });
        }
        edit.add(&NewUser { name: name.clone(), password: new.clone(), conditions: conditions.to_vec() });
        Ok(())
    })
    .map_err(|error| unchanged(&error))?;
    conditions.iter().filter(|(key, _)| *key == "expires").for_each(|(_, day)| warn_of(day));
    tell(password, &name, &new)
}

/// Changes a password. The old one is refused from now on, or else good to the end of a day, in TOML.
pub(crate) fn passwd(
    users: &Path,
    name: &Username,
    password: &NewPassword,
    old_until: Option<String>,
) -> Result<ExitStatus, ExitStatus> {
    refuse_unknown(users, name)?;
    let new = read(password, name)?;
    let replaced = change(users, Missing::Refuse, |edit| {
        let name = find(edit, users, name)?;
        let Some(day) = &old_until else {
            edit.set_password(&name, &new).map_err(|problem| wrong(users, problem))?;
            return Ok(None);
        };
        if edit.has_password(&name, &new) {
            return Err(ChangeError::SamePassword { path: users.into(), name });
        }
        // After a change that is taken back, the old password is the present one again.
        let replaced = edit.old_until(&name).filter(|_| !edit.has_old_password(&name, &new));
        edit.keep_old_password(&name, &new, day.clone());
        Ok(replaced)
    })
    .map_err(|error| unchanged(&error))?;
    if let Some(day) = replaced.filter(|day| !is_over(day, unix_s())) {
        warn(format_args!(
            "the password before the old one, which was good until {day}, is refused from now on"
        ));
    }
    if let Some(day) = old_until {
        say(format_args!("{PROGRAM}: the old password is good until {day}"));
    }
    tell(password, name, &new)
}

pub(crate) fn drop_old_password(users: &Path, name: &Username) -> Result<ExitStatus, ExitStatus> {
    change_user(users, name, |edit, name| edit.drop_old_password(name))
}

/// Sets a condition to a value in TOML.
pub(crate) fn set(users: &Path, name: &Username, key: &str, value: &str) -> Result<ExitStatus, ExitStatus> {
    change_user(users, name, |edit, name| {
        edit.set(name, key, value.to_owned());
        Ok(())
    })
}

pub(crate) fn unset(users: &Path, name: &Username, key: &str) -> Result<ExitStatus, ExitStatus> {
    change_user(users, name, |edit, name| edit.unset(name, key))
}

/// Lets a user in to the end of a day, in TOML.
pub(crate) fn expire(users: &Path, name: &Username, day: &str) -> Result<ExitStatus, ExitStatus> {
    let done = set(users, name, "expires", day)?;
    warn_of(day);
    Ok(done)
}

/// Warns of a last day that is over.
fn warn_of(day: &str) {
    if is_over(day, unix_s()) {
        warn(format_args!("{day} is over: the user is refused from now on"));
    }
}

pub(crate) fn rename(users: &Path, name: &Username, new: &Username) -> Result<ExitStatus, ExitStatus> {
    let renamed = change(users, Missing::Refuse, |edit| {
        let name = find(edit, users, name)?;
        match edit.find(new) {
            Some(other) if other != name => {
                return Err(ChangeError::NameTaken { path: users.into(), name: other });
            }
            Some(_) | None => edit.rename(&name, new),
        }
        Ok(ExitStatus::Done)
    });
    renamed.map_err(|error| unchanged(&error))
}

/// Removes a user, if need be once somebody has said yes.
pub(crate) fn remove(users: &Path, name: &Username, is_sure: bool) -> Result<ExitStatus, ExitStatus> {
    if !is_sure {
        refuse_unknown(users, name)?;
        confirm(name)?;
    }
    change_user(users, name, |edit, name| {
        edit.remove(name);
        Ok(())
    })
}

/// Changes a user, who must exist, by their name as the file has it.
fn change_user(
    users: &Path,
    name: &Username,
    act: impl FnOnce(&mut Edit<'_>, &Username) -> Result<(), Problem>,
) -> Result<ExitStatus, ExitStatus> {
    let changed = change(users, Missing::Refuse, |edit| {
        let name = find(edit, users, name)?;
        act(edit, &name).map_err(|problem| wrong(users, problem))?;
        Ok(ExitStatus::Done)
    });
    changed.map_err(|error| unchanged(&error))
}

pub(crate) fn wrong(users: &Path, problem: Problem) -> UsersError {
    UsersError::Wrong { path: users.into(), problems: vec![problem] }
}

/// The name of a user as the file has it.
fn find(edit: &Edit<'_>, users: &Path, typed: &Username) -> Result<Username, ChangeError> {
    edit.find(typed).ok_or_else(|| ChangeError::NoSuchUser { path: users.into(), name: typed.clone() })
}

/// The name of a user as the file has it now, to look before somebody is asked. The change looks again under the lock,
/// and says what is wrong with a file that cannot be read.
fn seen(users: &Path, typed: &Username) -> Result<Option<Username>, UsersError> {
    let source = load_text(users, None)?;
    Ok(entry(source.text(), typed).map(|entry| entry.name))
}

/// Refuses to ask anything about a user who is not there.
fn refuse_unknown(users: &Path, name: &Username) -> Result<(), ExitStatus> {
    match seen(users, name) {
        Ok(None) => Err(unchanged(&ChangeError::NoSuchUser { path: users.into(), name: name.clone() })),
        Ok(Some(_)) | Err(_) => Ok(()),
    }
}

/// Changes the file, and says so if that has to wait for another change.
pub(crate) fn change<T>(
    users: &Path,
    missing: Missing,
    edit: impl FnOnce(&mut Edit<'_>) -> Result<T, ChangeError>,
) -> Result<T, ChangeError> {
    let waiting = |folder: &Path| {
        let folder = folder.display().to_string();
        say(format_args!("{PROGRAM}: waiting for another change of {}", Plain(&folder)));
    };
    write::change(users, missing, waiting, edit)
}

/// Asks whether to remove a user.
fn confirm(name: &Username) -> Result<(), ExitStatus> {
    if !io::stdin().is_terminal() {
        return Err(invalid("refusing to remove a user without confirmation: add --yes", EXAMPLE));
    }
    // If this fails, nobody sees the question, and nobody says yes.
    let _ = write!(io::stderr(), "Remove {}? [y/N] ", Plain(name.as_str()));
    let mut answer = String::new();
    io::stdin().lock().take(10).read_line(&mut answer).map_err(|error| failed(&error))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    say(format_args!("{PROGRAM}: not confirmed, so nobody was removed"));
    Err(ExitStatus::Refused)
}

/// Makes, reads or asks for a new password.
fn read(source: &NewPassword, name: &Username) -> Result<Password, ExitStatus> {
    source.read(name).map_err(|error| no_password(&error))
}

/// Says why there is no password. The command line may be right.
pub(crate) fn no_password(error: &PasswordMissing) -> ExitStatus {
    match error {
        PasswordMissing::NotMade(_) => failed(error),
        PasswordMissing::NoTerminal { .. } => invalid(&error.to_string(), EXAMPLE),
        PasswordMissing::NotRead(_) | PasswordMissing::Invalid(_) | PasswordMissing::Differ => {
            say_each_line(error);
            ExitStatus::Usage
        }
    }
}

/// Prints a password that was generated, and warns of what is doubtful about another one.
fn tell(source: &NewPassword, name: &Username, password: &Password) -> Result<ExitStatus, ExitStatus> {
    if source.generate {
        let text = str::from_utf8(password.expose()).unwrap_or_default();
        writeln!(io::stdout(), "{text}").map_err(|error| {
            failed(&format_args!("the password is changed, but cannot be printed: {error}"))
        })?;
    } else {
        doubts(name, password).iter().for_each(|doubt| warn(Plain(doubt)));
    }
    Ok(ExitStatus::Done)
}

/// What to know about a password that a person chose.
pub(crate) fn doubts(name: &Username, password: &Password) -> Vec<String> {
    let weakness = weakness(name, password);
    let weakness = weakness.map(|weakness| format!("{weakness}: passwd --generate makes a better one"));
    outer_space(name, password).into_iter().chain(weakness).collect()
}

/// Says why nothing is changed.
pub(crate) fn unchanged(error: &ChangeError) -> ExitStatus {
    if let ChangeError::Users(error) = error {
        say_wrong(error);
    } else {
        say_each_line(error);
    }
    match error {
        ChangeError::NoSuchUser { .. } | ChangeError::Exists { .. } | ChangeError::NameTaken { .. } => {
            ExitStatus::Refused
        }
        ChangeError::Users(_)
        | ChangeError::List { .. }
        | ChangeError::SamePassword { .. }
        | ChangeError::WouldBeWrong { .. }
        | ChangeError::Obstacle { .. } => ExitStatus::Usage,
        ChangeError::Owner { .. }
        | ChangeError::Overlap { .. }
        | ChangeError::NoRight { .. }
        | ChangeError::Meanwhile { .. }
        | ChangeError::Locked { .. }
        | ChangeError::System { .. } => ExitStatus::Failed,
    }
}

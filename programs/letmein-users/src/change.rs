//! The commands that change a users file.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

use crate::conditions::is_over;
use crate::credential::Credential;
use crate::edit::{Edit, NewUser};
use crate::entries::{UserEntry, entry};
use crate::files::Files;
use crate::list::{say_wrong, unix_s};
use crate::new_password::{NewPassword, PasswordMissing};
use crate::normal_form::outer_space;
use crate::plain::Plain;
use crate::registration::{Keeping, Kept, credential};
use crate::strength::weakness;
use crate::write::{self, ChangeError, Missing};
use crate::{EXAMPLE, PROGRAM, failed, say_each_line, warn};
use letmein::cli::usage::invalid;
use letmein::cli::{ExitStatus, say};
use proto::credentials::{Password, Username};
use users::{Problem, UsersError};

/// Adds a user with these conditions, as keys and values in TOML.
pub(crate) fn add(
    files: &Files,
    name: Username,
    conditions: &[(&'static str, String)],
    password: &NewPassword,
    keeping: &Keeping,
) -> Result<ExitStatus, ExitStatus> {
    let exists = |name| ChangeError::Exists { path: files.users.clone(), name };
    let Seen { user, has_records } = Seen::of(files, &name).unwrap_or_default();
    if let Some(UserEntry { name, .. }) = user {
        return Err(unchanged(&exists(name)));
    }
    let kept = keeping.decide(has_records, password.generate);
    let new = read(password, &name)?;
    let credential = credential(files, &name, new.clone(), kept)?;
    let user = NewUser { name: name.clone(), credential, conditions: conditions.to_vec() };
    change(files, Missing::Create, |edit| match edit.find(&name) {
        Some(name) => Err(exists(name)),
        None => {
            edit.add(&user);
            Ok(())
        }
    })
    .map_err(|error| unchanged(&error))?;
    conditions.iter().filter(|(key, _)| *key == "expires").for_each(|(_, day)| warn_of(day));
    tell(password, &name, &new, kept)
}

/// Changes a password. The old one is refused from now on, or else good to the end of a day, in TOML.
pub(crate) fn passwd(
    files: &Files,
    name: &Username,
    password: &NewPassword,
    keeping: &Keeping,
    old_until: Option<String>,
) -> Result<ExitStatus, ExitStatus> {
    let Seen { user, has_records } = seen_or_refused(files, name)?;
    let has_record = user.as_ref().is_some_and(|user| user.credential.password().is_none());
    let name = user.map_or_else(|| name.clone(), |user| user.name);
    let kept = keeping.decide(has_records, password.generate);
    match old_until {
        Some(_) if has_record || kept != Kept::Password => {
            Err(unchanged(&old_of_record(files, &name, has_record)))
        }
        Some(day) => keep_old(files, &name, password, day),
        None => replace(files, &name, password, kept),
    }
}

fn replace(
    files: &Files,
    name: &Username,
    password: &NewPassword,
    kept: Kept,
) -> Result<ExitStatus, ExitStatus> {
    let new = read(password, name)?;
    let credential = credential(files, name, new.clone(), kept)?;
    change(files, Missing::Refuse, |edit| {
        if &find(edit, files, name)? != name {
            return Err(ChangeError::Meanwhile { path: files.users.clone() });
        }
        Ok(edit.set_credential(name, &credential).map_err(|problem| wrong(files, problem))?)
    })
    .map_err(|error| unchanged(&error))?;
    tell(password, name, &new, kept)
}

/// Changes a password, and keeps the old one up to this day, in TOML.
fn keep_old(
    files: &Files,
    name: &Username,
    password: &NewPassword,
    day: String,
) -> Result<ExitStatus, ExitStatus> {
    let new = read(password, name)?;
    let replaced = change(files, Missing::Refuse, |edit| {
        let name = find(edit, files, name)?;
        if edit.has_record(&name) {
            return Err(old_of_record(files, &name, true));
        }
        if edit.has(&name, &Credential::Password(new.clone())) {
            return Err(ChangeError::SamePassword { path: files.users.clone(), name });
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
    say(format_args!("{PROGRAM}: the old password is good until {day}"));
    tell(password, name, &new, Kept::Password)
}

fn old_of_record(files: &Files, name: &Username, is_record: bool) -> ChangeError {
    ChangeError::OldPasswordOfRecord { path: files.users.clone(), name: name.clone(), is_record }
}

pub(crate) fn drop_old_password(files: &Files, name: &Username) -> Result<ExitStatus, ExitStatus> {
    change_user(files, name, |edit, name| edit.drop_old_password(name))
}

/// Sets a condition to a value in TOML.
pub(crate) fn set(files: &Files, name: &Username, key: &str, value: &str) -> Result<ExitStatus, ExitStatus> {
    change_user(files, name, |edit, name| {
        edit.set(name, key, value.to_owned());
        Ok(())
    })
}

pub(crate) fn unset(files: &Files, name: &Username, key: &str) -> Result<ExitStatus, ExitStatus> {
    change_user(files, name, |edit, name| edit.unset(name, key))
}

/// Lets a user in to the end of a day, in TOML.
pub(crate) fn expire(files: &Files, name: &Username, day: &str) -> Result<ExitStatus, ExitStatus> {
    let done = set(files, name, "expires", day)?;
    warn_of(day);
    Ok(done)
}

/// Warns of a last day that is over.
fn warn_of(day: &str) {
    if is_over(day, unix_s()) {
        warn(format_args!("{day} is over: the user is refused from now on"));
    }
}

pub(crate) fn rename(files: &Files, name: &Username, new: &Username) -> Result<ExitStatus, ExitStatus> {
    let renamed = change(files, Missing::Refuse, |edit| {
        let name = find(edit, files, name)?;
        let path = files.users.clone();
        match edit.find(new) {
            Some(other) if other != name => return Err(ChangeError::NameTaken { path, name: other }),
            Some(_) | None if edit.has_record(&name) && name != *new => {
                return Err(ChangeError::BoundName { path, name, new: new.clone() });
            }
            Some(_) | None => edit.rename(&name, new),
        }
        Ok(ExitStatus::Done)
    });
    renamed.map_err(|error| unchanged(&error))
}

/// Removes a user, if need be once somebody has said yes.
pub(crate) fn remove(files: &Files, name: &Username, is_sure: bool) -> Result<ExitStatus, ExitStatus> {
    if !is_sure {
        seen_or_refused(files, name)?;
        confirm(name)?;
    }
    change_user(files, name, |edit, name| {
        edit.remove(name);
        Ok(())
    })
}

/// Changes a user, who must exist, by their name as the file has it.
fn change_user(
    files: &Files,
    name: &Username,
    act: impl FnOnce(&mut Edit<'_>, &Username) -> Result<(), Problem>,
) -> Result<ExitStatus, ExitStatus> {
    let changed = change(files, Missing::Refuse, |edit| {
        let name = find(edit, files, name)?;
        act(edit, &name).map_err(|problem| wrong(files, problem))?;
        Ok(ExitStatus::Done)
    });
    changed.map_err(|error| unchanged(&error))
}

pub(crate) fn wrong(files: &Files, problem: Problem) -> UsersError {
    UsersError::Wrong { path: files.users.clone(), problems: vec![problem] }
}

/// The name of a user as the file has it.
fn find(edit: &Edit<'_>, files: &Files, typed: &Username) -> Result<Username, ChangeError> {
    edit.find(typed).ok_or_else(|| ChangeError::NoSuchUser { path: files.users.clone(), name: typed.clone() })
}

/// What the file has now, to look before somebody is asked. The change looks again under the lock, and says what is
/// wrong with a file that cannot be read.
#[derive(Default)]
struct Seen {
    user: Option<UserEntry>,
    /// Whether any user has a record.
    has_records: bool,
}

impl Seen {
    fn of(files: &Files, typed: &Username) -> Result<Self, UsersError> {
        let source = files.load_text()?;
        let has_records = source.loaded.users.mechanisms().opaque;
        Ok(Self { user: entry(source.text(), typed), has_records })
    }
}

/// Refuses to ask anything about a user who is not there.
fn seen_or_refused(files: &Files, name: &Username) -> Result<Seen, ExitStatus> {
    match Seen::of(files, name) {
        Ok(Seen { user: None, .. }) => {
            Err(unchanged(&ChangeError::NoSuchUser { path: files.users.clone(), name: name.clone() }))
        }
        Ok(seen) => Ok(seen),
        Err(_) => Ok(Seen::default()),
    }
}

/// Changes the file, and says so if that has to wait for another change.
pub(crate) fn change<T>(
    files: &Files,
    missing: Missing,
    edit: impl FnOnce(&mut Edit<'_>) -> Result<T, ChangeError>,
) -> Result<T, ChangeError> {
    write::change(files, missing, say_waiting, edit)
}

pub(crate) fn say_waiting(folder: &Path) {
    let folder = folder.display().to_string();
    say(format_args!("{PROGRAM}: waiting for another change of {}", Plain(&folder)));
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
fn tell(
    source: &NewPassword,
    name: &Username,
    password: &Password,
    kept: Kept,
) -> Result<ExitStatus, ExitStatus> {
    if source.generate {
        let text = str::from_utf8(password.expose()).unwrap_or_default();
        writeln!(io::stdout(), "{text}").map_err(|error| {
            failed(&format_args!("the password is changed, but cannot be printed: {error}"))
        })?;
    } else {
        doubts(name, password, kept).iter().for_each(|doubt| warn(Plain(doubt)));
    }
    Ok(ExitStatus::Done)
}

/// What to know about a password that a person chose.
pub(crate) fn doubts(name: &Username, password: &Password, kept: Kept) -> Vec<String> {
    let weakness = match kept {
        Kept::Password => weakness(name, password)
            .map(|weakness| format!("{weakness}: passwd --generate makes a better one")),
        // Who steals records and key guesses as fast as by a login by MD5.
        Kept::Record(stretching) if stretching.is_none() && weakness(name, password).is_some() => {
            Some(format!(
                "the password of {name} is weak, and nothing stretches it: leave --stretch none to generated passwords"
            ))
        }
        Kept::Record(_) => None,
    };
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
        | ChangeError::BoundName { .. }
        | ChangeError::AbnormalName { .. }
        | ChangeError::OldPasswordOfRecord { .. }
        | ChangeError::OldPasswordInTheWay { .. }
        | ChangeError::ClusterKey { .. }
        | ChangeError::WouldBeWrong { .. }
        | ChangeError::Obstacle { .. } => ExitStatus::Usage,
        ChangeError::Owner { .. }
        | ChangeError::Overlap { .. }
        | ChangeError::NoRight { .. }
        | ChangeError::Meanwhile { .. }
        | ChangeError::OtherKey { .. }
        | ChangeError::Locked { .. }
        | ChangeError::System { .. } => ExitStatus::Failed,
    }
}

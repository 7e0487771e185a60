//! The commands that change users.

mod old_password;

pub(crate) use old_password::drop_old_password;

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

use crate::backend::{Backend, Change, Draft, Seen, SeenUser};
use crate::conditions::{Condition, is_over};
use crate::edit::NewUser;
use crate::list::{say_wrong, unix_s};
use crate::new_password::{NewPassword, PasswordMissing};
use crate::normal_form::outer_space;
use crate::plain::Plain;
use crate::registration::{Keeping, Kept, credential};
use crate::strength::weakness;
use crate::write::{ChangeError, Missing};
use crate::{EXAMPLE, PROGRAM, failed, say_each_line, warn};
use letmein::cli::usage::invalid;
use letmein::cli::{ExitStatus, say};
use old_password::{keep_old, old_of_record};
use proto::credentials::{Password, Username};
use users::{Problem, UsersError};

/// Adds a user.
pub(crate) fn add(
    backend: &Backend,
    name: Username,
    conditions: Vec<Condition>,
    password: &NewPassword,
    keeping: &Keeping,
) -> Result<ExitStatus, ExitStatus> {
    let exists = |name| ChangeError::Exists { path: backend.path().into(), name };
    let seen = backend.see(&name).map_err(|error| unchanged(&error))?;
    let Seen { user, has_records } = seen.unwrap_or_default();
    if let Some(SeenUser { name, .. }) = user {
        return Err(unchanged(&exists(name)));
    }
    let kept = keeping.decide(has_records, password.generate);
    find_key(backend, kept)?;
    let new = read(password, &name)?;
    let credential = credential(backend, &name, new.clone(), kept)?;
    let user = NewUser { name, credential, conditions, old: None };
    let change = Change { missing: Missing::Create, ..Change::of("add", &user.name) };
    let added = backend.change(&change, |draft| match draft.find(&user.name) {
        Some(name) => Err(exists(name)),
        None => {
            draft.add(&user);
            Ok(())
        }
    });
    added.map_err(|error| not_set(password, &user.name, &error))?;
    user.conditions.iter().for_each(warn_of);
    tell(password, &user.name, &new, kept)
}

/// Looks where the key is before anybody is asked for a password.
fn find_key(backend: &Backend, kept: Kept) -> Result<(), ExitStatus> {
    match kept {
        Kept::Password => Ok(()),
        Kept::Record(_) => backend.key_file_of_password().map(drop).map_err(|error| unchanged(&error)),
    }
}

/// Changes a password. The old one is refused from now on, or else good to the end of a day, in TOML.
pub(crate) fn passwd(
    backend: &Backend,
    name: &Username,
    password: &NewPassword,
    keeping: &Keeping,
    old_until: Option<String>,
) -> Result<ExitStatus, ExitStatus> {
    let old = old_until.map(|day| Ok((backend.with_old_passwords()?, day))).transpose();
    let old = old.map_err(|error| unchanged(&error))?;
    let Seen { user, has_records } = seen_or_refused(backend, name)?;
    let has_record = user.as_ref().is_some_and(|user| user.has_record);
    let name = user.map_or_else(|| name.clone(), |user| user.name);
    let kept = keeping.decide(has_records, password.generate);
    match old {
        Some((files, _)) if has_record || kept != Kept::Password => {
            Err(unchanged(&old_of_record(files, &name, has_record)))
        }
        Some((files, day)) => keep_old(files, &name, password, day),
        None => {
            if !keeping.is_chosen() && !has_record && kept != Kept::Password {
                warn(Plain(&format!(
                    "{name} is to get a record, and to log in by OPAQUE: --md5 keeps a password"
                )));
            }
            replace(backend, &name, password, kept)
        }
    }
}

fn replace(
    backend: &Backend,
    name: &Username,
    password: &NewPassword,
    kept: Kept,
) -> Result<ExitStatus, ExitStatus> {
    find_key(backend, kept)?;
    let new = read(password, name)?;
    let credential = credential(backend, name, new.clone(), kept)?;
    let changed = backend.change(&Change::of("passwd", name), |draft| {
        if &find(draft, backend.path(), name)? != name {
            return Err(ChangeError::Meanwhile { path: backend.path().into() });
        }
        Ok(draft.set_credential(name, &credential).map_err(|problem| wrong(backend.path(), problem))?)
    });
    changed.map_err(|error| not_set(password, name, &error))?;
    tell(password, name, &new, kept)
}

/// Sets a condition, by the command of this name.
pub(crate) fn set(
    backend: &Backend,
    command: &str,
    name: &Username,
    condition: &Condition,
) -> Result<ExitStatus, ExitStatus> {
    let done = change_user(backend, command, name, |draft, name| draft.set(name, condition))?;
    warn_of(condition);
    Ok(done)
}

/// Warns of a last day that is over.
fn warn_of(condition: &Condition) {
    if let Condition::Expires(Some(day)) = condition
        && is_over(day, unix_s())
    {
        warn(format_args!("{day} is over: the user is refused from now on"));
    }
}

pub(crate) fn rename(backend: &Backend, name: &Username, new: &Username) -> Result<ExitStatus, ExitStatus> {
    let what = format!("rename {name} to {new}");
    let change = Change { what, names: vec![name, new], missing: Missing::Refuse };
    let renamed = backend.change(&change, |draft| {
        let path = backend.path();
        let name = find(draft, path, name)?;
        match draft.find(new) {
            Some(other) if other != name => {
                return Err(ChangeError::NameTaken { path: path.into(), name: other });
            }
            Some(_) | None if draft.has_record(&name) && name != *new => {
                return Err(ChangeError::BoundName { path: path.into(), name, new: new.clone() });
            }
            Some(_) | None => draft.rename(&name, new),
        }
        Ok(ExitStatus::Done)
    });
    renamed.map_err(|error| unchanged(&error))
}

/// Removes a user, if need be once somebody has said yes.
pub(crate) fn remove(backend: &Backend, name: &Username, is_sure: bool) -> Result<ExitStatus, ExitStatus> {
    if !is_sure {
        seen_or_refused(backend, name)?;
        confirm(name)?;
    }
    change_user(backend, "remove", name, |draft, name| {
        draft.remove(name);
        Ok(())
    })
}

/// Changes a user, who must exist, by their name as it is written.
fn change_user(
    backend: &Backend,
    command: &str,
    name: &Username,
    act: impl Fn(&mut dyn Draft, &Username) -> Result<(), Problem>,
) -> Result<ExitStatus, ExitStatus> {
    let changed = backend.change(&Change::of(command, name), |draft| {
        let name = find(draft, backend.path(), name)?;
        act(draft, &name).map_err(|problem| wrong(backend.path(), problem))?;
        Ok(ExitStatus::Done)
    });
    changed.map_err(|error| unchanged(&error))
}

pub(crate) fn wrong(path: &Path, problem: Problem) -> UsersError {
    UsersError::Wrong { path: path.into(), problems: vec![problem] }
}

/// The name of a user as it is written.
fn find(draft: &dyn Draft, path: &Path, typed: &Username) -> Result<Username, ChangeError> {
    draft.find(typed).ok_or_else(|| ChangeError::NoSuchUser { path: path.into(), name: typed.clone() })
}

/// Refuses to ask anything about a user who is not there.
fn seen_or_refused(backend: &Backend, name: &Username) -> Result<Seen, ExitStatus> {
    match backend.see(name).map_err(|error| unchanged(&error))? {
        Some(Seen { user: None, .. }) => {
            Err(unchanged(&ChangeError::NoSuchUser { path: backend.path().into(), name: name.clone() }))
        }
        Some(seen) => Ok(seen),
        None => Ok(Seen::default()),
    }
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

/// Says why a password is not set, or may not be.
fn not_set(source: &NewPassword, name: &Username, error: &ChangeError) -> ExitStatus {
    let status = unchanged(error);
    if source.generate && error.is_unsettled() {
        let what =
            format!("nobody knows the password that was made: if there is {name}, set another with passwd");
        say(format_args!("{PROGRAM}: {}", Plain(&what)));
    }
    status
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
        #[cfg(feature = "engine")]
        ChangeError::Engine(refusal) => refusal.status(),
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

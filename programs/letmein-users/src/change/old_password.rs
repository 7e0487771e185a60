//! Passwords before the present ones, which only users of a file have.

use super::{find, read, say_waiting, tell, unchanged, wrong};
use crate::backend::Backend;
use crate::conditions::is_over;
use crate::credential::Credential;
use crate::edit::Edit;
use crate::files::Files;
use crate::list::unix_s;
use crate::new_password::NewPassword;
use crate::registration::Kept;
use crate::write::{self, ChangeError, Missing};
use crate::{PROGRAM, warn};
use letmein::cli::{ExitStatus, say};
use proto::credentials::Username;

/// Changes a password, and keeps the old one up to this day, in TOML.
pub(super) fn keep_old(
    files: &Files,
    name: &Username,
    password: &NewPassword,
    day: String,
) -> Result<ExitStatus, ExitStatus> {
    let new = read(password, name)?;
    let replaced = change(files, |edit| {
        let name = find(edit, &files.users, name)?;
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

pub(super) fn old_of_record(files: &Files, name: &Username, is_record: bool) -> ChangeError {
    ChangeError::OldPasswordOfRecord { path: files.users.clone(), name: name.clone(), is_record }
}

pub(crate) fn drop_old_password(backend: &Backend, name: &Username) -> Result<ExitStatus, ExitStatus> {
    let dropped = backend.with_old_passwords().and_then(|files| {
        change(files, |edit| {
            let name = find(edit, &files.users, name)?;
            edit.drop_old_password(&name).map_err(|problem| wrong(&files.users, problem))?;
            Ok(ExitStatus::Done)
        })
    });
    dropped.map_err(|error| unchanged(&error))
}

/// Changes a file that there is.
fn change<T>(
    files: &Files,
    edit: impl FnOnce(&mut Edit<'_>) -> Result<T, ChangeError>,
) -> Result<T, ChangeError> {
    write::change(files, Missing::Refuse, say_waiting, edit)
}

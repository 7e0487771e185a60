//! The command that says whether a password is the user's.

use std::path::Path;

use crate::change::no_password;
use crate::entries::{AccountState, OldEntry, UserEntry};
use crate::list::{find, unix_s};
use crate::new_password::GivenPassword;
use crate::plain::Plain;
use crate::print;
use letmein::cli::ExitStatus;
use letmein::cli::normal;
use proto::credentials::{Password, Username};
use users::first_second_after;

pub(crate) fn verify(
    users: &Path,
    name: &Username,
    password: &GivenPassword,
) -> Result<ExitStatus, ExitStatus> {
    let (entry, _) = find(users, name)?;
    let given = password.read(name).map_err(|error| no_password(&error))?;
    let now = unix_s();
    let (status, what) = judge(&entry, &given, now);
    let and = match entry.state(now) {
        AccountState::Enabled => String::new(),
        state @ (AccountState::Disabled | AccountState::Expired) => {
            format!("; the user is {}", state.word())
        }
    };
    print([Plain(&format!("{}: {what}{and}", entry.name)).to_string()])?;
    Ok(status)
}

/// Whether a password is the user's, and in words.
fn judge(entry: &UserEntry, given: &Password, unix_s: u64) -> (ExitStatus, String) {
    if is_same(&entry.password, given) {
        return (ExitStatus::Done, "the password is right".to_owned());
    }
    match &entry.old {
        Some(OldEntry { password, until }) if is_same(password, given) => {
            let is_over = first_second_after(until).is_some_and(|end| unix_s >= end);
            if is_over {
                (ExitStatus::Refused, format!("this was the password until {until}"))
            } else {
                (ExitStatus::Done, format!("this is the old password, which is good until {until}"))
            }
        }
        Some(_) | None => (ExitStatus::Refused, "the password is wrong".to_owned()),
    }
}

/// Whether a password in the file is the one given, which is in its normal form.
fn is_same(written: &Password, given: &Password) -> bool {
    let written = str::from_utf8(written.expose()).unwrap_or_default();
    normal::password(written).as_bytes() == given.expose()
}

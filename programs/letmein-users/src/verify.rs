//! The command that says whether a password is the user's.

use crate::backend::Backend;
use crate::change::{no_password, unchanged};
use crate::credential::Credential;
use crate::entries::{AccountState, OldEntry, UserEntry};
use crate::list::unix_s;
use crate::new_password::GivenPassword;
use crate::plain::Plain;
use crate::registration::random;
use crate::{failed, print};
use letmein::cli::ExitStatus;
use letmein::cli::normal;
use proto::credentials::{Password, Username};
use proto::opaque::Binding;
use proto::opaque::exchange::{ClientExchange, ServerExchange, UserPart};
use proto::opaque::record::Record;
use users::{RecordTextError, first_second_after};

pub(crate) fn verify(
    backend: &Backend,
    name: &Username,
    password: &GivenPassword,
) -> Result<ExitStatus, ExitStatus> {
    let entry = backend.find(name).map_err(|error| unchanged(&error))?;
    let given = password.read(name).map_err(|error| no_password(&error))?;
    let now = unix_s();
    let (status, what) = match &entry.credential {
        Credential::Password(password) => judge(&entry, password, &given, now),
        Credential::Record(record) => judge_record(backend, &entry.name, record, &given)?,
    };
    let and = match entry.state(now) {
        AccountState::Enabled => String::new(),
        state @ (AccountState::Disabled | AccountState::Expired) => {
            format!("; the user is {}", state.word())
        }
    };
    print([Plain(&format!("{}: {what}{and}", entry.name)).to_string()])?;
    Ok(status)
}

/// Whether a server lets the client in with this password, as far as it goes by names and passwords; and why, in words.
fn judge(entry: &UserEntry, present: &Password, given: &Password, unix_s: u64) -> (ExitStatus, String) {
    let (is_good, what) = match &entry.old {
        _ if is_same(present, given) => (true, "the password is right".to_owned()),
        Some(OldEntry { password, until }) if is_same(password, given) => {
            let is_over = first_second_after(until).is_some_and(|end| unix_s >= end);
            if is_over {
                (false, format!("this was the password until {until}"))
            } else {
                (true, format!("this is the old password, which is good until {until}"))
            }
        }
        Some(_) | None if is_alike(present, given) => (
            false,
            "the password is right, but the file has it in a form that clients do not send (RFC 8265): set it again \
             with passwd"
                .to_owned(),
        ),
        Some(_) | None => (false, "the password is wrong".to_owned()),
    };
    if !is_good {
        (ExitStatus::Refused, what)
    } else if normal::name(entry.name.as_str()) != entry.name.as_str() {
        let form = "the file has the name in a form that clients do not send (RFC 8265): rename it to itself";
        (ExitStatus::Refused, format!("{what}, but {form}"))
    } else {
        (ExitStatus::Done, what)
    }
}

/// Whether this is the password of a record, by a login at a server that is in this process, too.
fn judge_record(
    backend: &Backend,
    name: &Username,
    record: &Record,
    given: &Password,
) -> Result<(ExitStatus, String), ExitStatus> {
    let key = backend.key_file().and_then(|file| Ok(file.load()?)).map_err(|error| unchanged(&error))?.key;
    let mut random = random().map_err(|error| failed(&error))?;
    let stretching = record.stretching.to_bytes();
    let user = UserPart { name: name.as_str(), record: record.bytes(), stretching: &stretching };
    let mut login = || {
        let mut client = ClientExchange::new(name, given, Binding::none(), &mut random).ok()?;
        let ke1 = *client.ke1();
        let server = ServerExchange::new(&key, &user, &ke1, &Binding::none(), &mut random).ok()?;
        client.finish(record.stretching, &server.ke2).ok()
    };
    Ok(match login() {
        None if !record.has_public_key() => {
            (ExitStatus::Refused, format!("the record {}", RecordTextError::Damaged))
        }
        None => (ExitStatus::Refused, "the password is wrong".to_owned()),
        Some(_) if normal::name(name.as_str()) != name.as_str() => {
            let form = "the file has the name in a form that clients do not send (RFC 8265): remove it, and add it again";
            (ExitStatus::Refused, format!("the password is right, but {form}"))
        }
        Some(_) => (ExitStatus::Done, "the password is right".to_owned()),
    })
}

/// As a server compares them. What is given is in its normal form, as clients send it.
fn is_same(written: &Password, given: &Password) -> bool {
    written.expose() == given.expose()
}

fn is_alike(written: &Password, given: &Password) -> bool {
    let written = str::from_utf8(written.expose()).unwrap_or_default();
    normal::password(written).as_bytes() == given.expose()
}

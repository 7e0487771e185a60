//! The command that puts records in the place of passwords.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::backend::{Backend, Change};
use crate::change::{unchanged, wrong};
use crate::credential::Credential;
use crate::entries::{UserEntry, position};
use crate::list;
use crate::plain::Plain;
use crate::progress::Progress;
use crate::registration::{NoRecord, is_missing, new_record, refuse_abnormal, server_key};
use crate::strength::weakness;
use crate::write::{ChangeError, Missing};
use crate::{PROGRAM, failed, print, warn};
use letmein::cli::{ExitStatus, normal, say};
use proto::credentials::{Password, Username};
use proto::opaque::key::ServerKey;
use proto::opaque::stretching::Stretching;
use users::{counted, counted_names, first_second_after};

/// Makes records of the passwords of these users, or of all, but for some.
pub(crate) fn migrate(
    backend: &Backend,
    names: &[Username],
    except: &[Username],
    stretching: Stretching,
) -> Result<ExitStatus, ExitStatus> {
    let users = match backend.load() {
        // While a key file that was named is missing, nothing is loaded. It is made if there is no record yet.
        Err(ChangeError::Users(error)) if is_missing(&error) => {
            server_key(backend)?;
            backend.load()
        }
        loaded => loaded,
    };
    let users = users.map_err(|error| unchanged(&error))?;
    let chosen = chosen(backend.path(), users.entries, names, except).map_err(|error| unchanged(&error))?;
    if chosen.is_empty() {
        return print(["nobody to migrate".to_owned()]);
    }
    let key = server_key(backend)?;
    let registered = register_all(&key, &chosen, stretching).map_err(|error| failed(&error))?;
    let names = chosen.iter().map(|user| &user.name).collect();
    let change =
        Change { what: format!("migrate {}", counted(chosen.len())), names, missing: Missing::Refuse };
    let changed_meanwhile = backend.change(&change, |draft| {
        let mut changed_meanwhile = Vec::new();
        for (UserEntry { name, credential, .. }, new) in chosen.iter().zip(&registered) {
            if draft.has(name, credential) {
                draft.set_credential(name, &new.record).map_err(|problem| wrong(backend.path(), problem))?;
            } else {
                changed_meanwhile.push(name);
            }
        }
        Ok(changed_meanwhile)
    });
    let changed_meanwhile = changed_meanwhile.map_err(|error| unchanged(&error))?;
    for name in &changed_meanwhile {
        warn(Plain(&format!("somebody has changed {name} meanwhile: migrate again")));
    }
    let weak = chosen
        .iter()
        .zip(&registered)
        .filter(|(user, new)| new.is_weak && !changed_meanwhile.contains(&&user.name));
    if let Some(weak) = counted_names(weak.map(|(user, _)| user.name.as_str())) {
        warn(format_args!(
            "{weak}: weak passwords, which nothing stretches: leave --stretch none to generated passwords"
        ));
    }
    let kind = backend.kind();
    say(format_args!(
        "{PROGRAM}: copies of the old {kind} still hold the passwords: delete them. Whoever has recorded logins by MD5 can still guess \
         those passwords: change the weak ones with passwd."
    ));
    print([format!("{} migrated", counted(chosen.len() - changed_meanwhile.len()))])
}

/// The users to migrate. Those who have a record already are none of them.
fn chosen(
    path: &Path,
    entries: Vec<UserEntry>,
    names: &[Username],
    except: &[Username],
) -> Result<Vec<UserEntry>, ChangeError> {
    let place = |name: &Username| {
        let missing = || ChangeError::NoSuchUser { path: path.into(), name: name.clone() };
        position(&entries, name).ok_or_else(missing)
    };
    let mut is_chosen = vec![names.is_empty(); entries.len()];
    for (names, choice) in [(names, true), (except, false)] {
        for name in names {
            let place = place(name)?;
            is_chosen.iter_mut().skip(place).take(1).for_each(|it| *it = choice);
        }
    }
    let chosen = entries.into_iter().zip(is_chosen).filter(|(_, is_chosen)| *is_chosen);
    let chosen = chosen.map(|(entry, _)| entry).filter(|entry| entry.credential.password().is_some());
    let chosen: Vec<_> = chosen.collect();
    chosen.iter().try_for_each(|entry| refuse_unfit(path, entry))?;
    Ok(chosen)
}

/// Refuses a user whose record would not do what the password does.
fn refuse_unfit(path: &Path, UserEntry { name, old, .. }: &UserEntry) -> Result<(), ChangeError> {
    refuse_abnormal(path, name)?;
    let is_good = |until| first_second_after(until).is_some_and(|end| list::unix_s() < end);
    match old.as_ref().filter(|old| is_good(&old.until)) {
        None => Ok(()),
        Some(old) => Err(ChangeError::OldPasswordInTheWay {
            path: path.into(),
            name: name.clone(),
            until: old.until.to_string(),
        }),
    }
}

/// What is made of a password.
struct Registered {
    record: Credential,
    /// Whether nothing protects the password from whoever steals records and key.
    is_weak: bool,
}

/// A record for each user, in their order, made on all processors.
fn register_all(
    key: &ServerKey,
    users: &[UserEntry],
    stretching: Stretching,
) -> Result<Vec<Registered>, NoRecord> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(users.len());
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some((index, user)) = take(users, next) {
                    // The receiver is gone once a record could not be made.
                    if sender.send((index, of_user(key, user, stretching))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut progress = Progress::of(users.len());
        let mut all: Vec<(usize, Registered)> = Vec::with_capacity(users.len());
        while let Ok((index, registered)) = receiver.recv() {
            all.push((index, registered?));
            progress.show(all.len());
        }
        all.sort_by_key(|(index, _)| *index);
        Ok(all.into_iter().map(|(_, registered)| registered).collect())
    })
}

/// The next user without a record, and their index.
fn take<'u>(users: &'u [UserEntry], next: &AtomicUsize) -> Option<(usize, &'u UserEntry)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    users.get(index).map(|user| (index, user))
}

/// The record has the password in the form in which clients send it.
fn of_user(key: &ServerKey, user: &UserEntry, stretching: Stretching) -> Result<Registered, NoRecord> {
    let written = user.credential.text();
    let sent = normal::password(&written);
    let password = Password::new(&sent).or_else(|_| Password::new(&written));
    let password = password.map_err(|_| NoRecord::NotStretched)?;
    let record = Credential::Record(Box::new(new_record(key, &user.name, &password, stretching)?));
    Ok(Registered { record, is_weak: stretching.is_none() && weakness(&user.name, &password).is_some() })
}

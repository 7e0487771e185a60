//! The command that adds the users of a list.

mod rows;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::backend::{Backend, Change};
use crate::change::{doubts, unchanged, wrong};
use crate::conditions::{Condition, is_over};
use crate::edit::NewUser;
use crate::list::unix_s;
use crate::plain::Plain;
use crate::registration::Kept;
use crate::write::{ChangeError, Missing};
use crate::{PROGRAM, print, warn};
use letmein::cli::{ExitStatus, say};
use users::counted;

pub(crate) use rows::{ListFormat, ListProblem};
use rows::{Listed, parse};

pub(crate) fn import(
    backend: &Backend,
    list: &Path,
    format: ListFormat,
    replaces: bool,
) -> Result<ExitStatus, ExitStatus> {
    let from = if list == Path::new("-") { "standard input".to_owned() } else { list.display().to_string() };
    let bytes = read_list(list).map_err(|error| {
        say(format_args!("{PROGRAM}: cannot read {}: {error}", Plain(&from)));
        ExitStatus::Usage
    })?;
    let in_list = |list_problems| ChangeError::List { from: from.clone(), list_problems };
    let listed = parse(&bytes, format).map_err(|problems| unchanged(&in_list(problems)))?;
    let names = listed.iter().map(|listed| &listed.user.name).collect();
    let change =
        Change { what: format!("import {}", counted(listed.len())), names, missing: Missing::Create };
    let changed = backend.change(&change, |draft| {
        let is_there = |listed: &&Listed| draft.find(&listed.user.name).is_some();
        let (old, new): (Vec<_>, Vec<_>) = listed.iter().partition(is_there);
        if !old.is_empty() && !replaces {
            return Err(in_list(old.iter().map(|listed| exists(listed)).collect()));
        }
        let conditioned: Vec<_> = old.iter().filter(|listed| !listed.user.conditions.is_empty()).collect();
        if !conditioned.is_empty() {
            return Err(in_list(conditioned.into_iter().map(|listed| only_password(listed)).collect()));
        }
        let mut changed = Vec::new();
        for Listed { user, .. } in &old {
            if let Some(name) = draft.find(&user.name)
                && !draft.has(&name, &user.credential)
            {
                draft
                    .set_credential(&name, &user.credential)
                    .map_err(|problem| wrong(backend.path(), problem))?;
                changed.push(user);
            }
        }
        new.iter().for_each(|Listed { user, .. }| draft.add(user));
        let added: Vec<_> = new.iter().map(|Listed { user, .. }| user).collect();
        let mut listed = listed.iter().map(|listed| &listed.user.credential);
        let has_records = draft.has_records() || listed.any(|credential| credential.password().is_none());
        Ok((added, changed, has_records))
    });
    let (added, changed, has_records) = changed.map_err(|error| unchanged(&error))?;
    if listed.is_empty() {
        warn("the list is empty");
    }
    warn_of(added.iter().chain(&changed).copied());
    if has_records && added.iter().chain(&changed).any(|user| user.credential.password().is_some()) {
        warn("there are new passwords among records: migrate makes records of them");
    }
    print([format!("+{}, {} changed", counted(added.len()), changed.len())])
}

/// Warns of what is doubtful about users who were added or changed.
fn warn_of<'l>(users: impl Iterator<Item = &'l NewUser>) {
    let now = unix_s();
    let mut doubts = users.flat_map(|user| {
        let expired = user.conditions.iter().find_map(|condition| match condition {
            Condition::Expires(Some(day)) if is_over(day, now) => {
                Some(format!("{day} is over: {} is refused", user.name))
            }
            Condition::Expires(_) | Condition::Disabled(_) | Condition::From(_) => None,
        });
        let password = user.credential.password();
        let doubts = password.map(|password| doubts(&user.name, password, Kept::Password));
        expired.into_iter().chain(doubts.into_iter().flatten())
    });
    doubts.by_ref().take(LIST_WARNINGS_MAX).for_each(|doubt| warn(Plain(&doubt)));
    if doubts.next().is_some() {
        warn("more such warnings are not shown");
    }
}

/// More warnings of a list would only push the first ones off the screen.
const LIST_WARNINGS_MAX: usize = 10;

fn exists(listed: &Listed) -> ListProblem {
    let message = format!("there is a user {} already: --replace changes the password", listed.user.name);
    ListProblem { line: listed.line, message }
}

fn only_password(listed: &Listed) -> ListProblem {
    let message = format!(
        "--replace changes only the password: there is a user {} already, so leave disabled, expires and from empty, \
         and change them with disable and expire, or by hand",
        listed.user.name
    );
    ListProblem { line: listed.line, message }
}

fn read_list(list: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    if list == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        let mut file = File::open(list)?;
        // One allocation of the right size: a buffer that grows leaves copies of passwords behind.
        bytes.reserve_exact(file.metadata()?.len() as usize + 1);
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

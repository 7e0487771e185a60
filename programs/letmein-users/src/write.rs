//! Writing `users.toml` and the files of keys: one at a time, all or nothing.
//!
//! A change holds a lock on the folder from before it reads the file until after it has replaced it, so no change is
//! lost to another one. An editor does not take the lock, so a file that was saved in the meantime is not replaced. The
//! new file is complete and on disk before it takes the old one's name, so a reader sees the old file or the new one,
//! even after a crash.

mod folder;

use std::io;
use std::path::{Path, PathBuf};

use self::folder::LockedFolder;
use crate::edit::{Edit, Overlap};
use crate::files::Files;
use crate::import::ListProblem;
use crate::keys::Refused;
use proto::credentials::Username;
use proto::opaque::key::ServerKey;
use proto::server::keyring::ClusterKey;
use users::{
    Content, Problem, UsersError, cluster_keys_text, file, key_text, listing, parse_cluster_keys,
    parse_with_key,
};

/// A change that was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The file cannot be used.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// The database is not changed.
    #[cfg(feature = "engine")]
    #[error(transparent)]
    Engine(#[from] crate::engine::Refusal),
    #[error("{}: there is no user {name}", path.display())]
    NoSuchUser { path: PathBuf, name: Username },
    #[error("{}: there is a user {name} already: change the password with passwd", path.display())]
    Exists { path: PathBuf, name: Username },
    #[error("{}: there is a user {name} already: choose another name", path.display())]
    NameTaken { path: PathBuf, name: Username },
    #[error("{}: this is the present password of {name}, so nothing was changed: give another", path.display())]
    SamePassword { path: PathBuf, name: Username },
    #[error(
        "{}: {name} has a record, which is bound to that name, so nothing was changed: add {new} with a new password, \
         and remove {name}", path.display()
    )]
    BoundName { path: PathBuf, name: Username, new: Username },
    #[error(
        "{}: the name {name} is not in its normal form (RFC 8265), which is what clients send, so no record was made: \
         rename it to itself first", path.display()
    )]
    AbnormalName { path: PathBuf, name: Username },
    #[error(
        "{}: an old password does not go with a record, so nothing was changed: give {name} a new password without \
         --keep-old{}", path.display(), if *is_record { "" } else { ", or add --md5 to keep passwords" }
    )]
    OldPasswordOfRecord { path: PathBuf, name: Username, is_record: bool },
    #[error(
        "{}: {name} has an old password up to {until}, which does not go with a record, so nothing was changed: refuse \
         it with passwd {name} --drop-old, or add --except {name}", path.display()
    )]
    OldPasswordInTheWay { path: PathBuf, name: Username, until: String },
    #[error("{}: somebody has made another key meanwhile, so nothing was changed: try again", path.display())]
    OtherKey { path: PathBuf },
    #[error("{}: {reason}", path.display())]
    ClusterKey { path: PathBuf, reason: Refused },
    /// The list of an import.
    #[error("{}", list_problems.iter().map(|problem| format!("{from}:{problem}")).collect::<Vec<_>>().join("\n"))]
    List { from: String, list_problems: Vec<ListProblem> },
    /// The problems have their places in the new text.
    #[error("with this change the file would be wrong, so nothing was changed:\n{}", listing(path, problems))]
    WouldBeWrong { path: PathBuf, problems: Vec<Problem> },
    #[error(
        "{}: cannot give the new file the owner {uid}:{gid} and the mode {mode:o} of the old one: {error}: \
         nothing was changed; run this as root, or as the owner",
        path.display()
    )]
    Owner { path: PathBuf, uid: u32, gid: u32, mode: u32, error: io::Error },
    #[error("{}: two changes of the same place, so nothing was changed: make one after the other", path.display())]
    Overlap { path: PathBuf },
    #[error("cannot create a file in {}: {error}: run this as root, or as the file's owner", folder.display())]
    NoRight { folder: PathBuf, error: io::Error },
    #[error("{}: somebody else changed it meanwhile, so nothing was changed: try again", path.display())]
    Meanwhile { path: PathBuf },
    #[error(
        "{}: the folder is locked, so nothing was changed: by another change, or by any program that can open it; \
         lslocks shows by which",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error("{}: {reason}", path.display())]
    Obstacle { path: PathBuf, reason: Obstacle },
    #[error("{}: cannot {doing}: {error}", path.display())]
    System { path: PathBuf, doing: &'static str, error: io::Error },
}

impl ChangeError {
    /// Whether nobody knows if the change was made.
    pub(crate) fn is_unsettled(&self) -> bool {
        #[cfg(feature = "engine")]
        if let Self::Engine(refusal) = self {
            return refusal.is_unsettled();
        }
        false
    }
}

/// Why a new file cannot replace the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Obstacle {
    /// Without it, the group would get the permissions that are its mask.
    #[error(
        "it has an access control list, which a new file would not have: nothing was changed; \
         take it away with setfacl -b, or use an editor that keeps it"
    )]
    AccessList,
    #[error(
        "it has another name, a hard link, which would keep the old users: nothing was changed; \
         remove the other name, or use an editor that keeps it"
    )]
    HardLink,
}

/// What to do if there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// The text of a new file.
const EMPTY: &str = "\
# Who may log in: one line for each user. Change it with letmein-users, or with an editor.
#
#   alice = \"her password\"
#   bob   = { password = \"his password\", disabled = true }
#   carol = { password = \"hers\", expires = 2027-01-31, from = [\"10.0.0.0/8\", \"2001:db8::/32\"] }
#   dave  = { password = \"his new one\", old_password = \"his old one\", old_until = 2027-01-31 }

[users]
";

/// Called once with the folder if a change has to wait for its lock.
pub(crate) type Waiting = fn(&Path);

/// Changes a users file.
///
/// # Errors
/// Why the file is not changed. It is then as it was, unless the error says that the change may not be on disk yet.
pub(crate) fn change<T>(
    files: &Files,
    missing: Missing,
    waiting: Waiting,
    edit: impl FnOnce(&mut Edit<'_>) -> Result<T, ChangeError>,
) -> Result<T, ChangeError> {
    let path = &*files.users;
    let folder = LockedFolder::lock(path, Content::Users, missing, waiting)?;
    let old = folder.read(missing)?;
    let bytes = old.as_ref().map_or(EMPTY.as_bytes(), |old| &*old.bytes);
    let text = file::text(bytes, path)?;
    let wrong = |problems| UsersError::Wrong { path: path.into(), problems };
    let key_file = files.key_file()?;
    let key = key_file.load_for(text)?;
    if missing == Missing::Refuse || !has_only_comments(text) {
        parse_with_key(text, key.as_ref().map(|key| &key.key)).map_err(wrong)?;
    }
    let mut change = Edit::new(text).map_err(|problem| wrong(vec![problem]))?;
    let done = edit(&mut change)?;
    let new = change.finish().map_err(|Overlap| ChangeError::Overlap { path: path.into() })?;
    // The first record comes with a key.
    let key = key_file.load_for(&new)?;
    parse_with_key(&new, key.as_ref().map(|key| &key.key))
        .map_err(|problems| ChangeError::WouldBeWrong { path: path.into(), problems })?;
    if old.is_none() || new.as_bytes() != bytes {
        folder.replace(&new, old.as_ref())?;
    }
    Ok(done)
}

/// Makes a key file, which whoever can read the users file can read, but for others.
///
/// # Errors
/// Why there is none, or if somebody has made one meanwhile.
pub(crate) fn create_key(
    path: &Path,
    users: &Path,
    key: &ServerKey,
    waiting: Waiting,
) -> Result<(), ChangeError> {
    let folder = LockedFolder::lock(path, Content::Key, Missing::Create, waiting)?;
    if folder.read(Missing::Create)?.is_some() {
        return Err(ChangeError::OtherKey { path: path.into() });
    }
    folder.create_private(&key_text(key), users)
}

/// Changes the keys of a cluster. Where there is no file, there are no keys, and a file is made that whoever can read
/// the users file can read, but for others.
///
/// # Errors
/// Why the file is not changed, as in [`change`].
pub(crate) fn change_cluster_keys<T>(
    path: &Path,
    users: &Path,
    waiting: Waiting,
    edit: impl FnOnce(&mut Vec<ClusterKey>) -> Result<T, ChangeError>,
) -> Result<T, ChangeError> {
    let folder = LockedFolder::lock(path, Content::ClusterKeys, Missing::Create, waiting)?;
    let old = folder.read(Missing::Create)?;
    let text = old.as_ref().map_or(Ok(""), |old| file::text(&old.bytes, path))?;
    let wrong = |problems| UsersError::Wrong { path: path.into(), problems };
    let mut keys =
        if has_only_comments(text) { Vec::new() } else { parse_cluster_keys(text).map_err(wrong)? };
    let done = edit(&mut keys)?;
    let new = cluster_keys_text(&keys);
    parse_cluster_keys(&new).map_err(|problems| ChangeError::WouldBeWrong { path: path.into(), problems })?;
    match &old {
        Some(old) => folder.replace(&new, Some(old))?,
        None => folder.create_private(&new, users)?,
    }
    Ok(done)
}

/// Whether a text has nothing in it but comments.
fn has_only_comments(text: &str) -> bool {
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_start);
    lines.all(|line| line.is_empty() || line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::thread;

    use super::*;

    const TEXT: &str = "[users]\nalice = \"a\"\n";

    fn disable_while(path: &Path, missing: Missing, somebody: impl FnOnce()) -> Result<(), ChangeError> {
        change(
            &Files::new(path.into(), None),
            missing,
            |_| {},
            |edit| {
                somebody();
                edit.set(&"alice".parse().unwrap(), "disabled", "true".into());
                Ok(())
            },
        )
    }

    #[test]
    fn what_an_editor_saves_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let saved = "[users]\nalice = \"a\"\nbob = \"b\"\n";
        for in_place in [true, false] {
            fs::write(&path, TEXT).unwrap();
            let error = disable_while(&path, Missing::Refuse, || {
                if in_place {
                    fs::write(&path, saved).unwrap();
                } else {
                    let other = folder.path().join("other");
                    fs::write(&other, saved).unwrap();
                    fs::rename(other, &path).unwrap();
                }
            });
            assert!(matches!(error, Err(ChangeError::Meanwhile { .. })), "{error:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), saved);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_file_that_somebody_makes_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let error = disable_while(&path, Missing::Create, || fs::write(&path, TEXT).unwrap());
        assert!(matches!(error, Err(ChangeError::Meanwhile { .. })), "{error:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    }

    #[test]
    fn the_file_is_looked_for_again_once_the_lock_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let [link, old, new] = ["link", "old", "new"].map(|name| folder.path().join(name));
        for each in [&old, &new] {
            fs::create_dir(each).unwrap();
            fs::write(each.join("users.toml"), TEXT).unwrap();
        }
        symlink(&old, &link).unwrap();
        let held = File::open(&old).unwrap();
        held.lock().unwrap();
        thread::scope(|scope| {
            let path = link.join("users.toml");
            let changed = scope.spawn(move || {
                // The link moves while this waits.
                change(&Files::new(path, None), Missing::Refuse, move_link, |edit| {
                    edit.set(&"alice".parse().unwrap(), "disabled", "true".into());
                    Ok(())
                })
            });
            while fs::read_link(&link).unwrap() == old {
                thread::yield_now();
            }
            held.unlock().unwrap();
            changed.join().unwrap().unwrap();
        });
        assert_eq!(fs::read_to_string(old.join("users.toml")).unwrap(), TEXT);
        assert!(fs::read_to_string(new.join("users.toml")).unwrap().contains("disabled = true"));
    }

    /// Points the link beside this folder at the new one.
    fn move_link(old: &Path) {
        let [link, new, other] = ["link", "new", "other"].map(|name| old.with_file_name(name));
        symlink(new, &other).unwrap();
        fs::rename(other, link).unwrap();
    }
}

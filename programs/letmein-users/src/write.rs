//! Writing `users.toml`: one at a time, all or nothing.
//!
//! A change holds a lock on the folder from before it reads the file until after it has replaced it, so no change is
//! lost to another one. An editor does not take the lock, so a file that was saved in the meantime is not replaced. The
//! new file is complete and on disk before it takes the old one's name, so a reader sees the old file or the new one,
//! even after a crash.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use crate::edit::{Edit, Overlap};
use crate::import::ListProblem;
use proto::credentials::Username;
use users::{Problem, Stamp, UsersError, file, folder_of, open_folder, parse};

/// A change that was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The file cannot be used.
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error("{}: there is no user {name}", path.display())]
    NoSuchUser { path: PathBuf, name: Username },
    #[error("{}: there is a user {name} already: change the password with passwd", path.display())]
    Exists { path: PathBuf, name: Username },
    /// The list of an import.
    #[error("{}", list_problems.iter().map(|problem| format!("{from}:{problem}")).collect::<Vec<_>>().join("\n"))]
    List { from: String, list_problems: Vec<ListProblem> },
    /// The problems have their places in the new text.
    #[error(
        "with this change the file would be wrong, so nothing was changed:\n{}",
        file::listing(path, problems)
    )]
    WouldBeWrong { path: PathBuf, problems: Vec<Problem> },
    #[error(
        "{}: cannot give the new file the owner {uid}:{gid} and the mode {mode:o} of the old one: {error}: \
         nothing was changed; run this as root, or as the owner",
        path.display()
    )]
    Owner { path: PathBuf, uid: u32, gid: u32, mode: u32, error: io::Error },
    #[error("{}: two changes are of the same place, so nothing was changed: make one after the other", path.display())]
    Overlap { path: PathBuf },
    #[error("{}: somebody else changed it meanwhile, so nothing was changed: try again", path.display())]
    Meanwhile { path: PathBuf },
    #[error(
        "{}: somebody keeps the lock on this folder, so nothing was changed: another change, or any program \
         that can open the folder; lslocks tells which",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error("{}: {reason}", path.display())]
    Bound { path: PathBuf, reason: Bound },
    #[error("{}: cannot {doing}: {error}", path.display())]
    System { path: PathBuf, doing: &'static str, error: io::Error },
}

/// Why a new file cannot replace the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Bound {
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
    OtherName,
}

/// What to do if there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// The text of a new file.
const EMPTY: &str = "\
# Who may log in: a line a user. letmein-users changes it, and so may you.
#
#   alice = \"her password\"
#   bob   = { password = \"his password\", disabled = true }
#   carol = { password = \"hers\", expires = 2027-01-31, from = [\"10.0.0.0/8\", \"2001:db8::/32\"] }

[users]
";

/// Nobody but the owner reads passwords.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The extended attribute that is the access control list of a file.
const ACCESS_LIST: &str = "system.posix_acl_access";

/// Called once with the folder if a change has to wait for its lock.
pub(crate) type Waiting = fn(&Path);

/// The time between two attempts to take the lock.
const WAIT: Duration = Duration::from_millis(50);
/// Ten seconds: a change takes a fraction of one, but anybody who can open the folder can lock it for ever.
const WAITS_MAX: u32 = 200;
/// How often the file may turn out to be elsewhere once the lock is held. Where the file is created by many at once,
/// that happens once to the first.
const MOVES_MAX: u32 = 5;

/// Changes a users file.
///
/// # Errors
/// Why the file is not changed. It is then as it was, unless the error says that the change may not be on disk yet.
pub(crate) fn change<T>(
    path: &Path,
    missing: Missing,
    waiting: Waiting,
    edit: impl FnOnce(&mut Edit<'_>) -> Result<T, ChangeError>,
) -> Result<T, ChangeError> {
    let folder = Folder::lock(path, missing, waiting)?;
    let old = folder.read(missing)?;
    let bytes = old.as_ref().map_or(EMPTY.as_bytes(), |old| &*old.bytes);
    let text = file::text(bytes, path)?;
    let wrong = |problems| UsersError::Wrong { path: path.into(), problems };
    if missing == Missing::Refuse || !has_only_comments(text) {
        parse(text).map_err(wrong)?;
    }
    let mut change = Edit::new(text).map_err(|problem| wrong(vec![problem]))?;
    let done = edit(&mut change)?;
    let new = change.finish().map_err(|Overlap| ChangeError::Overlap { path: path.into() })?;
    parse(&new).map_err(|problems| ChangeError::WouldBeWrong { path: path.into(), problems })?;
    if old.is_none() || new.as_bytes() != bytes {
        folder.replace(&new, old.as_ref())?;
    }
    Ok(done)
}

/// Whether a text has nothing in it but comments.
fn has_only_comments(text: &str) -> bool {
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_start);
    lines.all(|line| line.is_empty() || line.starts_with('#'))
}

/// The path of the file itself: without links if the file exists.
fn resolve(path: &Path, missing: Missing) -> Result<PathBuf, ChangeError> {
    let is_missing = fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if is_missing && missing == Missing::Create {
        return Ok(path.to_owned());
    }
    file::distrust_link(path)?;
    Ok(path.canonicalize().map_err(|error| UsersError::Unreadable { path: path.into(), error })?)
}

/// Locks a folder, waiting as often as there are waits left.
fn lock_in_turn(
    folder: &OwnedFd,
    path: &Path,
    waits: &mut Range<u32>,
    waiting: Waiting,
) -> Result<(), ChangeError> {
    let lock = || rustix::fs::flock(folder, FlockOperation::NonBlockingLockExclusive);
    loop {
        match rustix::io::retry_on_intr(lock) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => {
                let (path, error) = (path.into(), error.into());
                return Err(ChangeError::System { path, doing: "lock the folder", error });
            }
        }
        match waits.next() {
            None => return Err(ChangeError::Locked { path: path.into() }),
            Some(0) => waiting(path),
            Some(_) => {}
        }
        thread::sleep(WAIT);
    }
}

/// The folder of a users file, locked: no other change is made in it until this is dropped.
struct Folder {
    /// The file, without links on the way to it.
    path: PathBuf,
    folder: OwnedFd,
}

/// The file before the change.
struct Old {
    file: File,
    bytes: file::FileBytes,
    stat: Stat,
}

impl Folder {
    /// Locks the folder of the file. Links may move while this waits, so the path is resolved again under the lock.
    fn lock(path: &Path, missing: Missing, waiting: Waiting) -> Result<Self, ChangeError> {
        let mut waits = 0..WAITS_MAX;
        for _ in 0..MOVES_MAX {
            let before = resolve(path, missing)?;
            let parent = folder_of(&before);
            let failed = |doing| {
                let path = parent.to_owned();
                move |error: io::Error| ChangeError::System { path, doing, error }
            };
            let folder = open_folder(parent).map_err(failed("open the folder"))?;
            lock_in_turn(&folder, parent, &mut waits, waiting)?;
            let held =
                rustix::fs::fstat(&folder).map_err(|error| failed("look at the folder")(error.into()))?;
            let now = rustix::fs::stat(parent).map_err(|error| failed("look at the folder")(error.into()))?;
            let is_same = (held.st_dev, held.st_ino) == (now.st_dev, now.st_ino);
            if is_same && resolve(path, missing)? == before {
                return Ok(Self { path: before, folder });
            }
        }
        Err(ChangeError::Meanwhile { path: path.into() })
    }

    /// Reads the file, under the lock.
    fn read(&self, missing: Missing) -> Result<Option<Old>, ChangeError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.folder, self.name(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) if missing == Missing::Create => return Ok(None),
            Err(error) => return Err(self.failed("read", error.into())),
        };
        let file = File::from(file);
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Err(self.failed("replace", io::Error::other("it is no regular file")));
        }
        let (bytes, stat) = file::read(&file, &self.path)?;
        Ok(Some(Old { file, bytes, stat }))
    }

    fn replace(&self, text: &str, old: Option<&Old>) -> Result<(), ChangeError> {
        if let Some(old) = old {
            self.refuse_bound(old)?;
        }
        // It was left by a change that was interrupted: nobody else has the lock.
        match rustix::fs::unlinkat(&self.folder, self.new_name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(self.failed("remove what is left of another change of", error.into())),
        }
        let replaced = self.create(text, old).and_then(|()| self.refuse_changed(old)).and_then(|()| {
            rustix::fs::renameat(&self.folder, self.new_name(), &self.folder, self.name())
                .map_err(|error| self.failed("replace", error.into()))
        });
        if replaced.is_err() {
            // It may not exist; if it cannot be removed, the next change tries again.
            let _ = rustix::fs::unlinkat(&self.folder, self.new_name(), AtFlags::empty());
        }
        replaced?;
        rustix::fs::fsync(&self.folder).map_err(|error| {
            self.failed("make sure that the change, which is made, outlasts a crash of", error.into())
        })
    }

    /// Refuses a file whose replacement could not keep everything that decides who can read it.
    fn refuse_bound(&self, old: &Old) -> Result<(), ChangeError> {
        let bound = |reason| Err(ChangeError::Bound { path: self.path.clone(), reason });
        if old.stat.st_nlink > 1 {
            return bound(Bound::OtherName);
        }
        match rustix::fs::fgetxattr(&old.file, ACCESS_LIST, &mut [0; 1]) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            Ok(_) | Err(Errno::RANGE) => bound(Bound::AccessList),
            Err(error) => Err(self.failed("read the access control list of", error.into())),
        }
    }

    /// Refuses if somebody without the lock has written the file since it was read.
    fn refuse_changed(&self, old: Option<&Old>) -> Result<(), ChangeError> {
        let now = match rustix::fs::statat(&self.folder, self.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(now) => Some(Stamp::of(&now)),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(self.failed("look at", error.into())),
        };
        if now == old.map(|old| Stamp::of(&old.stat)) {
            return Ok(());
        }
        Err(ChangeError::Meanwhile { path: self.path.clone() })
    }

    /// Writes the new file under its temporary name.
    fn create(&self, text: &str, old: Option<&Old>) -> Result<(), ChangeError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = rustix::fs::openat(&self.folder, self.new_name(), flags, PRIVATE)
            .map_err(|error| self.failed("write a new file beside", error.into()))?;
        // The folder may give an access control list to each new file.
        match rustix::fs::fremovexattr(&new, ACCESS_LIST) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(self.failed("write a new file beside", error.into())),
        }
        if let Some(Old { stat, .. }) = old {
            self.keep_owner(&new, stat)?;
        }
        let mut new = File::from(new);
        let written = new.write_all(text.as_bytes()).and_then(|()| new.sync_all());
        written.map_err(|error| self.failed("write a new file beside", error))
    }

    /// Gives the new file the owner, group and mode of the old one.
    fn keep_owner(&self, new: &OwnedFd, old: &Stat) -> Result<(), ChangeError> {
        let (uid, gid, mode) = (old.st_uid, old.st_gid, old.st_mode & 0o7777);
        rustix::fs::fstat(new)
            .and_then(|now| {
                if (now.st_uid, now.st_gid) == (uid, gid) {
                    return Ok(());
                }
                rustix::fs::fchown(new, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            })
            // After the owner, since changing the owner clears bits of the mode.
            .and_then(|()| rustix::fs::fchmod(new, Mode::from_raw_mode(mode)))
            .map_err(|error| ChangeError::Owner {
                path: self.path.clone(),
                uid,
                gid,
                mode,
                error: error.into(),
            })
    }

    fn name(&self) -> &[u8] {
        self.path.file_name().unwrap_or_default().as_bytes()
    }

    fn new_name(&self) -> Vec<u8> {
        [b".", self.name(), b".new"].concat()
    }

    fn failed(&self, doing: &'static str, error: io::Error) -> ChangeError {
        ChangeError::System { path: self.path.clone(), doing, error }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const TEXT: &str = "[users]\nalice = \"a\"\n";

    fn disable_while(path: &Path, missing: Missing, somebody: impl FnOnce()) -> Result<(), ChangeError> {
        change(
            path,
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
                change(&path, Missing::Refuse, move_link, |edit| {
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

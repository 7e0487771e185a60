//! The folder of a users file, from its lock to the new file in the old one's place.

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

use super::{ChangeError, Missing, Obstacle, Waiting};
use users::{Content, FileStamp, UsersError, file, folder_of, open_folder};

/// Nobody but the owner reads passwords.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The extended attribute that is the access control list of a file.
const ACCESS_LIST: &str = "system.posix_acl_access";

/// The time between two attempts to take the lock.
const WAIT: Duration = Duration::from_millis(50);
/// Ten seconds: a change takes a fraction of one, but anybody who can open the folder can lock it for ever.
const WAITS_MAX: u32 = 200;
/// What may fail for want of room.
const BESIDE: &str = "write a new file beside it";
/// How often the file may turn out to be elsewhere once the lock is held. Where the file is created by many at once,
/// that happens once to the first.
const MOVES_MAX: u32 = 5;

/// The folder of a users file, locked: no other change is made in it until this is dropped.
pub(super) struct LockedFolder {
    /// The file, without links on the way to it.
    path: PathBuf,
    content: Content,
    folder: OwnedFd,
}

/// The file before the change.
pub(super) struct Old {
    file: File,
    pub(super) bytes: file::FileBytes,
    stat: Stat,
}

/// Who may do what with a file.
#[derive(Clone, Copy)]
struct Access {
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Access {
    /// That of another file, with no more than these bits of its mode.
    fn of(stat: &Stat, mode: u32) -> Self {
        Self { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & mode }
    }
}

/// The bits of a mode that a file keeps.
const KEPT_MODE: u32 = 0o7777;
/// Nobody but the owner and perhaps the group reads a key.
const SECRET_MODE: u32 = 0o640;

impl LockedFolder {
    /// Locks the folder of the file. Links may move while this waits, so the path is resolved again under the lock.
    pub(super) fn lock(
        path: &Path,
        content: Content,
        missing: Missing,
        waiting: Waiting,
    ) -> Result<Self, ChangeError> {
        let mut waits = 0..WAITS_MAX;
        for _ in 0..MOVES_MAX {
            let before = resolve(path, content, missing)?;
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
            if is_same && resolve(path, content, missing)? == before {
                return Ok(Self { path: before, content, folder });
            }
        }
        Err(ChangeError::Meanwhile { path: path.into() })
    }

    /// Reads the file, under the lock.
    pub(super) fn read(&self, missing: Missing) -> Result<Option<Old>, ChangeError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.folder, self.name(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) if missing == Missing::Create => return Ok(None),
            Err(error) => return Err(self.failed("read", error.into())),
        };
        let file = File::from(file);
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            let error = io::Error::other("not a regular file");
            return Err(
                UsersError::Unreadable { content: self.content, path: self.path.clone(), error }.into()
            );
        }
        let (bytes, stat) = file::read(&file, &self.path, self.content)?;
        Ok(Some(Old { file, bytes, stat }))
    }

    pub(super) fn replace(&self, text: &str, old: Option<&Old>) -> Result<(), ChangeError> {
        if let Some(old) = old {
            self.refuse_obstacle(old)?;
        }
        let access = old.map(|old| Access::of(&old.stat, KEPT_MODE));
        self.put(text, old, access)
    }

    /// Makes the file, which there is not yet. It has the owner, the group and the mode of another file, if that is
    /// there, but without any rights of others.
    pub(super) fn create_private(&self, text: &str, like: &Path) -> Result<(), ChangeError> {
        let like = rustix::fs::stat(like).ok();
        self.put(text, None, like.map(|stat| Access::of(&stat, SECRET_MODE)))
    }

    fn put(&self, text: &str, old: Option<&Old>, access: Option<Access>) -> Result<(), ChangeError> {
        // It was left by a change that was interrupted: nobody else has the lock.
        match rustix::fs::unlinkat(&self.folder, self.new_name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(self.failed("remove what is left of another change of", error.into())),
        }
        let replaced = self.create(text, access).and_then(|()| self.refuse_changed(old)).and_then(|()| {
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
    fn refuse_obstacle(&self, old: &Old) -> Result<(), ChangeError> {
        let obstacle = |reason| Err(ChangeError::Obstacle { path: self.path.clone(), reason });
        if old.stat.st_nlink > 1 {
            return obstacle(Obstacle::HardLink);
        }
        match rustix::fs::fgetxattr(&old.file, ACCESS_LIST, &mut [0; 1]) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            Ok(_) | Err(Errno::RANGE) => obstacle(Obstacle::AccessList),
            Err(error) => Err(self.failed("read the access control list of", error.into())),
        }
    }

    /// Refuses if somebody without the lock has written the file since it was read.
    fn refuse_changed(&self, old: Option<&Old>) -> Result<(), ChangeError> {
        let now = match rustix::fs::statat(&self.folder, self.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(now) => Some(FileStamp::of(&now)),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(self.failed("look at", error.into())),
        };
        if now == old.map(|old| FileStamp::of(&old.stat)) {
            return Ok(());
        }
        Err(ChangeError::Meanwhile { path: self.path.clone() })
    }

    /// Writes the new file under its temporary name.
    fn create(&self, text: &str, access: Option<Access>) -> Result<(), ChangeError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new =
            rustix::fs::openat(&self.folder, self.new_name(), flags, PRIVATE).map_err(
                |error| match error {
                    Errno::ACCESS | Errno::PERM => {
                        ChangeError::NoRight { folder: folder_of(&self.path).into(), error: error.into() }
                    }
                    error => self.failed(BESIDE, error.into()),
                },
            )?;
        // The folder may give an access control list to each new file.
        match rustix::fs::fremovexattr(&new, ACCESS_LIST) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(self.failed(BESIDE, error.into())),
        }
        if let Some(access) = access {
            self.give(&new, access)?;
        }
        let mut new = File::from(new);
        let written = new.write_all(text.as_bytes()).and_then(|()| new.sync_all());
        written.map_err(|error| self.failed(BESIDE, error))
    }

    /// Gives the new file its owner, group and mode.
    fn give(&self, new: &OwnedFd, Access { uid, gid, mode }: Access) -> Result<(), ChangeError> {
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

/// The path of the file itself: without links if the file exists.
fn resolve(path: &Path, content: Content, missing: Missing) -> Result<PathBuf, ChangeError> {
    let is_missing = fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if is_missing && missing == Missing::Create {
        return Ok(path.to_owned());
    }
    file::distrust_link(path, content)?;
    Ok(path.canonicalize().map_err(|error| UsersError::Unreadable { content, path: path.into(), error })?)
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

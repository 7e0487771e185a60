//! Writing `users.toml`: one at a time, all or nothing.
//!
//! Whoever writes holds a lock on the folder from before the file is read until after it is replaced, so two changes at
//! once are two changes. The new file is complete and on disk before it takes the old one's name, so whoever reads,
//! and whoever comes after a crash, sees the old file or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::edit::{Edit, Overlap};
use super::import::ListProblem;
use super::{Problem, Username, UsersError, file, parse};

/// A change that was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The file is not to be changed.
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error("{}: there is no user {name}", path.display())]
    NoSuchUser { path: PathBuf, name: Username },
    #[error("{}: there is a user {name} already: letmein-users passwd {name} changes the password", path.display())]
    Exists { path: PathBuf, name: Username },
    /// The list of an import.
    #[error("{}", list_problems.iter().map(|problem| format!("{from}:{problem}")).collect::<Vec<_>>().join("\n"))]
    List { from: String, list_problems: Vec<ListProblem> },
    /// The places are those that there would be.
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
    #[error("{}: {reason}", path.display())]
    Bound { path: PathBuf, reason: Bound },
    #[error("{}: cannot {doing}: {error}", path.display())]
    System { path: PathBuf, doing: &'static str, error: io::Error },
}

/// Why no other file can take the place of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Bound {
    /// In a file without it, the bits of the mask would be those of the group.
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

/// What to do where there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// A new file, before anybody is in it.
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

/// Where the kernel has the access control list of a file.
const ACCESS_LIST: &str = "system.posix_acl_access";

/// Changes a users file.
///
/// # Errors
/// Why not; the file is then as it was, unless the error says that it may not be on disk yet.
pub(crate) fn change<T>(
    path: &Path,
    missing: Missing,
    edit: impl FnOnce(&mut Edit<'_>) -> Result<T, ChangeError>,
) -> Result<T, ChangeError> {
    let folder = Folder::lock(path, missing)?;
    let old = folder.read(missing)?;
    let bytes = old.as_ref().map_or(EMPTY.as_bytes(), |old| &old.bytes);
    let text = file::text(bytes, path)?;
    let wrong = |problems| UsersError::Wrong { path: path.into(), problems };
    parse(text).map_err(wrong)?;
    let mut change = Edit::new(text).map_err(|problem| wrong(vec![problem]))?;
    let done = edit(&mut change)?;
    let new = change.finish().map_err(|Overlap| ChangeError::Overlap { path: path.into() })?;
    parse(&new).map_err(|problems| ChangeError::WouldBeWrong { path: path.into(), problems })?;
    if old.is_none() || new.as_bytes() != bytes {
        folder.replace(&new, old.as_ref())?;
    }
    Ok(done)
}

/// The folder of a users file, which nobody else writes to in this way while this is there.
struct Folder {
    /// The file, without links on the way to it.
    path: PathBuf,
    folder: OwnedFd,
}

/// A file that is there.
struct Old {
    file: File,
    bytes: Zeroizing<Vec<u8>>,
    stat: Stat,
}

impl Folder {
    fn lock(path: &Path, missing: Missing) -> Result<Self, ChangeError> {
        let is_missing =
            fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        let path = if is_missing && missing == Missing::Create {
            path.to_owned()
        } else {
            file::distrust_link(path)?;
            path.canonicalize().map_err(|error| UsersError::Unreadable { path: path.into(), error })?
        };
        let parent = file::folder_of(&path);
        let failed = |doing| {
            let path = parent.to_owned();
            move |error: io::Error| ChangeError::System { path, doing, error }
        };
        let folder = file::open_folder(parent).map_err(failed("open the folder"))?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&folder, FlockOperation::LockExclusive))
            .map_err(|error| failed("lock the folder")(error.into()))?;
        Ok(Self { path, folder })
    }

    /// The file, once the lock is held.
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
        // Of somebody who was stopped on the way: nobody else has the lock.
        match rustix::fs::unlinkat(&self.folder, self.new_name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(self.failed("remove what is left of another change of", error.into())),
        }
        let replaced = self.create(text, old).and_then(|()| {
            rustix::fs::renameat(&self.folder, self.new_name(), &self.folder, self.name())
                .map_err(|error| self.failed("replace", error.into()))
        });
        if replaced.is_err() {
            // There may be none; the next change removes what is left.
            let _ = rustix::fs::unlinkat(&self.folder, self.new_name(), AtFlags::empty());
        }
        replaced?;
        rustix::fs::fsync(&self.folder).map_err(|error| {
            self.failed("make sure that the change, which is made, outlasts a crash of", error.into())
        })
    }

    /// Refuses a file of which a new one could not keep everything that decides who reads it.
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

    /// Writes the new file under its other name.
    fn create(&self, text: &str, old: Option<&Old>) -> Result<(), ChangeError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = rustix::fs::openat(&self.folder, self.new_name(), flags, PRIVATE)
            .map_err(|error| self.failed("write a new file beside", error.into()))?;
        // The folder may give one to each new file.
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
            // After the owner, whose change takes bits from the mode.
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

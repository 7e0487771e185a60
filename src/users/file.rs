//! `users.toml` on disk: reading it, and what its permissions tell.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::iter;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::store::wipe;
use super::{Problem, Samples, Users, parse};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// How many problems are shown of one file.
const PROBLEMS_SHOWN: usize = 20;

/// A users file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// It cannot be read.
    #[error("{}: {error}: {}", path.display(), remedy(error))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word for it.
        error: io::Error,
    },
    /// Somebody else decides what is in it.
    #[error("{}: {reason}", path.display())]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// Who, and what to do about it.
        reason: Distrust,
    },
    /// It can be read, but has problems.
    #[error("{}", listing(path, problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// At least one.
        problems: Vec<Problem>,
    },
}

/// Why a users file is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Everybody on the machine can make themselves a user.
    #[error("everybody can write it, and so log in: chmod o-w it")]
    OpenToAll,
    /// Its folder is not the one that it was when the server started.
    #[error("its folder was replaced by another: start the server anew")]
    OtherFolder,
    /// It is a symbolic link of somebody who is neither root nor the user who starts the server.
    #[error("it is a symbolic link that another user owns: name the file itself, or make the link yours")]
    ForeignLink,
}

/// A users file that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// The users in it.
    pub users: Users,
    /// What the operator should know about it.
    pub warnings: Vec<Warning>,
    /// Which file it was.
    pub(crate) stamp: Stamp,
}

/// Something about a users file that is no reason not to use it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Everybody on the machine can read the passwords.
    #[error("{path}: others can read the passwords in it: chmod o-r {path}", path = .0.display())]
    OpenToOthers(PathBuf),
    /// Everybody will be refused.
    #[error("{}: there are no users in it: everybody will be refused", .0.display())]
    NoUsers(PathBuf),
}

/// Reads and parses a users file.
///
/// # Errors
/// What keeps it from being used, with file, line, column and remedy.
pub fn load(path: &Path) -> Result<Loaded, UsersError> {
    UsersFile::new(path)?.load()
}

/// A users file that can be used, and its text.
pub(crate) struct LoadedText {
    pub(crate) loaded: Loaded,
    bytes: FileBytes,
}

impl LoadedText {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.bytes).unwrap_or_default()
    }
}

/// The same as [`load`], for those who want to see the text, too.
pub(crate) fn load_text(path: &Path) -> Result<LoadedText, UsersError> {
    UsersFile::new(path)?.load_text()
}

/// A users file that is read again and again, also by a server that has given up all but its folder.
pub(crate) struct UsersFile {
    path: PathBuf,
    folder: OwnedFd,
    name: OsString,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    len: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            len: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl UsersFile {
    /// Opens the folder; the file need not be there yet.
    ///
    /// # Errors
    /// If there is no such folder.
    pub(crate) fn new(path: &Path) -> Result<Self, UsersError> {
        let unreadable = |error| UsersError::Unreadable { path: path.into(), error };
        let name = path.file_name().ok_or_else(|| unreadable(io::ErrorKind::IsADirectory.into()))?;
        let folder = open_folder(folder_of(path)).map_err(unreadable)?;
        Ok(Self { path: path.into(), folder, name: name.into() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its own folder, and that of the file which a link leads to.
    pub(crate) fn folder_paths(&self) -> Vec<PathBuf> {
        let target = fs::canonicalize(&self.path).ok();
        let target = target.as_deref().map(|path| folder_of(path).to_owned());
        iter::once(folder_of(&self.path).to_owned()).chain(target).collect()
    }

    /// The folders that must be readable for the file to be.
    pub(crate) fn folders(&self) -> io::Result<Vec<OwnedFd>> {
        let own = self.folder.try_clone()?;
        let others = self.folder_paths().into_iter().skip(1).map(|folder| open_folder(&folder));
        iter::once(Ok(own)).chain(others).collect()
    }

    /// Whether this is its folder.
    pub(crate) fn is_in(&self, folder: &OwnedFd) -> bool {
        fstat(folder).is_ok_and(|folder| self.has_folder(&folder))
    }

    fn has_folder(&self, other: &Stat) -> bool {
        fstat(&self.folder).is_ok_and(|own| (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
    }

    /// Which file there is now, if there is one, in the folder that there was at the start.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.check_folder().ok()?;
        statat(&self.folder, &self.name, AtFlags::empty()).ok().map(|stat| Stamp::of(&stat))
    }

    /// A folder that was replaced by another of its name is not the one that the server can still read.
    fn check_folder(&self) -> Result<(), UsersError> {
        let now = statat(CWD, folder_of(&self.path), AtFlags::empty());
        // A server that has become another user may not see its way to the folder any more.
        if now.is_ok_and(|now| !self.has_folder(&now)) {
            return Err(UsersError::Unsafe { path: self.path.clone(), reason: Distrust::OtherFolder });
        }
        Ok(())
    }

    /// Opens the file, as whoever this process is by now.
    pub(crate) fn open(&self) -> Result<File, UsersError> {
        let unreadable =
            |error: Errno| UsersError::Unreadable { path: self.path.clone(), error: error.into() };
        self.check_folder()?;
        let link = statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW).map_err(unreadable)?;
        distrust(&link, &self.path)?;
        // Without waiting for the other end of what is no file.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(openat(&self.folder, &self.name, flags, Mode::empty()).map_err(unreadable)?.into())
    }

    /// Reads and parses the file.
    pub(crate) fn load(&self) -> Result<Loaded, UsersError> {
        self.load_text().map(|text| text.loaded)
    }

    fn load_text(&self) -> Result<LoadedText, UsersError> {
        let (bytes, stat) = read(&self.open()?, &self.path)?;
        let wrong = |problems| UsersError::Wrong { path: self.path.clone(), problems };
        let users = parse(text(&bytes, &self.path)?).map_err(wrong)?;
        let mut warnings = Vec::new();
        if Mode::from_raw_mode(stat.st_mode).contains(Mode::ROTH)
            && !matches!(users.samples(), Samples::Only(_))
        {
            warnings.push(Warning::OpenToOthers(self.path.clone()));
        }
        if users.is_empty() {
            warnings.push(Warning::NoUsers(self.path.clone()));
        }
        Ok(LoadedText { loaded: Loaded { users, warnings, stamp: Stamp::of(&stat) }, bytes })
    }
}

/// What is in a users file; wiped in the end.
pub(super) struct FileBytes(Vec<u8>);

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for FileBytes {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Reads a users file to its end, unless everybody can write it.
pub(super) fn read(mut file: &File, path: &Path) -> Result<(FileBytes, Stat), UsersError> {
    let unreadable = |error| UsersError::Unreadable { path: path.into(), error };
    let stat = fstat(file).map_err(|error| unreadable(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(unreadable(io::Error::other("it is no file")));
    }
    if Mode::from_raw_mode(stat.st_mode).contains(Mode::WOTH) {
        return Err(UsersError::Unsafe { path: path.into(), reason: Distrust::OpenToAll });
    }
    // One allocation of the right size: a buffer that grows leaves copies of passwords behind.
    let mut bytes = FileBytes(Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0) + 1));
    file.read_to_end(&mut bytes.0).map_err(unreadable)?;
    Ok((bytes, stat))
}

/// Refuses a path that is a link that neither root nor this user made. Whoever owns its folder can change that at any
/// time, so this protects from links in folders that all may write to.
pub(super) fn distrust_link(path: &Path) -> Result<(), UsersError> {
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| UsersError::Unreadable { path: path.into(), error: error.into() })?;
    distrust(&stat, path)
}

fn distrust(stat: &Stat, path: &Path) -> Result<(), UsersError> {
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    if is_link && stat.st_uid != geteuid().as_raw() && stat.st_uid != 0 {
        return Err(UsersError::Unsafe { path: path.into(), reason: Distrust::ForeignLink });
    }
    Ok(())
}

/// The folder that a path is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A descriptor of a folder, by which files in it can be had.
pub(crate) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The bytes of a users file as text.
pub(super) fn text<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str, UsersError> {
    str::from_utf8(bytes).map_err(|error| {
        let line = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
        let message = "this line is not UTF-8: save the file as UTF-8".into();
        UsersError::Wrong { path: path.into(), problems: vec![Problem { line, column: 1, message }] }
    })
}

fn remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "let the server's user read it, or name another with --users FILE"
    } else {
        "create it, or name another with --users FILE"
    }
}

/// Problems of a file, a line each.
pub(super) fn listing(path: &Path, problems: &[Problem]) -> String {
    let shown = problems.iter().take(PROBLEMS_SHOWN).map(|problem| format!("{}:{problem}", path.display()));
    let left_out = problems.len().saturating_sub(PROBLEMS_SHOWN);
    let more = (left_out > 0).then(|| format!("{}: {left_out} more problems", path.display()));
    shown.chain(more).collect::<Vec<_>>().join("\n")
}

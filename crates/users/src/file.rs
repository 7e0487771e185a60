//! A file that decides who may log in: reading it, and what its permissions tell.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::iter;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::{Content, Distrust, UsersError};
use crate::folder::{Folder, Openness, folder_of, is_same};
use crate::problem::Problem;
use crate::source::FileStamp;
use proto::users::wipe;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, Uid, fstat, openat, statat};
use rustix::io::Errno;
use rustix::path::Arg;
use rustix::process::geteuid;

/// How often a file may be replaced while it is opened.
const REPLACEMENTS_MAX: u32 = 3;

/// A file that is read repeatedly, even by a server whose sandbox leaves it only the file's folder.
pub(crate) struct TrustedFile {
    pub(crate) path: PathBuf,
    content: Content,
    name: OsString,
    folder: Folder,
    /// The folder of the file that a link leads to.
    target: Option<Folder>,
    /// Whether the path is a link that another user made. It leads nowhere then.
    is_foreign_link: bool,
    /// The user that the server runs as, if a server reads it.
    reader: Option<Uid>,
    /// Whether the path has to lead to the file, beside its name in the folder.
    is_path_open: bool,
}

/// Who owns a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Root or the server's user, or nobody asked.
    Trusted,
    /// Another user.
    Foreign,
}

impl TrustedFile {
    /// Opens the folder; the file need not be there yet, and a link of another user is refused once it is read.
    ///
    /// # Errors
    /// If there is no such folder, or others decide what is in it.
    pub(crate) fn new(path: &Path, content: Content) -> Result<Self, UsersError> {
        let unreadable = |error| UsersError::Unreadable { content, path: path.into(), error };
        let name = path.file_name().ok_or_else(|| unreadable(io::ErrorKind::IsADirectory.into()))?;
        let is_foreign_link = matches!(distrust_link(path, content), Err(UsersError::Unsafe { .. }));
        let folder = Folder::open(folder_of(path)).map_err(unreadable)?;
        let target = if is_foreign_link { None } else { fs::canonicalize(path).ok() };
        let target = target.map(|target| Folder::open(folder_of(&target))).transpose().map_err(unreadable)?;
        for folder in iter::once(&folder).chain(&target) {
            if let Some(open) = folder.open_to_all_on_path().map_err(unreadable)? {
                return Err(UsersError::Unsafe {
                    path: path.into(),
                    reason: Distrust::FolderOpenToAll(open),
                });
            }
        }
        let (path, name, reader) = (path.into(), name.into(), None);
        Ok(Self { path, content, name, folder, target, is_foreign_link, reader, is_path_open: false })
    }

    /// Prepares it for a server that runs as this user.
    ///
    /// # Errors
    /// If its path leads through a folder or a link that another user may have made.
    pub(crate) fn read_by(self, reader: Uid) -> Result<Self, UsersError> {
        let unreadable = |error| self.unreadable(error);
        for folder in self.both_folders() {
            if let Some(foreign) = folder.foreign_on_path(reader).map_err(unreadable)? {
                return Err(self.distrusted(Distrust::ForeignFolder(foreign)));
            }
        }
        Ok(Self { reader: Some(reader), ..self })
    }

    /// # Errors
    /// If it is a link of another user.
    pub(crate) fn refuse_foreign_link(&self) -> Result<(), UsersError> {
        if self.is_foreign_link { Err(self.distrusted(Distrust::ForeignLink)) } else { Ok(()) }
    }

    /// The folder of the file, and that of the file that a link leads to.
    pub(crate) fn both_folders(&self) -> impl Iterator<Item = &Folder> {
        iter::once(&self.folder).chain(&self.target)
    }

    /// Opens the file with the rights that the process has now. Paths are only opened: the sandbox keeps a server from
    /// looking at them in other ways.
    fn open(&self) -> Result<File, UsersError> {
        self.refuse_foreign_link()?;
        let unreadable = |error: Errno| self.unreadable(error.into());
        let is_closed = self.folder.openness().map_err(unreadable)? == Openness::Nothing
            || self.folder.is_secret().map_err(unreadable)?;
        let link = if is_closed { OFlags::empty() } else { OFlags::NOFOLLOW };
        for _ in 0..REPLACEMENTS_MAX {
            let file = open_at(&self.folder.descriptor, &self.name, link).map_err(|error| match error {
                Errno::LOOP if link == OFlags::NOFOLLOW => self.distrusted(Distrust::LinkOpenToAll),
                error => unreadable(error),
            })?;
            match open_at(CWD, &self.path, link) {
                Ok(by_path) if is_same(&file, &by_path) => return Ok(file.into()),
                // A server that has become another user may not be able to follow the path.
                Err(_) if !self.is_path_open => return Ok(file.into()),
                Ok(_) | Err(_) => {}
            }
        }
        Err(self.distrusted(Distrust::OtherFolder))
    }

    /// Opens and reads the file.
    ///
    /// # Errors
    /// What keeps it from being read, or if everybody can write it.
    pub(crate) fn read(&self) -> Result<(FileBytes, Stat), UsersError> {
        read(&self.open()?, &self.path, self.content)
    }

    /// Opens the file, to be read piece by piece.
    ///
    /// # Errors
    /// What keeps it from being read, or if everybody can write it.
    pub(crate) fn open_checked(&self) -> Result<(File, Stat), UsersError> {
        let file = self.open()?;
        let stat = check(&file, &self.path, self.content)?;
        Ok((file, stat))
    }

    /// The same; `None` if there is no file.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn open_if_there(&self) -> Result<Option<(File, Stat)>, UsersError> {
        none_if_missing(self.open_checked())
    }

    pub(crate) fn unreadable(&self, error: io::Error) -> UsersError {
        UsersError::Unreadable { content: self.content, path: self.path.clone(), error }
    }

    fn distrusted(&self, reason: Distrust) -> UsersError {
        UsersError::Unsafe { path: self.path.clone(), reason }
    }

    /// Refuses a file that anybody may have put there, and tells one that another user can write.
    pub(crate) fn owner(&self, stat: &Stat) -> Result<Owner, UsersError> {
        let unreadable = |error: Errno| self.unreadable(error.into());
        let is_foreign = stat.st_uid != 0 && self.reader.is_some_and(|reader| reader.as_raw() != stat.st_uid);
        for folder in self.both_folders() {
            match folder.openness().map_err(unreadable)? {
                Openness::ReplaceFiles => {
                    return Err(self.distrusted(Distrust::FolderOpenToAll(folder.path.clone())));
                }
                Openness::MakeFiles if is_foreign => return Err(self.distrusted(Distrust::ForeignFile)),
                Openness::MakeFiles | Openness::Nothing => {}
            }
        }
        Ok(if is_foreign { Owner::Foreign } else { Owner::Trusted })
    }

    /// Looks in the folder that was opened at the start.
    pub(crate) fn stamp(&self) -> Option<FileStamp> {
        self.status().map(|stat| FileStamp::of(&stat))
    }

    /// The status of the file in that folder.
    pub(crate) fn status(&self) -> Option<Stat> {
        fstat(self.open().ok()?).ok()
    }

    /// If the path leads to the file now, it has to from now on.
    pub(crate) fn settle(&mut self) -> Result<(), UsersError> {
        self.is_path_open = open_at(CWD, &self.path, OFlags::empty()).is_ok();
        self.open().map(drop)
    }

    /// The same for a file that need not be there.
    pub(crate) fn settle_if_there(&mut self) -> Result<(), UsersError> {
        none_if_missing(self.settle()).map(|_| ())
    }
}

fn none_if_missing<T>(opened: Result<T, UsersError>) -> Result<Option<T>, UsersError> {
    match opened {
        Err(UsersError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// The bytes of such a file, wiped when dropped.
pub struct FileBytes(Vec<u8>);

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

/// Reads a file to its end, unless everybody can write it.
pub fn read(mut file: &File, path: &Path, content: Content) -> Result<(FileBytes, Stat), UsersError> {
    let stat = check(file, path, content)?;
    // One allocation of the right size: a buffer that grows leaves copies of secrets behind.
    let mut bytes = FileBytes(Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0) + 1));
    file.read_to_end(&mut bytes.0).map_err(|error| UsersError::Unreadable {
        content,
        path: path.into(),
        error,
    })?;
    Ok((bytes, stat))
}

/// Refuses what is no file, and a file that everybody can write.
fn check(file: &File, path: &Path, content: Content) -> Result<Stat, UsersError> {
    let unreadable = |error| UsersError::Unreadable { content, path: path.into(), error };
    let stat = fstat(file).map_err(|error| unreadable(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(unreadable(io::Error::other("not a regular file")));
    }
    if Mode::from_raw_mode(stat.st_mode).contains(Mode::WOTH) {
        return Err(UsersError::Unsafe { path: path.into(), reason: Distrust::OpenToAll(content) });
    }
    Ok(stat)
}

/// Whether everybody can read a file.
pub(crate) fn is_open_to_others(stat: &Stat) -> bool {
    Mode::from_raw_mode(stat.st_mode).contains(Mode::ROTH)
}

/// Refuses a path that is a link which neither root nor this user made. The owner of its folder can replace the link at
/// any time, so this protects only from links in folders that everybody can write.
pub fn distrust_link(path: &Path, content: Content) -> Result<(), UsersError> {
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| UsersError::Unreadable {
        content,
        path: path.into(),
        error: error.into(),
    })?;
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    if is_link && stat.st_uid != geteuid().as_raw() && stat.st_uid != 0 {
        return Err(UsersError::Unsafe { path: path.into(), reason: Distrust::ForeignLink });
    }
    Ok(())
}

/// Opens for reading, without waiting for the other end of a FIFO.
fn open_at(folder: impl AsFd, name: impl Arg, more: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | more;
    openat(folder, name, flags, Mode::empty())
}

/// The bytes of a users file as text.
pub fn text<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str, UsersError> {
    str::from_utf8(bytes).map_err(|error| {
        let line = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
        let message = "this line is not UTF-8: save the file as UTF-8".into();
        UsersError::Wrong { path: path.into(), problems: vec![Problem { line, column: 1, message }] }
    })
}

//! `users.toml` on disk: reading it, and what its permissions tell.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::iter;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::{Distrust, UsersError, Warning};
use crate::folder::{Folder, Openness, folder_of, is_same};
use crate::parse;
use crate::problem::Problem;
use crate::source::{Loaded, Stamp, UserSource};
use proto::users::Samples;
use proto::users::wipe;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, Uid, fstat, openat, statat};
use rustix::io::Errno;
use rustix::path::Arg;
use rustix::process::geteuid;

/// How often a file may be replaced while it is opened.
const REPLACEMENTS_MAX: u32 = 3;

/// Reads and parses a users file.
///
/// # Errors
/// What keeps it from being used, with file, line, column and remedy.
pub fn load(path: &Path) -> Result<Loaded, UsersError> {
    UsersFile::new(path)?.load()
}

/// A valid users file, and its text.
pub struct LoadedText {
    /// The users, and what to know about them.
    pub loaded: Loaded,
    bytes: FileBytes,
}

impl LoadedText {
    /// The text as it is in the file, passwords and all.
    #[must_use]
    pub fn text(&self) -> &str {
        str::from_utf8(&self.bytes).unwrap_or_default()
    }
}

/// Like [`load`], with the text.
pub fn load_text(path: &Path) -> Result<LoadedText, UsersError> {
    UsersFile::new(path)?.load_text()
}

/// A users file that is read repeatedly, even by a server whose sandbox leaves it only the file's folder.
pub struct UsersFile {
    path: PathBuf,
    name: OsString,
    folder: Folder,
    /// The folder of the file that a link leads to.
    target: Option<Folder>,
    /// The user that the server runs as, if a server reads it.
    reader: Option<Uid>,
    /// Whether the path has to lead to the file, beside its name in the folder.
    is_path_open: bool,
}

impl UsersFile {
    /// Opens the folder; the file need not be there yet.
    ///
    /// # Errors
    /// If there is no such folder, or others decide what is in it.
    pub fn new(path: &Path) -> Result<Self, UsersError> {
        let unreadable = |error| UsersError::Unreadable { path: path.into(), error };
        let name = path.file_name().ok_or_else(|| unreadable(io::ErrorKind::IsADirectory.into()))?;
        if let Err(error @ UsersError::Unsafe { .. }) = distrust_link(path) {
            return Err(error);
        }
        let folder = Folder::open(folder_of(path)).map_err(unreadable)?;
        let target = fs::canonicalize(path).ok();
        let target = target.map(|target| Folder::open(folder_of(&target))).transpose().map_err(unreadable)?;
        for folder in iter::once(&folder).chain(&target) {
            if let Some(open) = folder.open_to_all_on_path().map_err(unreadable)? {
                return Err(UsersError::Unsafe {
                    path: path.into(),
                    reason: Distrust::FolderOpenToAll(open),
                });
            }
        }
        Ok(Self { path: path.into(), name: name.into(), folder, target, reader: None, is_path_open: false })
    }

    /// Prepares it for a server that runs as this user.
    ///
    /// # Errors
    /// If its path leads through a folder or a link that another user may have made.
    pub fn read_by(self, reader: Uid) -> Result<Self, UsersError> {
        let unreadable = |error| UsersError::Unreadable { path: self.path.clone(), error };
        for folder in self.both_folders() {
            if let Some(foreign) = folder.foreign_on_path(reader).map_err(unreadable)? {
                return Err(self.distrusted(Distrust::ForeignFolder(foreign)));
            }
        }
        Ok(Self { reader: Some(reader), ..self })
    }

    /// The folder of the file, and that of the file that a link leads to.
    fn both_folders(&self) -> impl Iterator<Item = &Folder> {
        iter::once(&self.folder).chain(&self.target)
    }

    /// Opens the file with the rights that the process has now. Paths are only opened: the sandbox keeps a server from
    /// looking at them in other ways.
    fn open(&self) -> Result<File, UsersError> {
        let unreadable =
            |error: Errno| UsersError::Unreadable { path: self.path.clone(), error: error.into() };
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

    fn distrusted(&self, reason: Distrust) -> UsersError {
        UsersError::Unsafe { path: self.path.clone(), reason }
    }

    /// Refuses a file that anybody may have put there, and warns of one that another user can write.
    fn distrust_owner(&self, stat: &Stat) -> Result<Option<Warning>, UsersError> {
        let unreadable =
            |error: Errno| UsersError::Unreadable { path: self.path.clone(), error: error.into() };
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
        Ok(is_foreign.then(|| Warning::ForeignOwner(self.path.clone())))
    }

    fn load_text(&self) -> Result<LoadedText, UsersError> {
        let (bytes, stat) = read(&self.open()?, &self.path)?;
        let wrong = |problems| UsersError::Wrong { path: self.path.clone(), problems };
        let users = parse(text(&bytes, &self.path)?).map_err(wrong)?;
        let mut warnings: Vec<_> = self.distrust_owner(&stat)?.into_iter().collect();
        if Mode::from_raw_mode(stat.st_mode).contains(Mode::ROTH)
            && !matches!(users.samples(), Samples::Alone(_))
        {
            warnings.push(Warning::OpenToOthers(self.path.clone()));
        }
        if users.is_empty() {
            warnings.push(Warning::NoUsers(self.path.clone()));
        }
        Ok(LoadedText { loaded: Loaded { users, warnings, stamp: Stamp::of(&stat) }, bytes })
    }
}

impl UserSource for UsersFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn load(&self) -> Result<Loaded, UsersError> {
        self.load_text().map(|text| text.loaded)
    }

    /// Looks in the folder that was opened at the start.
    fn stamp(&self) -> Option<Stamp> {
        fstat(self.open().ok()?).ok().map(|stat| Stamp::of(&stat))
    }

    fn needs(&self) -> io::Result<Vec<Folder>> {
        self.both_folders().map(Folder::try_clone).collect()
    }

    /// If the path leads to the file now, it has to from now on.
    fn settle(&mut self) -> Result<(), UsersError> {
        self.is_path_open = open_at(CWD, &self.path, OFlags::empty()).is_ok();
        self.open().map(drop)
    }
}

/// The bytes of a users file, wiped when dropped.
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

/// Reads a users file to its end, unless everybody can write it.
pub fn read(mut file: &File, path: &Path) -> Result<(FileBytes, Stat), UsersError> {
    let unreadable = |error| UsersError::Unreadable { path: path.into(), error };
    let stat = fstat(file).map_err(|error| unreadable(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(unreadable(io::Error::other("not a regular file")));
    }
    if Mode::from_raw_mode(stat.st_mode).contains(Mode::WOTH) {
        return Err(UsersError::Unsafe { path: path.into(), reason: Distrust::OpenToAll });
    }
    // One allocation of the right size: a buffer that grows leaves copies of passwords behind.
    let mut bytes = FileBytes(Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0) + 1));
    file.read_to_end(&mut bytes.0).map_err(unreadable)?;
    Ok((bytes, stat))
}

/// Refuses a path that is a link which neither root nor this user made. The owner of its folder can replace the link at
/// any time, so this protects only from links in folders that everybody can write.
pub fn distrust_link(path: &Path) -> Result<(), UsersError> {
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| UsersError::Unreadable { path: path.into(), error: error.into() })?;
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

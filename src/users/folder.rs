//! The folder of a file, and what everybody on the machine can do there.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, Stat, StatVfs, StatVfsMountFlags, fstat, fstatvfs, stat, statvfs};
use rustix::io::Errno;

/// What everybody on the machine can do in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Openness {
    Nothing,
    /// As in /tmp.
    MakeFiles,
    ReplaceFiles,
}

impl Openness {
    fn of(stat: &Stat, mount: &StatVfs) -> Self {
        let mode = Mode::from_raw_mode(stat.st_mode);
        // Secrets are mounted in folders that are as open as can be, where nobody can write all the same.
        if !mode.contains(Mode::WOTH) || mount.f_flag.contains(StatVfsMountFlags::RDONLY) {
            Self::Nothing
        } else if mode.contains(Mode::SVTX) {
            Self::MakeFiles
        } else {
            Self::ReplaceFiles
        }
    }
}

/// A folder, by which files in it can be had.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) descriptor: OwnedFd,
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.into(), descriptor: open_folder(path)? })
    }

    pub(super) fn openness(&self) -> Result<Openness, Errno> {
        Ok(Openness::of(&fstat(&self.descriptor)?, &fstatvfs(&self.descriptor)?))
    }

    /// A folder on the way to this one, or the end of it, in which everybody can replace files. Paths are looked at,
    /// so this is for servers that have yet to enter the sandbox.
    pub(super) fn open_to_all_on_its_way(&self) -> io::Result<Option<PathBuf>> {
        let whole = self.path.canonicalize()?;
        // Links on the way are in folders of their own.
        let named = self.path.ancestors().filter(|folder| !folder.as_os_str().is_empty());
        for folder in named.chain(whole.ancestors()) {
            if Openness::of(&stat(folder)?, &statvfs(folder)?) == Openness::ReplaceFiles {
                return Ok(Some(folder.into()));
            }
        }
        Ok(None)
    }
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

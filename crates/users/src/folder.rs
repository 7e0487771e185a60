//! The folder of a file, and what everybody on the machine can do there.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{self, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, Stat, StatVfsMountFlags, Uid, fstat, fstatfs, fstatvfs, stat, statat,
};
use rustix::io::Errno;

/// What everybody on the machine can do in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Openness {
    Nothing,
    /// As in /tmp.
    MakeFiles,
    ReplaceFiles,
}

impl Openness {
    /// A read-only mount closes no folder: the service manager makes such mounts for this server alone, while
    /// everybody else can write there.
    fn of(stat: &Stat) -> Self {
        let mode = Mode::from_raw_mode(stat.st_mode);
        if !mode.contains(Mode::WOTH) {
            Self::Nothing
        } else if mode.contains(Mode::SVTX) {
            Self::MakeFiles
        } else {
            Self::ReplaceFiles
        }
    }
}

/// An open folder, through which files in it are opened.
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// The folder itself.
    pub descriptor: OwnedFd,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.into(), descriptor: open_folder(path)? })
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { path: self.path.clone(), descriptor: self.descriptor.try_clone()? })
    }

    /// Whether this is the same folder.
    #[must_use]
    pub fn is(&self, folder: &OwnedFd) -> bool {
        is_same(&self.descriptor, folder)
    }

    pub(crate) fn openness(&self) -> Result<Openness, Errno> {
        Ok(Openness::of(&fstat(&self.descriptor)?))
    }

    /// Whether it is in memory and mounted read-only, as is a Secret of Kubernetes, whose files are links that root
    /// makes. A folder on a tmpfs that is read-only for this server alone, such as /tmp, passes for one, too: links
    /// there are checked when the server starts, and the sandbox lets it follow them to few folders.
    pub(crate) fn is_secret(&self) -> Result<bool, Errno> {
        let is_read_only = fstatvfs(&self.descriptor)?.f_flag.contains(StatVfsMountFlags::RDONLY);
        Ok(is_read_only && fstatfs(&self.descriptor)?.f_type == libc::TMPFS_MAGIC)
    }

    /// A folder on the path to this one, or this one, in which everybody can replace files. This looks at paths, so a
    /// server calls it before it enters the sandbox.
    pub(crate) fn open_to_all_on_path(&self) -> io::Result<Option<PathBuf>> {
        for folder in self.path_folders()? {
            if Openness::of(&stat(&folder)?) == Openness::ReplaceFiles {
                return Ok(Some(folder));
            }
        }
        Ok(None)
    }

    /// A folder or a link on the path to this one, or this one, that anybody may have made, and that belongs neither to
    /// root nor to this user. A server calls this, too, before it enters the sandbox.
    pub(crate) fn foreign_on_path(&self, reader: Uid) -> io::Result<Option<PathBuf>> {
        for folder in self.path_folders()?.into_iter().filter(|folder| folder.file_name().is_some()) {
            let owner = statat(CWD, &folder, AtFlags::SYMLINK_NOFOLLOW)?.st_uid;
            let is_foreign = owner != 0 && owner != reader.as_raw();
            if is_foreign && Openness::of(&stat(folder_of(&folder))?) == Openness::MakeFiles {
                return Ok(Some(folder));
            }
        }
        Ok(None)
    }

    /// The folders on the path to this one, and this one: by the path as given, and by the path without links. Where a
    /// link leads to another link, the folders in between are not among them.
    fn path_folders(&self) -> io::Result<Vec<PathBuf>> {
        let whole = self.path.canonicalize()?;
        let path = path::absolute(&self.path)?;
        let named = path.ancestors();
        Ok(named.chain(whole.ancestors()).map(Path::to_owned).collect())
    }
}

/// Each of the folders once.
///
/// # Errors
/// The system has no more descriptors.
pub(crate) fn once_each<'f>(folders: impl Iterator<Item = &'f Folder>) -> io::Result<Vec<Folder>> {
    let mut once: Vec<&Folder> = Vec::new();
    for folder in folders {
        if !once.iter().any(|other| other.is(&folder.descriptor)) {
            once.push(folder);
        }
    }
    once.into_iter().map(Folder::try_clone).collect()
}

/// Whether both are the same file or folder.
pub(crate) fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let place = |file| fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
    place(one).is_ok_and(|one| place(other) == Ok(one))
}

/// The folder that a path is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens a folder, so that files in it can be opened through it.
pub fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

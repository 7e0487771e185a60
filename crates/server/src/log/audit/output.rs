//! The target of the audit: a file or standard output.

use std::ffi::{CString, OsStr};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, FileType, Mode, OFlags, PROC_SUPER_MAGIC, accessat, fstat, fstatfs, openat, readlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use tracing::{info, warn};

use users::{Distrust, folder_of, open_folder};

/// The target of the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTarget {
    /// They are appended to a file, which is reopened on SIGHUP.
    File(PathBuf),
    /// They go to standard output.
    Stdout,
}

impl fmt::Display for AuditTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdout => f.write_str("standard output"),
        }
    }
}

impl AuditTarget {
    /// The folder in which a file must be made and written.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn folder(&self) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::Stdout => Ok(None),
            Self::File(path) => open_folder(folder_of(path)).map(Some),
        }
    }

    /// Checks that lines can be appended in this folder, without making a file.
    ///
    /// # Errors
    /// They cannot.
    pub(crate) fn check(&self, folder: &OwnedFd) -> io::Result<()> {
        let Self::File(path) = self else { return Ok(()) };
        match open_in(folder, file_name(path)?, OFlags::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(accessat(folder, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
            }
            opened => opened.map(drop),
        }
    }
}

const APPEND: OFlags = OFlags::WRONLY.union(OFlags::APPEND).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

fn file_name(path: &Path) -> io::Result<&OsStr> {
    Ok(path.file_name().ok_or(io::ErrorKind::IsADirectory)?)
}

/// The open target of the lines.
pub(super) struct Output {
    pub(super) target: AuditTarget,
    /// The folder of the file.
    pub(super) folder: Option<OwnedFd>,
    file: Option<File>,
    is_torn: bool,
    pub(super) has_failed: bool,
}

impl Output {
    pub(super) fn new(target: &AuditTarget) -> io::Result<Self> {
        Ok(Self {
            target: target.clone(),
            folder: target.folder()?,
            file: None,
            is_torn: false,
            has_failed: false,
        })
    }

    pub(super) fn open(&mut self) -> io::Result<()> {
        if let (AuditTarget::File(path), Some(folder)) = (&self.target, &self.folder) {
            self.file = Some(open_in(folder, file_name(path)?, OFlags::CREATE)?.into());
        }
        Ok(())
    }

    pub(super) fn reopen(&mut self) {
        match self.open() {
            Ok(()) => info!("audit: {} reopened", self.target),
            Err(error) => warn!("audit: {}: {error}: still writing to the old file", self.target),
        }
    }

    /// Writes whole lines. Only the first of several errors in a row is logged.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let separator: &[u8] = if self.is_torn { b"\n" } else { b"" };
        let written = match &mut self.file {
            Some(file) => file.write_all(separator).and_then(|()| file.write_all(lines)),
            None => {
                let mut stdout = io::stdout().lock();
                stdout
                    .write_all(separator)
                    .and_then(|()| stdout.write_all(lines))
                    .and_then(|()| stdout.flush())
            }
        };
        self.is_torn = written.is_err();
        match &written {
            Err(error) if !self.has_failed => warn!("audit: {}: {error}: lines are lost", self.target),
            Ok(()) if self.has_failed => info!("audit: {} can be written again", self.target),
            Ok(()) | Err(_) => {}
        }
        self.has_failed = written.is_err();
        written
    }
}

/// Opens a file, a pipe or a device such as a terminal. It makes a file if the flags say so.
fn open_in(folder: &OwnedFd, name: &OsStr, more: OFlags) -> io::Result<OwnedFd> {
    let flags = APPEND | more;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    let file = match openat(folder, name, flags | OFlags::NOFOLLOW, mode) {
        // Links in /proc are the kernel's own, and may lead to files without a path.
        Err(Errno::LOOP) if fstatfs(folder)?.f_type == PROC_SUPER_MAGIC => openat(folder, name, flags, mode)?,
        Err(Errno::LOOP) => openat(folder, link_target(folder, name)?, flags, mode)?,
        opened => opened?,
    };
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile | FileType::Fifo | FileType::CharacterDevice => Ok(file),
        FileType::BlockDevice
        | FileType::Directory
        | FileType::Symlink
        | FileType::Socket
        | FileType::Unknown => Err(io::Error::other("not a file, a pipe or a character device")),
    }
}

/// The target of a link that root or this user owns. By any other link, whoever can write the folder could have lines
/// appended to any file that this process can write. It works only before the sandbox, which forbids to read links.
fn link_target(folder: &OwnedFd, name: &OsStr) -> io::Result<CString> {
    // The owner and the target are of the same link, even if another replaces it meanwhile.
    let link = openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let owner = fstat(&link)?.st_uid;
    if owner != 0 && owner != geteuid().as_raw() {
        return Err(io::Error::other(Distrust::ForeignLink));
    }
    Ok(readlinkat(&link, c"", Vec::new())?)
}

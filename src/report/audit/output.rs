//! What the audit is written to.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, openat};
use rustix::io::Errno;
use tracing::{info, warn};

use crate::users::{folder_of, open_folder};

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTarget {
    /// Appended to a file, which is opened anew on SIGHUP.
    File(PathBuf),
    /// To standard output.
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
    /// If it cannot be opened.
    pub(crate) fn folder(&self) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::Stdout => Ok(None),
            Self::File(path) => open_folder(folder_of(path)).map(Some),
        }
    }

    /// Looks whether lines can be appended in this folder, without making a file.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self, folder: &OwnedFd) -> io::Result<()> {
        let Self::File(path) = self else { return Ok(()) };
        match openat(folder, file_name(path)?, APPEND, Mode::empty()) {
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                Ok(accessat(folder, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
            }
            Err(error) => Err(error.into()),
        }
    }
}

const APPEND: OFlags = OFlags::WRONLY.union(OFlags::APPEND).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

fn file_name(path: &Path) -> io::Result<&OsStr> {
    Ok(path.file_name().ok_or(io::ErrorKind::IsADirectory)?)
}

/// What the lines are written to.
pub(super) struct Output {
    pub(super) target: AuditTarget,
    /// Of the file.
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
            let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
            self.file = Some(openat(folder, file_name(path)?, APPEND | OFlags::CREATE, mode)?.into());
        }
        Ok(())
    }

    pub(super) fn reopen(&mut self) {
        match self.open() {
            Ok(()) => info!("audit: {} opened anew", self.target),
            Err(error) => warn!("audit: {}: {error}: going on with the file as it was", self.target),
        }
    }

    /// Writes whole lines, or says once why it cannot.
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

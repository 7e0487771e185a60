//! What is in the files of a folder, and whether they are still those that this program has written.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use rustix::fs::OFlags;
use users::synced::{
    BASE_NAME, Credential, DamagedError, LOG_NAME, LogWriter, Row, read_base, read_changed, read_log,
};

use super::{Folder, NEVER, NEW_LOG_NAME, Users};

/// Why the users in the folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Somebody else has changed what this program has written, or the disk has.
    #[error("{0} is damaged")]
    Damaged(&'static str),
}

/// What tells one file from another, and whether it was written since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl Identity {
    pub(super) fn of(file: &Metadata) -> Self {
        let (device, inode, len) = (file.dev(), file.ino(), file.len());
        Self { device, inode, len, modified: (file.mtime(), file.mtime_nsec()) }
    }

    /// That of a file which this program has written up to here. If somebody else has written more, it is another one.
    pub(super) fn up_to(len: u64, file: &Metadata) -> Self {
        Self { len, ..Self::of(file) }
    }
}

impl Folder {
    /// The users in the folder, whose log then ends with its last whole batch; `None` if there are none that are whole.
    pub(super) fn read(&self) -> io::Result<Option<Users>> {
        let Some(file) = self.open_own(BASE_NAME, OpenOptions::new().read(true))? else { return Ok(None) };
        let base_file = Identity::of(&file.metadata()?);
        let Some(base) = whole(read_base(file, |_| {}))? else { return Ok(None) };
        let log = match self.open_own(LOG_NAME, OpenOptions::new().read(true).write(true))? {
            Some(file) => whole(read_log(&file, |_| {}))?.map(|batches| (file, batches)),
            None => None,
        };
        match log {
            Some((file, batches)) if batches.base == base.position => {
                let (position, rows, len) = (batches.position, batches.rows, batches.len);
                let status = file.metadata()?;
                let is_batch_open = status.len() > len;
                let confirmed = if is_batch_open { NEVER } else { status.modified()? };
                let (log_file, log) = (Identity::up_to(len, &status), LogWriter::go_on(file));
                let mut users =
                    Users { base, base_file, log, position, rows, len, is_batch_open, confirmed, log_file };
                users.cut()?;
                Ok(Some(users))
            }
            Some(_) | None => {
                let log = self.create(NEW_LOG_NAME)?;
                self.with_empty_log((base, base_file), log, NEVER).map(Some)
            }
        }
    }

    /// A file of the folder, if there is one. A link is no file of this program, and nobody waits for the other end of
    /// a FIFO.
    pub(super) fn open_own(&self, name: &str, options: &mut OpenOptions) -> io::Result<Option<File>> {
        let path = self.path.join(name);
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        match options.custom_flags(flags.bits().cast_signed()).open(&path) {
            Ok(file) => Ok(Some(file).filter(|file| file.metadata().is_ok_and(|status| status.is_file()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // What is no file cannot be opened so, mostly.
            Err(_) if path.symlink_metadata().is_ok_and(|status| !status.is_file()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same of a file without which there are no users.
    fn open_whole(&self, name: &'static str) -> Result<File, ReadError> {
        self.open_own(name, OpenOptions::new().read(true))?.ok_or(ReadError::Damaged(name))
    }

    /// How many users there are. It reads all of them.
    pub(crate) fn users(&self) -> Result<u64, ReadError> {
        let mut users = 0;
        self.each(|_| users += 1)?;
        Ok(users)
    }

    /// Gives all users: those of the base who have not changed since, and then those of the log.
    pub(super) fn each(&self, mut each: impl FnMut(&Row<'_>)) -> Result<(), ReadError> {
        let Some(users) = &self.users else { return Ok(()) };
        let log = read_changed(self.open_whole(LOG_NAME)?);
        let (batches, changed) = log.map_err(|error| damaged(LOG_NAME, error))?;
        // Of a log that is damaged in its middle, only the batches before that are there.
        if (batches.base, batches.position) != (users.base.position, users.position) {
            return Err(ReadError::Damaged(LOG_NAME));
        }
        let unchanged = |row: Row<'_>| {
            if !changed.contains(row.name) {
                each(&row);
            }
        };
        let base = read_base(self.open_whole(BASE_NAME)?, unchanged);
        if base.map_err(|error| damaged(BASE_NAME, error))? != users.base {
            return Err(ReadError::Damaged(BASE_NAME));
        }
        changed.rows().filter(|row| row.credential != Credential::Removed).for_each(|row| each(&row));
        Ok(())
    }

    /// Whether both files are those that this program has written, as far as that can be told without reading them.
    /// While a batch is under way, they are not.
    pub(crate) fn is_untouched(&self) -> io::Result<bool> {
        let [base, log] = [BASE_NAME, LOG_NAME].map(|name| match self.path.join(name).symlink_metadata() {
            Ok(file) => Ok(Some(Identity::of(&file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        let (base, log) = (base?, log?);
        let Some(users) = &self.users else { return Ok(true) };
        Ok(base == Some(users.base_file) && log == Some(users.log_file))
    }
}

fn damaged(name: &'static str, error: DamagedError) -> ReadError {
    match error {
        DamagedError::Io(error) => ReadError::Io(error),
        DamagedError::Magic | DamagedError::Torn | DamagedError::Wrong => ReadError::Damaged(name),
    }
}

/// What was read, if it is whole.
fn whole<T>(read: Result<T, DamagedError>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(DamagedError::Io(error)) => Err(error),
        Err(DamagedError::Magic | DamagedError::Torn | DamagedError::Wrong) => Ok(None),
    }
}

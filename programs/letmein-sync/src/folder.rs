//! The folder that servers read: a base, a log of what has changed since, and nobody else who writes there.
//!
//! ```text
//! begin_base ── rows ──► publish    users.base.new → users.base, then an empty users.log
//! begin_batch ─ rows ──► end        appended to users.log, and on the disk
//!                   └──► cut        if anything fails, the log ends where it did before
//! ```

mod contents;
mod error;

use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, Gid, Timespec, Timestamps, UTIME_NOW, fchown, flock, futimens};
use rustix::process::geteuid;
use users::synced::{BASE_NAME, Base, BaseWriter, LOG_NAME, LogWriter, NODES_NAME, Position, Row};

use contents::Identity;
pub(crate) use contents::ReadError;
pub(crate) use error::FolderError;

/// A base that is being written.
const NEW_BASE_NAME: &str = "users.base.new";
const NEW_LOG_NAME: &str = "users.log.new";
const NEW_NODES_NAME: &str = "users.nodes.new";

/// The folder, locked for this program.
pub(crate) struct Folder {
    path: PathBuf,
    /// Held open, since the lock ends with it.
    folder: File,
    /// The group that may read the files, if one may.
    group: Option<Gid>,
    users: Option<Users>,
}

/// The users in the folder.
struct Users {
    base: Base,
    /// The file of the base, as it was written or read.
    base_file: Identity,
    log: LogWriter<File>,
    /// Where they are in the history.
    position: Position,
    /// How many rows the log has.
    rows: u64,
    /// How long the log is, up to the end of its last batch.
    len: u64,
    /// Whether there may be more after that, which this program has written.
    is_batch_open: bool,
    /// When they were confirmed, which the times of the log tell unless a batch is under way.
    confirmed: SystemTime,
    /// The file of the log, as it was written or read last, up to the end of its last batch.
    log_file: Identity,
}

/// The time of a log that was never confirmed.
const NEVER: SystemTime = UNIX_EPOCH;

impl Folder {
    /// Locks the folder, which is made if there is none, and looks at what is in it. A base that is damaged is as none.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |error| FolderError::Io { path: path.into(), error };
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let folder = File::open(path).map_err(failed)?;
        flock(&folder, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => FolderError::Locked(path.into()),
            error => failed(error.into()),
        })?;
        let status = folder.metadata().map_err(failed)?;
        if ![0, geteuid().as_raw()].contains(&status.uid()) || status.mode() & 0o022 != 0 {
            return Err(FolderError::Open(path.into()));
        }
        // Servers that run as another user read the files by the group of the folder, if that may, and others may not.
        let is_for_group = status.mode() & 0o057 == 0o050;
        let group = is_for_group.then(|| Gid::from_raw(status.gid()));
        let mut opened = Self { path: path.into(), folder, group, users: None };
        // What a letmein-sync that was killed had begun.
        [NEW_BASE_NAME, NEW_LOG_NAME, NEW_NODES_NAME]
            .iter()
            .try_for_each(|name| opened.remove(name))
            .map_err(failed)?;
        [BASE_NAME, LOG_NAME, NODES_NAME].iter().try_for_each(|name| opened.share(name)).map_err(failed)?;
        opened.users = opened.read().map_err(failed)?;
        Ok(opened)
    }

    /// Gives a file that is there to who may read it now.
    fn share(&self, name: &str) -> io::Result<()> {
        self.open_own(name, OpenOptions::new().read(true))?.map_or(Ok(()), |file| self.share_file(&file))
    }

    fn share_file(&self, file: &File) -> io::Result<()> {
        if let Some(group) = self.group {
            fchown(file, None, Some(group))?;
        }
        let mode = if self.group.is_some() { 0o640 } else { 0o600 };
        file.set_permissions(Permissions::from_mode(mode))
    }

    /// The folder itself.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.folder.try_clone()?.into())
    }

    /// Where the users are in the history; `None` if there are none yet.
    pub(crate) fn position(&self) -> Option<Position> {
        self.users.as_ref().map(|users| users.position)
    }

    /// How many users the base has.
    pub(crate) fn base_users(&self) -> u64 {
        self.users.as_ref().map_or(0, |users| users.base.users)
    }

    /// How many users there are at most: those of the base, and one for each row that has changed since.
    pub(crate) fn users_at_most(&self) -> u64 {
        self.base_users() + self.changed_rows()
    }

    /// How many rows have changed since the base.
    pub(crate) fn changed_rows(&self) -> u64 {
        self.users.as_ref().map_or(0, |users| users.rows)
    }

    /// Looks again at what is in the folder, which may be less than before, or nothing.
    pub(crate) fn read_anew(&mut self) -> io::Result<()> {
        self.users = self.read()?;
        Ok(())
    }

    /// Puts an empty log in the place of the one that is there, with the time at which the users of the base were
    /// confirmed.
    fn with_empty_log(
        &self,
        (base, base_file): (Base, Identity),
        log: File,
        confirmed: SystemTime,
    ) -> io::Result<Users> {
        let mut log = LogWriter::begin(log, base.position)?;
        tell_confirmed(log.file(), confirmed)?;
        log.file().sync_all()?;
        fs::rename(self.path.join(NEW_LOG_NAME), self.path.join(LOG_NAME))?;
        self.folder.sync_all()?;
        let (len, position) = (log.file().stream_position()?, base.position);
        let log_file = Identity::up_to(len, &log.file().metadata()?);
        let is_batch_open = false;
        Ok(Users { base, base_file, log, position, rows: 0, len, is_batch_open, confirmed, log_file })
    }

    fn create(&self, name: &str) -> io::Result<File> {
        self.remove(name)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path.join(name))?;
        self.share_file(&file)?;
        Ok(file)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Begins a base beside the one that is there.
    pub(crate) fn begin_base(&self) -> io::Result<BaseWriter<File>> {
        BaseWriter::begin(self.create(NEW_BASE_NAME)?)
    }

    /// Puts a base that has just come from the database in the place of the one that is there, and so of its log.
    pub(crate) fn publish(&mut self, base: BaseWriter<File>, position: Position) -> io::Result<()> {
        self.publish_confirmed(base, position, None)
    }

    /// The same with a base whose users were confirmed at this time, or else just now.
    fn publish_confirmed(
        &mut self,
        base: BaseWriter<File>,
        position: Position,
        confirmed: Option<SystemTime>,
    ) -> io::Result<()> {
        let (file, users) = base.end(position)?;
        file.sync_all()?;
        let put = self.put((Base { position, users }, Identity::of(&file.metadata()?)), confirmed);
        if put.is_err() {
            // Which of both is there now, and whether it has a log, is seen there.
            self.users = self.read()?;
        }
        put
    }

    fn put(&mut self, base: (Base, Identity), confirmed: Option<SystemTime>) -> io::Result<()> {
        fs::rename(self.path.join(NEW_BASE_NAME), self.path.join(BASE_NAME))?;
        self.folder.sync_all()?;
        let log = self.create(NEW_LOG_NAME)?;
        let confirmed = confirmed.map_or_else(|| log.metadata()?.modified(), Ok)?;
        self.users = Some(self.with_empty_log(base, log, confirmed)?);
        Ok(())
    }

    /// Gives up a base that was begun.
    pub(crate) fn discard(&self, base: BaseWriter<File>) {
        drop(base);
        // It is overwritten by the next one in any case.
        let _ = fs::remove_file(self.path.join(NEW_BASE_NAME));
    }

    /// Adds a row to the batch under way.
    pub(crate) fn add(&mut self, row: &Row<'_>) -> io::Result<()> {
        let Some(users) = &mut self.users else { return Ok(()) };
        users.is_batch_open = true;
        users.log.row(row)
    }

    /// Ends the batch, which is on the disk then.
    pub(crate) fn end_batch(&mut self, position: Position) -> io::Result<()> {
        let Some(users) = &mut self.users else { return Ok(()) };
        users.is_batch_open = true;
        let rows = users.log.end(position)?;
        let len = users.log.file().stream_position()?;
        // Before it goes to the disk, which may take long: what somebody else changes meanwhile is noticed.
        let (confirmed, log_file) = users.look_at_log(len)?;
        users.log.file().sync_data()?;
        users.rows += rows;
        (users.position, users.len, users.is_batch_open) = (position, len, false);
        (users.confirmed, users.log_file) = (confirmed, log_file);
        Ok(())
    }

    /// Cuts off a batch that was not ended.
    pub(crate) fn cut_batch(&mut self) -> io::Result<()> {
        self.users.as_mut().map_or(Ok(()), Users::cut)
    }

    /// Tells servers that the users are as the database has them now.
    pub(crate) fn confirm(&mut self) -> io::Result<()> {
        let Some(users) = &mut self.users else { return Ok(()) };
        // Both: Linux takes a change of one of them for reading or writing, which nobody watches.
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        futimens(users.log.file(), &Timestamps { last_access: now, last_modification: now })?;
        (users.confirmed, users.log_file) = users.look_at_log(users.len)?;
        Ok(())
    }

    /// Tells servers how many nodes there are.
    pub(crate) fn publish_nodes(&self, nodes: NonZeroU32) -> io::Result<()> {
        let mut file = self.create(NEW_NODES_NAME)?;
        writeln!(file, "{nodes}")?;
        file.sync_all()?;
        fs::rename(self.path.join(NEW_NODES_NAME), self.path.join(NODES_NAME))?;
        self.folder.sync_all()
    }

    /// When that was last, in seconds since 1970-01-01 UTC; `None` if that is not known.
    pub(crate) fn confirmed_unix_s(&self) -> Option<u64> {
        let since = self.users.as_ref()?.confirmed.duration_since(NEVER).ok()?;
        Some(since.as_secs()).filter(|unix_s| *unix_s > 0)
    }

    /// Makes a base of the one that is there and its log, so that servers have less to search.
    pub(crate) fn compact(&mut self) -> Result<(), ReadError> {
        let Some(Users { position, confirmed, .. }) = self.users else { return Ok(()) };
        let (mut base, mut written) = (self.begin_base()?, Ok(()));
        let read = self.each(|row| {
            if written.is_ok() {
                written = base.row(row);
            }
        });
        if let Err(error) = read.and(written.map_err(ReadError::Io)) {
            self.discard(base);
            return Err(error);
        }
        Ok(self.publish_confirmed(base, position, Some(confirmed))?)
    }
}

impl Users {
    /// Cuts off what this program has written after the last whole batch. What somebody else has written stays, and is
    /// noticed.
    fn cut(&mut self) -> io::Result<()> {
        self.log.forget();
        let (len, confirmed, file) = (self.len, self.confirmed, self.log.file());
        file.seek(SeekFrom::Start(len))?;
        // Otherwise it has kept its times.
        if self.is_batch_open && file.metadata()?.len() > len {
            file.set_len(len)?;
            tell_confirmed(file, confirmed)?;
            self.log_file = Identity::up_to(len, &file.metadata()?);
        }
        self.is_batch_open = false;
        Ok(())
    }

    /// The time of the log, at which the users were as the database had them, and its identity with this length.
    fn look_at_log(&mut self, len: u64) -> io::Result<(SystemTime, Identity)> {
        let file = self.log.file().metadata()?;
        Ok((file.modified()?, Identity::up_to(len, &file)))
    }
}

/// Has the times of a log tell when the users were confirmed.
fn tell_confirmed(log: &File, time: SystemTime) -> io::Result<()> {
    log.set_times(FileTimes::new().set_accessed(time).set_modified(time))
}

#[cfg(test)]
mod tests;

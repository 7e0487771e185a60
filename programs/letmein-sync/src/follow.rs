//! Following the database: one question a second, and what has changed since, or all.
//!
//! ```text
//! head ─┬─ where I am ──────────────── confirm
//!       ├─ further, in my history ──── changes ──► the log, and a new base once that is long
//!       ├─ a standby behind me ─────── wait
//!       └─ another history ─────────── all users ─► a new base, unless it has fewer than half of them
//! ```

mod error;
mod guard;

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use engine::{EngineError, Head, Reader, Settings};
use server::net::clock::Clock;
use tokio::sync::watch;
use tracing::{debug, info, warn};
use users::counted;
use users::synced::{NODES_NAME, OVERLAY_MAX, Position};

use crate::folder::{Folder, ReadError};
use crate::pace::{LONGEST_WAIT, Pace};
use crate::status::Status;
use crate::taken::Taken;
use error::FollowError;
use guard::{Held, History, Lost};

/// How often the database is told how far this node is.
const REPORT: Duration = Duration::from_secs(15);
/// Rows of a log before there is a new base.
const LOG_ROWS_MAX: u64 = OVERLAY_MAX as u64;
/// How long a log that cannot become part of a base is left alone.
const COMPACT_WAIT: Duration = Duration::from_secs(60);

/// Keeps a folder as the database is.
pub(crate) struct Follower {
    settings: Arc<Settings>,
    folder: Folder,
    node: String,
    clock: Clock,
    status: watch::Sender<Status>,
    /// The connection, unless something went wrong with it.
    reader: Option<Reader>,
    /// The set of users that waits for SIGHUP.
    held: Option<Held>,
    /// The users of files that were damaged, until the folder is as the database is again.
    lost: Option<Lost>,
    /// Whether the next set of users is taken, however small.
    is_accepted: bool,
    reported: Option<Duration>,
    /// Whether the database, though no standby, has refused to note that.
    is_report_refused: bool,
    /// How many nodes servers were told of.
    nodes: Option<NonZeroU32>,
    /// When a new base could not be made, if it could not.
    compacted: Option<Duration>,
}

impl Follower {
    pub(crate) fn new(
        settings: Arc<Settings>,
        folder: Folder,
        node: String,
        clock: Clock,
        status: watch::Sender<Status>,
    ) -> Self {
        let (reader, held, lost, is_accepted) = (None, None, None, false);
        let (reported, is_report_refused, nodes, compacted) = (None, false, None, None);
        let mut follower = Self {
            settings,
            folder,
            node,
            clock,
            status,
            reader,
            held,
            lost,
            is_accepted,
            reported,
            is_report_refused,
            nodes,
            compacted,
        };
        follower.tell_folder();
        follower
    }

    /// Tells what is in the folder.
    fn tell_folder(&mut self) {
        let (position, confirmed_unix_s) = (self.folder.position(), self.folder.confirmed_unix_s());
        self.status.send_modify(|status| {
            status.position = position;
            status.confirmed_unix_s = confirmed_unix_s;
        });
    }

    /// Follows for as long as nobody drops it. Nothing is lost if somebody does.
    pub(crate) async fn run(&mut self) -> ! {
        let mut pace = Pace::up_to(LONGEST_WAIT);
        loop {
            match self.round().await {
                Ok(()) => {
                    self.recovered();
                    pace.wait_after_success().await;
                }
                Err(error) => {
                    self.failed(&error);
                    // A server that starts now would not know when the users were confirmed. If that fails, it is done
                    // before the next batch.
                    let _ = self.folder.cut_batch();
                    pace.wait_after_failure().await;
                }
            }
        }
    }

    /// Brings the folder to where the database is. The connection is kept only if nothing goes wrong.
    pub(crate) async fn round(&mut self) -> Result<(), FollowError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(&self.settings).await?,
        };
        // A batch that was given up halfway is still there.
        self.folder.cut_batch()?;
        if !self.folder.is_untouched()? {
            self.read_anew("something else has changed the files of the users")?;
        }
        let mine = self.folder.position();
        // Where there are none, these tell whether the database has the same history.
        let known = mine.or(self.lost.map(|lost| lost.position));
        let head = reader.head(known).await?;
        self.status.send_modify(|status| status.head = Some(head.position));
        match (mine, known) {
            (Some(mine), _) if mine == head.position => self.confirm()?,
            (Some(mine), _) if head.can_follow => self.take_changes(&reader, mine).await?,
            (None, Some(lost)) if lost == head.position || head.can_follow => {
                self.load(&reader, head, History::Same).await?;
            }
            (_, Some(known)) if head.is_standby && head.position.revision < known.revision => {
                return Err(FollowError::Behind(known.revision - head.position.revision));
            }
            (_, Some(_) | None) => self.load(&reader, head, History::Other).await?,
        }
        self.report(&reader, head.is_standby).await?;
        self.reader = Some(reader);
        Ok(())
    }

    /// Appends what has changed to the log.
    async fn take_changes(&mut self, reader: &Reader, mine: Position) -> Result<(), FollowError> {
        let mut taken = Taken::default();
        let folder = &mut self.folder;
        let position =
            reader.changed_since(mine, |given| taken.note_change(given, |row| folder.add(row))).await?;
        taken.written()?;
        let position = position.ok_or(FollowError::OtherDatabase)?;
        self.folder.end_batch(position)?;
        info!("revision {}: {} changed{}", position.revision, counted(taken.rows), taken.invalid.text());
        taken.invalid.log();
        self.status.send_modify(|status| {
            status.position = Some(position);
            status.batches += 1;
            status.invalid_rows += taken.invalid.rows;
        });
        self.confirm()?;
        if self.folder.changed_rows() > LOG_ROWS_MAX {
            self.compact()?;
        }
        Ok(())
    }

    /// Looks again at what is in the folder. Whatever is missing there comes from the database.
    fn read_anew(&mut self, reason: &str) -> io::Result<()> {
        warn!("{reason}: what is missing there is read from the database again");
        self.note_lost();
        self.folder.read_anew()?;
        self.tell_folder();
        Ok(())
    }

    /// Makes one base of the users and what has changed since. Without it servers are only slower, so a failure is no
    /// reason to follow no more, and it is tried again with the next change after a while. Files that are damaged
    /// become no base.
    fn compact(&mut self) -> io::Result<()> {
        let now = self.clock.now().uptime;
        if self.compacted.is_some_and(|compacted| now.saturating_sub(compacted) < COMPACT_WAIT) {
            return Ok(());
        }
        match self.folder.compact() {
            Ok(()) => {
                let users = counted(self.folder.base_users() as usize);
                info!("the users and what has changed since are one file again: {users}");
            }
            Err(error @ ReadError::Damaged(_)) => self.read_anew(&error.to_string())?,
            Err(ReadError::Io(error)) => {
                warn!("the users and what has changed since stay two files: {error}");
                self.compacted = Some(now);
            }
        }
        Ok(())
    }

    /// Puts all users in the place of those in the folder.
    async fn load(&mut self, reader: &Reader, head: Head, history: History) -> Result<(), FollowError> {
        let now = self.clock.now().uptime;
        if history == History::Other && self.waits(head.position, now) {
            return Ok(());
        }
        let mut base = self.folder.begin_base()?;
        let mut taken = Taken::default();
        let read = reader.all(|given| taken.note_user(given, |row| base.row(row))).await;
        let read = read.map_err(FollowError::from).and_then(|position| {
            taken.written()?;
            // A pool may lead to another database than the one that was asked.
            let is_same = history == History::Same && position == head.position;
            let before = if is_same { None } else { self.before_too_few(taken.rows as u64)? };
            Ok((position, before))
        });
        let position = match read {
            Ok((position, None)) => position,
            Ok((position, Some(before))) => {
                self.folder.discard(base);
                self.hold(position, now, before, taken.rows);
                return Ok(());
            }
            Err(error) => {
                // It may be all that fits on the disk.
                self.folder.discard(base);
                return Err(error);
            }
        };
        self.folder.publish(base, position)?;
        info!(
            "revision {}: all users loaded: {}{}",
            position.revision,
            counted(taken.rows),
            taken.invalid.text()
        );
        taken.invalid.log();
        self.status.send_modify(|status| {
            status.position = Some(position);
            status.loads += 1;
            status.invalid_rows += taken.invalid.rows;
        });
        self.confirm()
    }

    /// Notes that the users are as the database has them, so that none wait any more.
    fn confirm(&mut self) -> Result<(), FollowError> {
        // It would hide that from the next round.
        if !self.folder.is_untouched()? {
            return Ok(());
        }
        self.folder.confirm()?;
        (self.is_accepted, self.held, self.lost) = (false, None, None);
        let now = self.clock.now().unix_s;
        self.status.send_modify(|status| {
            status.confirmed_unix_s = Some(now);
            status.held_users = None;
        });
        Ok(())
    }

    /// Says now and then how far this node is, and counts the nodes. Where nobody can say it, as on a standby, that is
    /// no failure.
    async fn report(&mut self, reader: &Reader, is_standby: bool) -> Result<(), FollowError> {
        let now = self.clock.now().uptime;
        let Some(position) = self.folder.position() else { return Ok(()) };
        if self.reported.is_some_and(|reported| now.saturating_sub(reported) < REPORT) {
            return Ok(());
        }
        self.reported = Some(now);
        match reader.report(&self.node, position.revision).await {
            Err(EngineError::Refused { reason, .. }) if is_standby || self.is_report_refused => {
                debug!("the database does not note how far this node is: {reason}");
            }
            Err(EngineError::Refused { reason, .. }) => {
                warn!(
                    "other nodes do not count this one: {reason}: make its role a member of letmein_server"
                );
                self.is_report_refused = true;
            }
            reported => {
                reported?;
                self.is_report_refused = false;
            }
        }
        let nodes = reader.nodes(&self.node).await?;
        if self.nodes == Some(nodes) {
            return Ok(());
        }
        // Servers go on with the number that is there, and it is tried again at the next report.
        match self.folder.publish_nodes(nodes) {
            Ok(()) => {
                info!("nodes that follow the database, with this one: {nodes}");
                self.nodes = Some(nodes);
                self.status.send_modify(|status| status.nodes = Some(nodes));
            }
            Err(error) => warn!("{NODES_NAME}: {error}: servers are not told that there are {nodes} nodes"),
        }
        Ok(())
    }

    fn recovered(&mut self) {
        self.status.send_if_modified(|status| status.error.take().is_some()).then(|| {
            info!("no failure any more");
        });
    }

    /// Logs a failure, unless it is the same as the one before.
    fn failed(&mut self, error: &FollowError) {
        let text = error.to_string();
        let is_new = self.status.borrow().error.as_ref() != Some(&text);
        if is_new {
            warn!("{text}");
        }
        self.status.send_modify(|status| {
            status.failures += 1;
            status.error = Some(text);
        });
    }
}

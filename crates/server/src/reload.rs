//! Reloading the users file and its keys: when they change or on SIGHUP, all is read and checked whole, and the users
//! are swapped in one step.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use rustix::process::{Uid, geteuid};
use tokio::signal::unix::Signal;
use tokio::sync::{Notify, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, info, warn};

use crate::announce::warn_of_unspoken;
use crate::cluster;
use crate::directory::Directory;
use crate::error::ServerError;
use crate::log::audit::Reopen;
use crate::manager::Manager;
use crate::net::address::Address;
use crate::net::clock::Clock;
use crate::priority::yield_to_logins;
use crate::sandbox;
use crate::settings::{Config, Logins, SampleUsers};
use proto::server::keyring::Keyring;
use proto::users::{Samples, Suspension, Users};
use users::synced::SyncedUsers;
use users::{Changes, Stamp, UserSource, UsersFile, counted};

/// A source of users, and what decides whether sample users are allowed in it.
pub(crate) struct CheckedSource {
    pub(crate) source: Box<dyn UserSource>,
    pub(crate) sample_users: SampleUsers,
    /// Of all users, whenever they were loaded.
    pub(crate) suspension: Suspension,
    pub(crate) address: Address,
}

impl CheckedSource {
    /// The users file of a server, or the folder in which letmein-sync keeps users.
    ///
    /// # Errors
    /// The path leads to nothing that a server would read.
    pub(crate) fn of(logins: &Logins, config: &Config) -> Result<Self, ServerError> {
        let source = source(logins, config)?;
        let (sample_users, suspension) = (logins.sample_users, Suspension::default());
        Ok(Self { source, sample_users, suspension, address: config.widest().clone() })
    }

    /// Loads the users, and logs warnings about them.
    ///
    /// # Errors
    /// They cannot be used.
    pub(crate) fn load(&self) -> Result<(Users, Stamp), ServerError> {
        let loaded = self.source.load()?;
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        if let Samples::Mixed(user) | Samples::Alone(user) = loaded.users.samples()
            && self.sample_users == SampleUsers::Local
            && !self.address.is_local()
        {
            let (path, user) = (self.source.path().to_owned(), user.clone());
            return Err(ServerError::SampleUser { path, user, address: self.address.clone() });
        }
        Ok((loaded.users.with_suspension(self.suspension.clone()), loaded.stamp))
    }
}

/// The users and their keys, to be read as the user that the server changes to.
pub(crate) fn source(logins: &Logins, config: &Config) -> Result<Box<dyn UserSource>, ServerError> {
    let reader = match &config.user {
        Some(name) => sandbox::find_user(name)
            .map(|user| Uid::from_raw(user.uid.as_raw()))
            .map_err(|error| ServerError::User { user: name.clone(), error })?,
        None => geteuid(),
    };
    let Logins { users, key_file, cluster_key, .. } = logins;
    let (key, cluster) = (key_file.as_deref(), cluster_key.as_deref());
    Ok(if users.is_dir() {
        Box::new(SyncedUsers::new(users)?.with_key(key)?.with_cluster_keys(cluster)?.read_by(reader)?)
    } else {
        Box::new(UsersFile::new(users)?.with_key(key)?.with_cluster_keys(cluster)?.read_by(reader)?)
    })
}

/// A source that is watched for changes, and has been loaded once.
pub(crate) struct WatchedSource {
    pub(crate) checked: CheckedSource,
    stamp: Stamp,
    watch: Option<OwnedFd>,
}

impl WatchedSource {
    /// Watches the source, and then loads its users. If it cannot be watched, that is logged, and only SIGHUP reloads
    /// it.
    ///
    /// # Errors
    /// The users cannot be used.
    pub(crate) fn load(checked: CheckedSource) -> Result<(Users, Self), ServerError> {
        let watch = watch(&*checked.source).map_err(|error| {
            let path = checked.source.path().display();
            warn!("{path}: {error}: it will be reloaded only on SIGHUP");
        });
        let (users, stamp) = checked.load()?;
        Ok((users, Self { checked, stamp, watch: watch.ok() }))
    }
}

/// Watches the folders of a source. Editors and tools replace the file by a new one, and mounted secrets swap a link
/// beside it, so a watch of the file would miss them. A file that is overwritten is complete only when it is closed.
fn watch(source: &dyn UserSource) -> io::Result<OwnedFd> {
    let descriptor = inotify::init(CreateFlags::CLOEXEC)?;
    let changes = [
        WatchFlags::CLOSE_WRITE,
        WatchFlags::ATTRIB,
        WatchFlags::DELETE,
        WatchFlags::MOVE,
        WatchFlags::MOVE_SELF,
        WatchFlags::DELETE_SELF,
        WatchFlags::ONLYDIR,
    ];
    for folder in source.needs()? {
        inotify::add_watch(&descriptor, folder.path, changes.into_iter().collect())?;
    }
    Ok(descriptor)
}

/// Waits on a thread of its own for events in the folders. Their kind does not matter, since the stamp of the file
/// shows whether it has changed.
fn notify_changes(watch: OwnedFd) -> io::Result<Arc<Notify>> {
    let changes = Arc::new(Notify::new());
    let notified = changes.clone();
    thread::Builder::new().name("watch".to_owned()).spawn(move || {
        let mut events = [0; 4096];
        loop {
            match rustix::io::read(&watch, &mut events) {
                Ok(_) => notified.notify_one(),
                Err(Errno::INTR) => {}
                Err(error) => return warn!("the users file will be reloaded only on SIGHUP: {error}"),
            }
        }
    })?;
    Ok(changes)
}

/// A file that is being written is not read before its folder has been quiet for this long.
const QUIET: Duration = Duration::from_millis(200);
/// In a folder that is never quiet, the file is checked after this time all the same.
const QUIET_MAX: Duration = Duration::from_secs(5);

/// Waits for an event, and then until there are no more.
async fn quiet_after_change(changes: &Notify) {
    changes.notified().await;
    let quiet = async { while timeout(QUIET, changes.notified()).await.is_ok() {} };
    // The file is checked in either case.
    let _ = timeout(QUIET_MAX, quiet).await;
}

/// How often it is looked at whether the users are confirmed, beside the events in their folder.
const CONFIRMATION_INTERVAL: Duration = Duration::from_secs(10);

/// Keeps the users of a running server up to date with their file.
pub(crate) struct Reloader<'m> {
    checked: Arc<CheckedSource>,
    directory: Arc<Directory>,
    /// The stamp of the file at the last reload, whether or not that succeeded; `None` if there was no file.
    last: Option<Stamp>,
    /// Why it is not known how many nodes there are, if it was told at the last look and is not known.
    nodes_error: Option<String>,
    changes: Arc<Notify>,
    /// Reopens the audit on SIGHUP, since its file may have been moved away.
    reopen: Option<Reopen>,
    clock: Clock,
    manager: &'m Manager,
}

impl<'m> Reloader<'m> {
    /// Must be called in a runtime, with the rights that the server will have from now on.
    pub(crate) fn new(
        directory: Arc<Directory>,
        WatchedSource { mut checked, stamp, watch }: WatchedSource,
        reopen: Option<Reopen>,
        clock: Clock,
        manager: &'m Manager,
    ) -> io::Result<Self> {
        if let Err(error) = checked.source.settle() {
            warn!("{error}");
            warn!("the users file cannot be reloaded: changes to it will have no effect");
        }
        let now = clock.now();
        directory.confirmation.note(checked.source.confirmed_unix_s(), now);
        directory.confirmation.suspend_or_admit(now);
        let changes = watch.map_or_else(|| Ok(Arc::default()), notify_changes)?;
        let checked = Arc::new(checked);
        let (last, nodes_error) = (Some(stamp), None);
        let mut reloader = Self { checked, directory, last, nodes_error, changes, reopen, clock, manager };
        reloader.divide();
        Ok(reloader)
    }

    /// Reloads on SIGHUP and when the file has changed.
    pub(crate) async fn run(mut self, mut hangups: Signal) -> Infallible {
        let mut confirmations = interval(CONFIRMATION_INTERVAL);
        confirmations.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let changes = self.changes.clone();
        // An event is not lost when something else happens before the folder is quiet.
        let mut changed = pin!(quiet_after_change(&changes));
        loop {
            tokio::select! {
                _ = hangups.recv() => {
                    self.divide();
                    if let Some(reopen) = &self.reopen {
                        reopen.request();
                    }
                }
                () = &mut changed => {
                    changed.set(quiet_after_change(&changes));
                    self.divide();
                    if self.checked.source.stamp() == self.last {
                        self.confirm();
                        continue;
                    }
                }
                // Where the folder cannot be watched, nothing else tells that the same users are confirmed.
                _ = confirmations.tick() => {
                    if self.checked.source.stamp() == self.last {
                        self.confirm();
                    }
                    continue;
                }
            }
            self.reload().await;
        }
    }

    /// Divides the limits per user among the nodes, as many as there are now.
    fn divide(&mut self) {
        let (nodes, error) = match self.checked.source.nodes() {
            Ok(nodes) => (nodes, None),
            Err(error) => (None, Some(error.to_string())),
        };
        if let Some(error) = error.as_ref().filter(|error| self.nodes_error.as_ref() != Some(error)) {
            warn!("{error}; the number of nodes stays as it was");
        }
        self.nodes_error = error;
        self.directory.divide(nodes);
    }

    /// Notes that the users that are served are confirmed, unless there are newer ones that cannot be used.
    fn confirm(&self) {
        if self.directory.reloads.so_far().last.is_none_or(|last| last.is_ok) {
            let now = self.clock.now();
            self.directory.confirmation.note(self.checked.source.confirmed_unix_s(), now);
            self.directory.confirmation.suspend_or_admit(now);
        }
    }

    async fn reload(&mut self) {
        self.manager.reloading();
        self.last = self.checked.source.stamp();
        let (checked, directory, clock) = (self.checked.clone(), self.directory.clone(), self.clock);
        let (sender, done) = oneshot::channel();
        let thread = thread::Builder::new().name("reload".to_owned());
        let started = thread.spawn(move || {
            // The receiver is gone if the server ends first.
            let _ = sender.send(replace(&checked, &directory, clock));
        });
        let replaced = match started {
            Ok(_) => done.await.unwrap_or_else(|_| Err(io::Error::other("the reload panicked").into())),
            Err(error) => Err(error.into()),
        };
        self.directory.reloads.note(self.clock.now(), replaced.is_ok());
        match replaced {
            Ok(stamp) => {
                self.last = Some(stamp);
                self.confirm();
                self.manager.reloaded(self.directory.users.load().len());
            }
            Err(error) => {
                for line in error.to_string().lines() {
                    error!("{line}");
                }
                let failures = self.directory.reloads.so_far().failures;
                let reloads = if failures == 1 { "reload" } else { "reloads" };
                error!("keeping the old users ({failures} failed {reloads})");
                self.manager.reload_failed(self.directory.users.load().len());
            }
        }
    }
}

/// Loads the users, and puts them in the place of those before.
fn replace(checked: &CheckedSource, directory: &Directory, clock: Clock) -> Result<Stamp, ServerError> {
    yield_to_logins();
    let users = &directory.users;
    let (new, stamp) = checked.load()?;
    if new.is_empty() && !users.load().is_empty() && !checked.source.may_be_emptied() {
        let path = checked.source.path().to_owned();
        return Err(ServerError::NoUsersLeft(path));
    }
    let changes = Changes::between(&users.load(), &new);
    let (len, new) = (new.len(), Arc::new(new));
    // The users that log in meanwhile are noted with the old users, so this is done twice.
    new.adopt(&users.load());
    let old = users.swap(new.clone());
    new.adopt(&old);
    info!("{}: {}: {changes}", checked.source.path().display(), counted(len));
    if new.keyring().map(Keyring::ids) != old.keyring().map(Keyring::ids) {
        cluster::log_keys(&new, clock.now());
    }
    if old.is_empty() || new.mechanisms() != old.mechanisms() {
        warn_of_unspoken(directory.mechanisms, &new);
    }
    // The last holder of the old users wipes their memory, which takes a while, so it must not be a worker.
    while Arc::strong_count(&old) > 1 {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(stamp)
}

//! Notifications to the service manager, such as systemd: that the server is ready, reloads, stops, and is alive
//! (sd_notify(3)).
//!
//! The socket is opened before the sandbox, which forbids to open one. Crates for this open one for each message.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::future;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::counters::{Counters, StallWatch, Verdicts};
use proto::users::Users;
use users::counted;

/// The service manager, if it wants to be notified.
pub struct Manager {
    socket: Option<UnixDatagram>,
    /// The manager takes the server for stuck after this time without a heartbeat.
    watchdog: Option<Duration>,
    /// The last state, if the manager could not take it.
    unsent: Cell<Option<String>>,
    /// The last status that was sent, or an empty one after a state, which brings its own.
    status: RefCell<String>,
    last_reload: Cell<ReloadState>,
}

#[derive(Clone, Copy)]
enum ReloadState {
    NoneOrGood,
    Failed,
}

/// How often the status is brought up to date.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// An idle worker may take this long for an iteration of its loop.
const BEAT_MIN: Duration = Duration::from_millis(200);

impl Manager {
    /// Connects to the manager that the environment names. An error is logged and does not keep the server from
    /// running.
    #[must_use]
    pub fn from_env() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            let warn =
                |error| warn!("NOTIFY_SOCKET: {name:?}: {error}; the service manager gets no notifications");
            connect(&name).map_err(warn).ok()
        });
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = match env::var_os("WATCHDOG_PID") {
            Some(_) => number("WATCHDOG_PID") == Some(process::id().into()),
            None => true,
        };
        let watchdog = number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0).map(Duration::from_micros);
        let (unsent, status) = (Cell::default(), RefCell::default());
        Self { socket, watchdog, unsent, status, last_reload: Cell::new(ReloadState::NoneOrGood) }
    }

    /// Notifies that the server serves.
    pub fn ready(&self, status: &str) {
        self.tell_state(format!("READY=1\nSTATUS={status}"));
    }

    /// Notifies that a reload begins. It ends with [`Self::reloaded`] or [`Self::reload_failed`].
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell_state(format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// Notifies that a reload has succeeded.
    pub(crate) fn reloaded(&self, users: usize) {
        self.last_reload.set(ReloadState::NoneOrGood);
        self.ready(&format!("{}, reloaded", counted(users)));
    }

    /// Notifies that a reload has failed, and the users are as before. Anybody may read a status, so only the log says
    /// why.
    pub(crate) fn reload_failed(&self, users: usize) {
        self.last_reload.set(ReloadState::Failed);
        self.ready(&format!("{}{FAILED}", counted(users)));
    }

    /// Notifies that the server stops.
    pub fn stopping(&self) {
        self.tell_state("STOPPING=1\nSTATUS=stopping".to_owned());
    }

    /// Sends heartbeats and the status for as long as the server runs.
    pub(crate) async fn attend(
        &self,
        counters: &[Arc<Counters>],
        users: Option<&ArcSwap<Users>>,
    ) -> Infallible {
        if self.socket.is_none() {
            return future::pending().await;
        }
        let (mut progress, mut verdicts) = (StallWatch::default(), Verdicts::of(counters));
        let mut heartbeats =
            interval(self.watchdog.map_or(STATUS_EVERY, |watchdog| (watchdog / 2).max(BEAT_MIN)));
        let mut updates = interval(STATUS_EVERY);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        updates.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = heartbeats.tick() => {
                    if let Some(state) = self.unsent.take() {
                        self.tell_state(state);
                    }
                    progress.check(counters);
                    if progress.longest_stall() == 0 && self.watchdog.is_some() {
                        self.tell("WATCHDOG=1");
                    }
                }
                _ = updates.tick() => {
                    let before = verdicts;
                    verdicts = Verdicts::of(counters);
                    if let Some(users) = users {
                        self.tell_status(self.status(users.load().len(), verdicts.since(before)));
                    }
                }
            }
        }
    }

    fn status(&self, users: usize, new: Verdicts) -> String {
        let rate = |new: u64| (new as f64 / STATUS_EVERY.as_secs_f64()).round();
        let (logins, refusals) = (rate(new.welcomed), rate(new.refused));
        let reload = match self.last_reload.get() {
            ReloadState::NoneOrGood => "",
            ReloadState::Failed => FAILED,
        };
        format!("{}, {logins} logins/s, {refusals} refusals/s{reload}", counted(users))
    }

    fn tell_status(&self, status: String) {
        if *self.status.borrow() != status && self.tell(&format!("STATUS={status}")) {
            self.status.replace(status);
        }
    }

    /// A state that cannot be sent now is sent later, unless there is a newer one by then.
    fn tell_state(&self, state: String) {
        self.status.take();
        if self.tell(&state) {
            self.unsent.set(None);
        } else {
            self.unsent.set(Some(state));
        }
    }

    /// Returns whether the message was sent, or there is no manager. It never waits for the manager.
    fn tell(&self, words: &str) -> bool {
        self.socket.as_ref().is_none_or(|socket| socket.send(words.as_bytes()).is_ok())
    }
}

const FAILED: &str = "; the last reload failed: see the log";

/// Connects to a path, or to an abstract name, which begins with @.
fn connect(name: &OsString) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other("neither a path nor a name that starts with @")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

//! The listener of a worker, which is not watched for a while after an error.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use super::LISTENER;
use crate::log;
use crate::net::address::Listener;

/// The pause after an error of the listener, such as a lack of descriptors, which a closed connection ends.
const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// The pause after a log line about such an error, so that a lasting one does not fill the log.
const REPORT_PAUSE: Duration = Duration::from_secs(10);

/// The listener, and when it last failed.
pub(super) struct Accepting {
    pub(super) listener: Listener,
    /// The uptime at which to accept again, after an error.
    pub(super) paused_until: Option<Duration>,
    last_report: Option<Duration>,
}

impl Accepting {
    pub(super) fn new(listener: Listener) -> Self {
        Self { listener, paused_until: None, last_report: None }
    }

    pub(super) fn watch(&self, epoll: &OwnedFd) -> Result<(), Errno> {
        epoll::add(epoll, &self.listener.socket, EventData::new_u64(LISTENER), EventFlags::IN)
    }

    /// Stops watching for a while, since the system would report the same connection at once.
    pub(super) fn pause(&mut self, epoll: &OwnedFd, uptime: Duration, error: Errno) {
        self.paused_until = Some(uptime + ERROR_PAUSE);
        // It may not be watched now.
        let _ = epoll::delete(epoll, &self.listener.socket);
        if self.last_report.is_none_or(|last| uptime >= last + REPORT_PAUSE) {
            self.last_report = Some(uptime);
            log::socket_error(self.listener.kind, &error.into());
        }
    }
}

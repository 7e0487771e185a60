//! The TCP worker: accepts connections, and polls those that are ready, until a stop is requested.

mod accepting;
mod late;

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use slab::Slab;

use crate::counters::Counters;
use crate::log;
use crate::net::address::{Listener, SocketKind};
use crate::net::clock::{Clock, DRAIN, Stop};
use crate::net::connection::{Connection, Interest, Scratch};
use crate::net::connections::Connections;
use crate::net::stream_service::{Reading, StreamService};
use accepting::Accepting;
use late::LateQueue;
use proto::{Now, Peer};

/// Events that the system reports at a time.
const EVENTS: usize = 256;
/// A login is one connection to accept and three times that it is polled, so the worker accepts one for every three
/// polls. To accept until none is left would cost one more system call each time.
const POLLS_PER_ACCEPT: usize = 3;
/// Connections that are accepted before others are polled again, at most.
const ACCEPTS: usize = 64;
/// How often the worker checks deadlines and whether to stop. Each check visits every connection, a few thousand at
/// most; deadlines cost nothing else.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The data of the listener's events. Those of a connection have its key in the table.
const LISTENER: u64 = u64::MAX;
/// The changes of a connection that are reported, once each.
const READABLE: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

/// Serves until a stop is requested, and then until the connections have ended, for [`DRAIN`] at most. `open` makes the
/// service for a new connection.
pub(crate) fn serve<S: StreamService>(
    listener: Listener,
    reading: Reading,
    caps: Connections,
    open: impl Fn(Peer, Now) -> io::Result<S>,
    clock: Clock,
    stop: &Stop,
    counters: &Counters,
) -> io::Result<()> {
    let mut worker = Worker::new(listener, reading, caps, open, counters)?;
    let mut events = Vec::with_capacity(EVENTS);
    let (mut now, mut last_moment) = (clock.now(), None);
    let mut checked = now.uptime;
    loop {
        counters.iterations.add(1);
        // The clock was read when this round began, which is exact enough for a timeout.
        worker.wait(&mut events, checked + CHECK_INTERVAL, now.uptime)?;
        now = clock.now();
        let has_waiting = worker.enqueue_all(&events);
        let is_idle = worker.poll_ready(now);
        if has_waiting {
            worker.accept(now);
        }
        worker.resume_accepting(now);
        if !worker.late.is_empty() {
            worker.poll_late(now, is_idle && !has_waiting, clock);
        }
        if now.uptime >= checked + CHECK_INTERVAL {
            checked = now.uptime;
            worker.close_overdue(now);
        }
        if stop.is_requested() {
            worker.stop_listening();
            let last_moment = *last_moment.get_or_insert(now.uptime + DRAIN);
            if worker.connections.is_empty() || now.uptime >= last_moment {
                return Ok(());
            }
        }
    }
}

struct Worker<'t, S, O> {
    epoll: OwnedFd,
    kind: SocketKind,
    accepting: Option<Accepting>,
    reading: Reading,
    caps: Connections,
    open: O,
    connections: Slab<Connection<S>>,
    /// The keys of connections to poll.
    ready: Vec<usize>,
    /// An empty queue, to swap with it.
    polled: Vec<usize>,
    /// Those to poll for a reply that takes long.
    late: LateQueue,
    /// Connections polled since the last was accepted.
    polls: usize,
    scratch: Scratch,
    counters: &'t Counters,
}

impl<'t, S: StreamService, O: Fn(Peer, Now) -> io::Result<S>> Worker<'t, S, O> {
    fn new(
        listener: Listener,
        reading: Reading,
        caps: Connections,
        open: O,
        counters: &'t Counters,
    ) -> io::Result<Self> {
        let (epoll, kind) = (epoll::create(CreateFlags::CLOEXEC)?, listener.kind);
        let accepting = Accepting::new(listener);
        accepting.watch(&epoll)?;
        Ok(Self {
            epoll,
            kind,
            accepting: Some(accepting),
            reading,
            caps,
            open,
            connections: Slab::new(),
            ready: Vec::new(),
            polled: Vec::new(),
            late: LateQueue::default(),
            polls: 0,
            scratch: Scratch::new(),
            counters,
        })
    }

    /// Waits until something happens or is due.
    fn wait(&self, events: &mut Vec<Event>, check_at: Duration, uptime: Duration) -> io::Result<()> {
        events.clear();
        let accept_at = self.accepting.as_ref().and_then(|accepting| accepting.paused_until);
        let is_idle = self.ready.is_empty() && self.late.is_empty();
        let next = if is_idle { check_at.min(accept_at.unwrap_or(check_at)) } else { uptime };
        let timeout = Timespec::try_from(next.saturating_sub(uptime)).map_err(io::Error::other)?;
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Queues the connections that the system has reported as ready, and tells whether others wait to be accepted.
    fn enqueue_all(&mut self, events: &[Event]) -> bool {
        let mut has_waiting = false;
        for event in events {
            let (data, flags) = (event.data.u64(), event.flags);
            if data == LISTENER {
                has_waiting = true;
                continue;
            }
            let key = data as usize;
            if flags.intersects(EventFlags::RDHUP | EventFlags::HUP)
                && let Some(connection) = self.connections.get_mut(key)
            {
                connection.peer_has_ended();
            }
            self.enqueue(key);
        }
        has_waiting
    }

    fn enqueue(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.is_queued
        {
            connection.is_queued = true;
            self.ready.push(key);
        }
    }

    /// Polls the connections that are ready, and tells whether there was none.
    fn poll_ready(&mut self, now: Now) -> bool {
        let mut polled = mem::replace(&mut self.ready, mem::take(&mut self.polled));
        let is_idle = polled.is_empty();
        self.polls += polled.len();
        for key in polled.drain(..) {
            self.poll(key, now);
        }
        self.polled = polled;
        is_idle
    }

    /// Polls a connection whose reply takes long, if the others have had their time since the round began.
    fn poll_late(&mut self, round: Now, is_idle: bool, clock: Clock) {
        let now = clock.now();
        let passed = if is_idle { Duration::MAX } else { now.uptime.saturating_sub(round.uptime) };
        if let Some(key) = self.late.next(passed) {
            self.poll(key, now);
            self.late.took(clock.now().uptime.saturating_sub(now.uptime));
        }
    }

    fn poll(&mut self, key: usize, now: Now) {
        // A connection that was closed in this round may still be queued.
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.is_queued = false;
        match connection.poll(now, &mut self.scratch) {
            Ok(Interest::Read) => {}
            Ok(Interest::Poll) => self.enqueue(key),
            Ok(Interest::Late(rank)) => {
                // What arrives meanwhile is read then.
                connection.is_queued = true;
                self.late.push(key, rank);
            }
            // Registering again would report everything that is there to read at once.
            Ok(Interest::Write) if connection.awaits_writing => {}
            Ok(Interest::Write) => {
                connection.awaits_writing = true;
                let data = EventData::new_u64(key as u64);
                let both = READABLE | EventFlags::OUT;
                if let Err(error) = epoll::modify(&self.epoll, &connection.stream, data, both) {
                    self.close(key, Some(&error.into()));
                }
            }
            Ok(Interest::Close) if connection.is_cut_off() => {
                self.close(key, Some(&io::Error::other("it ended in the middle of a message")));
            }
            Ok(Interest::Close) => self.close(key, None),
            Err(_) if connection.is_lingering() => self.close(key, None),
            Err(error) => self.close(key, Some(&error)),
        }
    }

    fn close(&mut self, key: usize, error: Option<&io::Error>) {
        self.late.remove(key);
        // Closing the socket also removes it from the poll.
        if let (Some(connection), Some(error)) = (self.connections.try_remove(key), error) {
            self.counters.lost.add(1);
            log::connection_lost(self.kind, connection.peer, error);
        }
    }

    fn close_overdue(&mut self, now: Now) {
        let overdue = |(key, connection): (usize, &Connection<S>)| {
            connection.is_overdue(now.uptime).then(|| (key, connection.is_lingering()))
        };
        for (key, is_lingering) in self.connections.iter().filter_map(overdue).collect::<Vec<_>>() {
            let error = io::ErrorKind::TimedOut.into();
            self.close(key, if is_lingering { None } else { Some(&error) });
        }
    }

    fn stop_listening(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            // A service manager may hold the same socket open, and then it would be reported on and on.
            let _ = epoll::delete(&self.epoll, &accepting.listener.socket);
        }
        for key in self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_idle())
            .map(|(key, _)| key)
            .collect::<Vec<_>>()
        {
            self.close(key, None);
        }
    }

    /// Watches the listener again, once a pause is over.
    fn resume_accepting(&mut self, now: Now) {
        if let Some(accepting) = &mut self.accepting
            && accepting.paused_until.is_some_and(|end| now.uptime >= end)
        {
            match accepting.watch(&self.epoll) {
                Ok(()) => accepting.paused_until = None,
                Err(error) => accepting.pause(&self.epoll, now.uptime, error),
            }
        }
    }

    /// Accepts some of the connections that wait.
    fn accept(&mut self, now: Now) {
        let most = (self.polls / POLLS_PER_ACCEPT).clamp(1, ACCEPTS);
        self.polls = 0;
        for _ in 0..most {
            let Some(accepting) = &mut self.accepting else { return };
            match accepting.listener.accept() {
                Ok((stream, peer)) => self.admit(stream, peer, now),
                // A connection that was reset before it was accepted is no reason to wait for the next.
                Err(Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => return accepting.pause(&self.epoll, now.uptime, error),
            }
        }
    }

    fn admit(&mut self, stream: OwnedFd, peer: Peer, now: Now) {
        let permit = match self.caps.admit(peer.source()) {
            Ok(permit) => permit,
            Err(full) => {
                self.counters.turned_away.add(1);
                return log::turned_away(self.kind, peer, &full);
            }
        };
        let entry = self.connections.vacant_entry();
        let data = EventData::new_u64(entry.key() as u64);
        let watched = |service| {
            epoll::add(&self.epoll, &stream, data, READABLE)?;
            Ok(service)
        };
        match (self.open)(peer, now).and_then(watched) {
            Ok(service) => {
                self.counters.accepted.add(1);
                entry.insert(Connection::new(stream, peer, service, permit, self.reading, now));
            }
            Err(error) => {
                self.counters.turned_away.add(1);
                log::turned_away(self.kind, peer, &error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpStream};

    use super::*;
    use crate::log::Verbosity;
    use crate::net::bind::{self, Sharing};
    use crate::net::services::small::{Md5Stream, shared_lines};

    /// A service manager holds the sockets that it has passed, so these stay open when the server stops.
    #[test]
    fn a_listener_that_others_hold_is_not_reported_once_the_worker_stops() {
        let socket = bind::tcp(SocketAddr::from(([127, 0, 0, 1], 0)), Sharing::Exclusive).unwrap();
        let (held, counters) = (socket.try_clone().unwrap(), Counters::default());
        let listener = Listener { socket, kind: SocketKind::Tcp };
        let open = |peer, _| Ok(Md5Stream { peer, lines: shared_lines(Verbosity::Quiet) });
        let caps = Connections::new(1, 0);
        let mut worker = Worker::new(listener, Md5Stream::READING, caps, open, &counters).unwrap();
        let mut events = Vec::with_capacity(EVENTS);
        let _waiting = TcpStream::connect(held.local_addr().unwrap().as_socket().unwrap()).unwrap();
        worker.wait(&mut events, Duration::from_secs(60), Duration::ZERO).unwrap();
        assert!(worker.enqueue_all(&events));
        worker.stop_listening();
        worker.wait(&mut events, Duration::ZERO, Duration::ZERO).unwrap();
        assert!(events.is_empty());
    }
}

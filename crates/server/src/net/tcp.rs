//! The TCP worker: accepts connections, and polls those that are ready, until a stop is requested.

use std::io;
use std::net;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Poll, Token};
use slab::Slab;

use crate::counters::Counters;
use crate::log;
use crate::net::clock::{Clock, DRAIN, Stop};
use crate::net::connection::{Connection, Interest, Reading, Scratch, StreamService};
use crate::net::connections::Connections;
use proto::transport::Transport;
use proto::{Now, Peer};

/// Events that the system reports at a time.
const EVENTS: usize = 256;
/// Connections that are accepted before others are polled again.
const ACCEPTS: usize = 64;
/// How often the worker checks deadlines and whether to stop. Each check visits every connection, a few thousand at
/// most; deadlines cost nothing else.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The pause after an error of the listener, such as a lack of descriptors, which a closed connection ends.
const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// The pause after a log line about such an error, so that a lasting one does not fill the log.
const REPORT_PAUSE: Duration = Duration::from_secs(10);

/// The token of the listener. That of a connection is its key in the table.
const LISTENER: Token = Token(usize::MAX);

/// Serves until a stop is requested, and then until the connections have ended, for [`DRAIN`] at most. `open` makes the
/// service for a new connection.
pub(crate) fn serve<S: StreamService>(
    listener: net::TcpListener,
    reading: Reading,
    caps: Connections,
    open: impl Fn(Peer, Now) -> io::Result<S>,
    clock: Clock,
    stop: &Stop,
    counters: &Counters,
) -> io::Result<()> {
    let mut worker = Worker::new(listener, reading, caps, open, counters)?;
    let mut events = Events::with_capacity(EVENTS);
    let (mut checked, mut last_moment) = (clock.now().uptime, None);
    loop {
        counters.iterations.add(1);
        worker.wait(&mut events, checked + CHECK_INTERVAL, clock.now().uptime)?;
        let now = clock.now();
        worker.enqueue_all(&events, now);
        worker.poll_ready(now);
        worker.accept_waiting(now);
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
    poll: Poll,
    accepting: Option<Accepting>,
    reading: Reading,
    caps: Connections,
    open: O,
    connections: Slab<Connection<S>>,
    /// The keys of connections to poll.
    ready: Vec<usize>,
    scratch: Scratch,
    counters: &'t Counters,
}

/// The listener, and what is known of it.
struct Accepting {
    listener: TcpListener,
    /// The uptime at which to accept; `None` while no connection waits.
    next: Option<Duration>,
    last_report: Option<Duration>,
}

impl<'t, S: StreamService, O: Fn(Peer, Now) -> io::Result<S>> Worker<'t, S, O> {
    fn new(
        listener: net::TcpListener,
        reading: Reading,
        caps: Connections,
        open: O,
        counters: &'t Counters,
    ) -> io::Result<Self> {
        let (poll, mut listener) = (Poll::new()?, TcpListener::from_std(listener));
        poll.registry().register(&mut listener, LISTENER, mio::Interest::READABLE)?;
        let accepting = Some(Accepting { listener, next: None, last_report: None });
        let (connections, ready, scratch) = (Slab::new(), Vec::new(), Scratch::new());
        Ok(Self { poll, accepting, reading, caps, open, connections, ready, scratch, counters })
    }

    /// Waits until something happens or is due.
    fn wait(&mut self, events: &mut Events, check_at: Duration, uptime: Duration) -> io::Result<()> {
        let accept_at = self.accepting.as_ref().and_then(|accepting| accepting.next);
        let next = if self.ready.is_empty() { check_at.min(accept_at.unwrap_or(check_at)) } else { uptime };
        match self.poll.poll(events, Some(next.saturating_sub(uptime))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// Queues the connections that the system has reported as ready.
    fn enqueue_all(&mut self, events: &Events, now: Now) {
        for event in events {
            match (event.token(), &mut self.accepting) {
                (LISTENER, Some(accepting)) => accepting.next = Some(accepting.next.unwrap_or(now.uptime)),
                (LISTENER, None) => {}
                (Token(key), _) => {
                    if event.is_read_closed()
                        && let Some(connection) = self.connections.get_mut(key)
                    {
                        connection.peer_has_ended();
                    }
                    self.enqueue(key);
                }
            }
        }
    }

    fn enqueue(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.is_queued
        {
            connection.is_queued = true;
            self.ready.push(key);
        }
    }

    fn poll_ready(&mut self, now: Now) {
        for key in std::mem::take(&mut self.ready) {
            self.poll(key, now);
        }
    }

    fn poll(&mut self, key: usize, now: Now) {
        // A connection that was closed in this round may still be queued.
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.is_queued = false;
        match connection.poll(now, &mut self.scratch) {
            Ok(Interest::Read) => {}
            Ok(Interest::Poll) => self.enqueue(key),
            // Registering again would report everything that is there to read at once.
            Ok(Interest::Write) if connection.awaits_writing => {}
            Ok(Interest::Write) => {
                connection.awaits_writing = true;
                let both = mio::Interest::READABLE | mio::Interest::WRITABLE;
                if let Err(error) = self.poll.registry().reregister(&mut connection.stream, Token(key), both)
                {
                    self.close(key, Some(&error));
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
        // Closing the socket also removes it from the poll.
        if let (Some(connection), Some(error)) = (self.connections.try_remove(key), error) {
            self.counters.lost.add(1);
            log::connection_lost(connection.peer, error);
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
        self.accepting = None;
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

    /// Accepts the connections that wait.
    fn accept_waiting(&mut self, now: Now) {
        for _ in 0..ACCEPTS {
            let Some(accepting) =
                self.accepting.as_mut().filter(|it| it.next.is_some_and(|at| at <= now.uptime))
            else {
                return;
            };
            match accepting.listener.accept() {
                Ok((stream, peer)) => self.accept(stream, peer.into(), now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => accepting.next = None,
                // A connection that was reset before it was accepted is no reason to wait for the next.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => accepting.pause(now.uptime, &error),
            }
        }
    }

    fn accept(&mut self, mut stream: TcpStream, peer: Peer, now: Now) {
        let permit = match self.caps.admit(peer.source()) {
            Ok(permit) => permit,
            Err(full) => {
                self.counters.turned_away.add(1);
                return log::turned_away(peer, &full);
            }
        };
        let entry = self.connections.vacant_entry();
        let registered =
            self.poll.registry().register(&mut stream, Token(entry.key()), mio::Interest::READABLE);
        match registered.and_then(|()| (self.open)(peer, now)) {
            Ok(service) => {
                self.counters.accepted.add(1);
                entry.insert(Connection::new(stream, peer, service, permit, self.reading, now));
            }
            Err(error) => {
                self.counters.turned_away.add(1);
                log::turned_away(peer, &error);
            }
        }
    }
}

impl Accepting {
    fn pause(&mut self, uptime: Duration, error: &io::Error) {
        self.next = Some(uptime + ERROR_PAUSE);
        if self.last_report.is_none_or(|last| uptime >= last + REPORT_PAUSE) {
            self.last_report = Some(uptime);
            log::socket_error(Transport::Tcp, error);
        }
    }
}

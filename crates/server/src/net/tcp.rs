//! The TCP worker: accepts, and gives each connection its turn, until told to stop.

use std::io;
use std::net::{self, SocketAddr};
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::net::clock::DRAIN;
use crate::net::clock::{Clock, Stop};
use crate::net::connections::Connections;
use crate::net::link::{Conversation, Link, Reading, Scratch, Wish};
use crate::report;
use crate::tally::Tally;
use proto::Now;
use proto::transport::Transport;

/// Events that are told at a time.
const EVENTS: usize = 256;
/// Connections that are accepted before others have their turn.
const ACCEPTS: usize = 64;
/// How often deadlines and a stop are looked for. It is one look at each connection, of which there are few thousand,
/// and no deadline costs anything else.
const LOOK: Duration = Duration::from_millis(100);
/// The pause after an error of the listener, such as a lack of descriptors, which a closed connection ends.
const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// The pause after a report of such an error, so that a lasting one does not fill the log.
const REPORT_PAUSE: Duration = Duration::from_secs(10);

/// The listener's; connections have their places in the table.
const LISTENER: Token = Token(usize::MAX);

/// Serves until told to stop, and then until the connections have ended. `open` begins a conversation with a peer.
pub(crate) fn serve<C: Conversation>(
    listener: net::TcpListener,
    reading: Reading,
    connections: Connections,
    open: impl Fn(SocketAddr, Now) -> io::Result<C>,
    clock: Clock,
    stop: &Stop,
    tally: &Tally,
) -> io::Result<()> {
    let mut worker = Worker::new(listener, reading, connections, open, tally)?;
    let mut events = Events::with_capacity(EVENTS);
    let (mut looked, mut last_moment) = (clock.now().uptime, None);
    loop {
        tally.turns.add(1);
        worker.wait(&mut events, looked + LOOK, clock.now().uptime)?;
        let now = clock.now();
        worker.attend(&events, now);
        worker.take_turns(now);
        worker.accept(now);
        if now.uptime >= looked + LOOK {
            looked = now.uptime;
            worker.close_overdue(now);
        }
        if stop.is_requested() {
            worker.stop_listening();
            let last_moment = *last_moment.get_or_insert(now.uptime + DRAIN);
            if worker.links.is_empty() || now.uptime >= last_moment {
                return Ok(());
            }
        }
    }
}

struct Worker<'t, C, O> {
    poll: Poll,
    accepting: Option<Accepting>,
    reading: Reading,
    connections: Connections,
    open: O,
    links: Slab<Link<C>>,
    /// Links that are to have a turn.
    in_line: Vec<usize>,
    scratch: Scratch,
    tally: &'t Tally,
}

/// The listener, and what is known of it.
struct Accepting {
    listener: TcpListener,
    /// When to accept; never, until it is told that somebody is there.
    next: Option<Duration>,
    last_report: Option<Duration>,
}

impl<'t, C: Conversation, O: Fn(SocketAddr, Now) -> io::Result<C>> Worker<'t, C, O> {
    fn new(
        listener: net::TcpListener,
        reading: Reading,
        connections: Connections,
        open: O,
        tally: &'t Tally,
    ) -> io::Result<Self> {
        let (poll, mut listener) = (Poll::new()?, TcpListener::from_std(listener));
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let accepting = Some(Accepting { listener, next: None, last_report: None });
        let (links, in_line, scratch) = (Slab::new(), Vec::new(), Scratch::new());
        Ok(Self { poll, accepting, reading, connections, open, links, in_line, scratch, tally })
    }

    /// Waits until something happens or is due.
    fn wait(&mut self, events: &mut Events, look_at: Duration, uptime: Duration) -> io::Result<()> {
        let accept_at = self.accepting.as_ref().and_then(|accepting| accepting.next);
        let next = if self.in_line.is_empty() { look_at.min(accept_at.unwrap_or(look_at)) } else { uptime };
        match self.poll.poll(events, Some(next.saturating_sub(uptime))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// Puts those to whom something has happened in line.
    fn attend(&mut self, events: &Events, now: Now) {
        for event in events {
            match (event.token(), &mut self.accepting) {
                (LISTENER, Some(accepting)) => accepting.next = Some(accepting.next.unwrap_or(now.uptime)),
                (LISTENER, None) => {}
                (Token(key), _) => {
                    if event.is_read_closed()
                        && let Some(link) = self.links.get_mut(key)
                    {
                        link.peer_has_ended();
                    }
                    self.put_in_line(key);
                }
            }
        }
    }

    fn put_in_line(&mut self, key: usize) {
        if let Some(link) = self.links.get_mut(key)
            && !link.is_in_line
        {
            link.is_in_line = true;
            self.in_line.push(key);
        }
    }

    fn take_turns(&mut self, now: Now) {
        for key in std::mem::take(&mut self.in_line) {
            self.turn(key, now);
        }
    }

    fn turn(&mut self, key: usize, now: Now) {
        // One that was closed in this round may still be in line.
        let Some(link) = self.links.get_mut(key) else { return };
        link.is_in_line = false;
        match link.turn(now, &mut self.scratch) {
            Ok(Wish::Read) => {}
            Ok(Wish::Turn) => self.put_in_line(key),
            // Once is enough: to ask again is to be told at once of all that is there to read.
            Ok(Wish::Write) if link.is_told_of_room => {}
            Ok(Wish::Write) => {
                link.is_told_of_room = true;
                let both = Interest::READABLE | Interest::WRITABLE;
                if let Err(error) = self.poll.registry().reregister(&mut link.stream, Token(key), both) {
                    self.close(key, Some(&error));
                }
            }
            Ok(Wish::Close) if link.is_cut_off() => {
                self.close(key, Some(&io::Error::other("it ended in the middle of a message")));
            }
            Ok(Wish::Close) => self.close(key, None),
            Err(_) if link.has_said_all() => self.close(key, None),
            Err(error) => self.close(key, Some(&error)),
        }
    }

    fn close(&mut self, key: usize, error: Option<&io::Error>) {
        // Closing its socket ends all that the poll knows of it.
        if let (Some(link), Some(error)) = (self.links.try_remove(key), error) {
            self.tally.lost.add(1);
            report::connection_lost(link.peer, error);
        }
    }

    fn close_overdue(&mut self, now: Now) {
        let overdue =
            |(key, link): (usize, &Link<C>)| link.is_overdue(now.uptime).then(|| (key, link.has_said_all()));
        for (key, has_said_all) in self.links.iter().filter_map(overdue).collect::<Vec<_>>() {
            let error = io::ErrorKind::TimedOut.into();
            self.close(key, if has_said_all { None } else { Some(&error) });
        }
    }

    fn stop_listening(&mut self) {
        self.accepting = None;
        for key in
            self.links.iter().filter(|(_, link)| link.is_at_rest()).map(|(key, _)| key).collect::<Vec<_>>()
        {
            self.close(key, None);
        }
    }

    /// Accepts whoever is there, if anybody may be.
    fn accept(&mut self, now: Now) {
        for _ in 0..ACCEPTS {
            let Some(accepting) =
                self.accepting.as_mut().filter(|it| it.next.is_some_and(|at| at <= now.uptime))
            else {
                return;
            };
            match accepting.listener.accept() {
                Ok((stream, peer)) => self.welcome(stream, peer, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => accepting.next = None,
                // A connection that was reset before it was accepted is no reason to wait for the next.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => accepting.pause(now.uptime, &error),
            }
        }
    }

    fn welcome(&mut self, mut stream: mio::net::TcpStream, peer: SocketAddr, now: Now) {
        let place = match self.connections.admit(peer.ip()) {
            Ok(place) => place,
            Err(full) => {
                self.tally.turned_away.add(1);
                return report::turned_away(peer, &full);
            }
        };
        let entry = self.links.vacant_entry();
        let registered = self.poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE);
        match registered.and_then(|()| (self.open)(peer, now)) {
            Ok(conversation) => {
                self.tally.accepted.add(1);
                entry.insert(Link::new(stream, peer, conversation, place, self.reading, now));
            }
            Err(error) => {
                self.tally.turned_away.add(1);
                report::turned_away(peer, &error);
            }
        }
    }
}

impl Accepting {
    fn pause(&mut self, uptime: Duration, error: &io::Error) {
        self.next = Some(uptime + ERROR_PAUSE);
        if self.last_report.is_none_or(|last| uptime >= last + REPORT_PAUSE) {
            self.last_report = Some(uptime);
            report::socket_error(Transport::Tcp, error);
        }
    }
}

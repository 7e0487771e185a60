//! Replies that take long: a thread of the lowest priority makes them beside a worker, so that no other datagram waits
//! for one. The worker waits for no lock that the thread holds, since the thread may not get a processor for long.

use std::io;
use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};

use crate::counters::Counters;
use crate::log;
use crate::net::batch::Route;
use crate::net::clock::Clock;
use crate::priority::yield_to_logins;
use proto::Now;
use proto::server::opaque::Place;

/// What makes the late replies of one worker.
pub(crate) trait LateReplies: Send {
    /// The places at which datagrams wait.
    fn places(&self) -> usize;

    /// Takes the datagram that is next. It keeps its place until it leaves.
    fn next(&mut self, now: Now) -> Option<Place>;

    /// Replies to the datagram that was taken last. `reply` is empty, and may stay so.
    fn reply(&mut self, now: Now, reply: &mut Vec<u8>);

    /// Gives the place of that datagram to others.
    fn leave(&mut self);
}

/// The way back to each datagram of a worker that waits, by place. The worker writes one when the datagram gets its
/// place, and the thread takes it before the datagram leaves, so that neither waits for the other.
pub(crate) struct Routes(Box<[Mutex<Kept>]>);

/// The last datagram that waited at a place, until its route is taken.
type Kept = Option<(Place, Route)>;

impl Routes {
    /// The size in bytes of one.
    pub(crate) const ROUTE_BYTES: usize = size_of::<Mutex<Kept>>();

    pub(crate) fn new(places: usize) -> Self {
        Self((0..places).map(|_| Mutex::new(None)).collect())
    }

    fn keep(&self, place: Place, route: Route) {
        if let Some(slot) = self.0.get(place.index) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((place, route));
        }
    }

    /// The way back to the datagram at this place. There is none if the worker was too slow to write it; then its
    /// client sends it again.
    fn take(&self, place: Place) -> Option<Route> {
        let kept = self.0.get(place.index)?.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.filter(|(owner, _)| *owner == place).map(|(_, route)| route)
    }
}

/// The thread of a worker, which ends with it.
pub(crate) struct LateThread<'s> {
    routes: &'s Routes,
    wake: SyncSender<()>,
    thread: ScopedJoinHandle<'s, ()>,
}

impl LateThread<'_> {
    /// Has a datagram wait at its place.
    pub(crate) fn wait(&self, place: Place, route: Route) {
        self.routes.keep(place, route);
        // If it is full, the thread is awake.
        let _ = self.wake.try_send(());
    }

    /// Whether it ended before its worker, by a panic.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Has it end once it has made the replies that are due.
    ///
    /// # Errors
    /// It has panicked.
    pub(crate) fn end(self) -> io::Result<()> {
        drop(self.wake);
        self.thread.join().map_err(|_| io::Error::other("the thread that makes late replies panicked"))
    }
}

/// Starts the thread of a worker that serves this socket.
///
/// # Errors
/// The system has no thread.
pub(crate) fn start<'scope, 'w: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    mut replies: Box<dyn LateReplies>,
    routes: &'w Routes,
    socket: &'w UdpSocket,
    clock: Clock,
    counters: &'w Counters,
) -> io::Result<LateThread<'scope>> {
    let (wake, work) = sync_channel(1);
    let thread = thread::Builder::new().name("late replies".to_owned()).spawn_scoped(scope, move || {
        yield_to_logins();
        make_replies(&mut *replies, routes, &work, socket, clock, counters);
    })?;
    Ok(LateThread { routes, wake, thread })
}

fn make_replies(
    replies: &mut dyn LateReplies,
    routes: &Routes,
    work: &Receiver<()>,
    socket: &UdpSocket,
    clock: Clock,
    counters: &Counters,
) {
    let mut reply = Vec::new();
    while work.recv().is_ok() {
        while let Some(place) = replies.next(clock.now()) {
            reply.clear();
            replies.reply(clock.now(), &mut reply);
            let route = routes.take(place);
            replies.leave();
            if let Some(route) = route.filter(|_| !reply.is_empty())
                && let Err(error) = route.send(socket, &mut reply)
            {
                counters.unsent.add(1);
                log::unsent(1, &error);
            }
        }
    }
}

//! Replies that take long: a thread of the lowest priority makes them beside a worker, so that no other datagram waits
//! for one.

use std::io;
use std::iter;
use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope};

use crate::counters::Counters;
use crate::log;
use crate::net::batch::{Envelope, Route};
use crate::net::clock::Clock;
use crate::priority::yield_to_logins;
use proto::Now;

/// What makes the late replies of one worker.
pub(crate) trait LateReplies: Send {
    /// The places at which datagrams wait.
    fn places(&self) -> usize;

    /// Takes the datagram that is next, and gives its place, which is free again.
    fn next(&mut self, now: Now) -> Option<usize>;

    /// Replies to the datagram that was taken last. `reply` is empty, and may stay so.
    fn reply(&mut self, now: Now, reply: &mut Vec<u8>);
}

/// The ways back to the datagrams of a worker that wait, by place. The lock is held while a datagram gets a place and
/// while it leaves it, so that no reply goes another datagram's way.
pub(crate) struct Routes(Mutex<Box<[Option<Route>]>>);

impl Routes {
    pub(crate) fn new(places: usize) -> Self {
        Self(Mutex::new(vec![None; places].into()))
    }

    /// Takes the datagram that is next, and gives the way back to it.
    fn next(&self, replies: &mut dyn LateReplies, now: Now) -> Option<Route> {
        let mut routes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        iter::from_fn(|| replies.next(now)).find_map(|place| routes.get_mut(place)?.take())
    }
}

/// What a worker tells the thread that makes its late replies, which ends with it.
pub(crate) struct LateDatagrams<'w> {
    routes: &'w Routes,
    wake: SyncSender<()>,
}

impl LateDatagrams<'_> {
    /// Reacts to a datagram, which waits if `react` gives it a place.
    pub(crate) fn react(&self, envelope: Envelope<'_>, react: impl FnOnce() -> Option<usize>) {
        let mut routes = self.routes.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = react().and_then(|place| routes.get_mut(place)) {
            *slot = Some(envelope.route());
            // The thread would wait for the lock.
            drop(routes);
            // If it is full, the thread is awake.
            let _ = self.wake.try_send(());
        }
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
) -> io::Result<LateDatagrams<'w>> {
    let (wake, work) = sync_channel(1);
    thread::Builder::new().name("late replies".to_owned()).spawn_scoped(scope, move || {
        yield_to_logins();
        make_replies(&mut *replies, routes, &work, socket, clock, counters);
    })?;
    Ok(LateDatagrams { routes, wake })
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
        while let Some(route) = routes.next(replies, clock.now()) {
            reply.clear();
            replies.reply(clock.now(), &mut reply);
            if !reply.is_empty()
                && let Err(error) = route.send(socket, &mut reply)
            {
                counters.unsent.add(1);
                log::unsent(1, &error);
            }
        }
    }
}

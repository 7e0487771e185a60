//! The TCP worker: accepts, and carries each connection to its end.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, yield_now};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::auth::Now;
use crate::net::connections::{Connections, Place};
use crate::net::{Clock, DRAIN, Stop, Transport};
use crate::report;

/// What a connection is for: the loop below is the same for all services.
pub(crate) trait Conversation {
    /// The connection is there.
    fn accepted(&mut self, _now: Now) {}

    /// Takes what it understands off the front of `received`, and puts what it says to that into `replies`. What
    /// it leaves is given again, in front of what comes next.
    fn receive(&mut self, now: Now, received: &mut &[u8], replies: &mut Vec<u8>) -> Next;
}

/// How a conversation goes on, once its replies are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// With more bytes from the peer.
    Read,
    /// Not at all: everything is said.
    End,
    /// Not at all: the peer talks nonsense.
    Close,
}

/// How a service reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Bytes after which what has arrived is handed over, though there may be more.
    pub(crate) gather_len: usize,
    /// Bytes that all connections together may hold of messages that are not whole and of answers that are not
    /// sent, beyond the share that each has.
    pub(crate) memory_max: usize,
    /// How long a connection may take.
    pub(crate) patience: Patience,
}

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// From its start to its end.
    InAll(Duration),
    /// As long as it likes, message by message.
    PerMessage {
        /// Between two messages.
        rest: Duration,
        /// For a message to arrive, from its first byte to its last, and for its answer to leave.
        message: Duration,
    },
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// A message to begin.
    Rest,
    /// A message to be whole, or an answer to be gone.
    Message,
}

impl Patience {
    /// The end of a wait, where what is under way began at `since`.
    fn deadline(self, since: Instant, wait: Wait) -> Instant {
        since
            + match (self, wait) {
                (Self::InAll(time), Wait::Rest | Wait::Message) => time,
                (Self::PerMessage { rest, .. }, Wait::Rest) => rest,
                (Self::PerMessage { message, .. }, Wait::Message) => message,
            }
    }

    /// When that which is under way began, once a message has been taken or has begun.
    fn renew(self, since: &mut Instant) {
        match self {
            Self::InAll(_) => {}
            Self::PerMessage { .. } => *since = Instant::now(),
        }
    }
}

/// How long, and for how many bytes, a connection is read after its end, so that no reset overtakes the last reply.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_LEN: usize = 16 << 20;
/// Bytes of the room that all reads of a worker are made into.
const SCRATCH_LEN: usize = 64 * 1024;
/// Bytes of memory that a connection at rest keeps.
const KEPT_LEN: usize = 512;
/// The pause after an error of the listener, such as a lack of descriptors, which a closed connection ends.
const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// The pause after a report of such an error, so that a lasting one does not fill the log.
const REPORT_PAUSE: Duration = Duration::from_secs(10);

/// Serves until told to stop, and then until the connections have ended. `open` begins a conversation with a peer.
pub(crate) fn serve<C: Conversation + 'static>(
    listener: TcpListener,
    reading: Reading,
    connections: Connections,
    open: impl Fn(SocketAddr) -> io::Result<C> + 'static,
    clock: Clock,
    mut stop: Stop,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (alive, mut all_closed) = mpsc::channel(1);
        let scratch = RefCell::new(vec![0; SCRATCH_LEN].into());
        let worker = Rc::new(Worker { reading, open, clock, stop: stop.clone(), scratch });
        tokio::select! {
            never = accept_for_ever(&listener, &connections, &worker, alive) => match never {},
            () = stop.requested() => {}
        }
        drop(listener);
        // Each connection holds a sender, so this ends with the last of them.
        let _ = timeout(DRAIN, all_closed.recv()).await;
        Ok(())
    })
}

struct Worker<O> {
    reading: Reading,
    open: O,
    clock: Clock,
    stop: Stop,
    /// What every read is made into: what has arrived is kept, room for what may arrive is not.
    scratch: RefCell<Box<[u8]>>,
}

async fn accept_for_ever<C: Conversation + 'static>(
    listener: &tokio::net::TcpListener,
    connections: &Connections,
    worker: &Rc<Worker<impl Fn(SocketAddr) -> io::Result<C> + 'static>>,
    alive: mpsc::Sender<Infallible>,
) -> Infallible {
    let mut last_reported = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match connections.admit(peer.ip()) {
                Ok(place) => {
                    let (worker, alive) = (worker.clone(), alive.clone());
                    tokio::task::spawn_local(async move {
                        serve_connection(&worker, stream, peer, place).await;
                        drop(alive);
                    });
                }
                Err(full) => report::turned_away(peer, full),
            },
            Err(error) => {
                if last_reported.is_none_or(|then: Instant| then.elapsed() >= REPORT_PAUSE) {
                    last_reported = Some(Instant::now());
                    report::socket_error(Transport::Tcp, &error);
                }
                // A connection that was reset before it was accepted is no reason to wait for the next.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    sleep(ERROR_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection<C: Conversation>(
    worker: &Worker<impl Fn(SocketAddr) -> io::Result<C>>,
    stream: TcpStream,
    peer: SocketAddr,
    mut place: Place,
) {
    let ended = match (worker.open)(peer) {
        Ok(conversation) => worker.converse(conversation, stream, &mut place).await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        report::connection_lost(peer, &error);
    }
}

impl<O> Worker<O> {
    /// Carries a conversation to its end.
    async fn converse(
        &self,
        mut conversation: impl Conversation,
        mut stream: TcpStream,
        place: &mut Place,
    ) -> io::Result<()> {
        conversation.accepted(self.clock.now());
        let patience = self.reading.patience;
        let mut since = Instant::now();
        let (mut received, mut replies) = (Vec::new(), Vec::new());
        loop {
            let wait = if received.is_empty() { Wait::Rest } else { Wait::Message };
            let arrival = tokio::select! {
                arrival = timeout_at(patience.deadline(since, wait), self.gather(&stream, &mut received)) => arrival??,
                () = self.stop_for(wait) => return Ok(()),
            };
            let mut rest = &received[..];
            let next = conversation.receive(self.clock.now(), &mut rest, &mut replies);
            let taken = received.len() - rest.len();
            received.drain(..taken);
            if wait == Wait::Rest || taken > 0 {
                patience.renew(&mut since);
                received.shrink_to(KEPT_LEN);
            }
            place.hold(received.len() + replies.len()).map_err(io::Error::other)?;
            timeout_at(patience.deadline(since, Wait::Message), stream.write_all(&replies)).await??;
            replies.clear();
            replies.shrink_to(KEPT_LEN);
            place.hold(received.len()).map_err(io::Error::other)?;
            match (next, arrival) {
                (Next::Read, Arrival::More) => {}
                (Next::Read, Arrival::Last) if !received.is_empty() => {
                    return Err(io::Error::other("it ended in the middle of a message"));
                }
                (Next::Read, Arrival::Last) | (Next::Close, _) => return Ok(()),
                (Next::End, _) => {
                    let _ = timeout(LINGER, self.linger(&mut stream)).await;
                    return Ok(());
                }
            }
        }
    }

    /// Waits for bytes, and takes those that are there.
    async fn gather(&self, stream: &TcpStream, received: &mut Vec<u8>) -> io::Result<Arrival> {
        stream.readable().await?;
        let mut left = self.reading.gather_len;
        while left > 0 {
            match self.read(stream, left, |bytes| received.extend_from_slice(bytes)) {
                Ok(0) => return Ok(Arrival::Last),
                Ok(read) => left -= read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if left == 0 {
            // Whoever has more to say lets others have their turn first.
            yield_now().await;
        }
        Ok(Arrival::More)
    }

    /// Reads what is there, up to `max` bytes, and hands it to `take`.
    fn read(&self, stream: &TcpStream, max: usize, take: impl FnOnce(&[u8])) -> io::Result<usize> {
        let mut scratch = self.scratch.borrow_mut();
        let max = max.min(scratch.len());
        let room = scratch.get_mut(..max).unwrap_or_default();
        let read = stream.try_read(room)?;
        take(room.get(..read).unwrap_or_default());
        Ok(read)
    }

    /// Ends when the server is to stop, for a connection at rest, which nobody is waiting for. The others may take
    /// their time.
    async fn stop_for(&self, wait: Wait) {
        match (self.reading.patience, wait) {
            (Patience::PerMessage { .. }, Wait::Rest) => self.stop.clone().requested().await,
            (Patience::PerMessage { .. }, Wait::Message) | (Patience::InAll(_), _) => pending().await,
        }
    }

    /// Ends the sending side and reads what is left: a socket closed with bytes unread resets the connection, and
    /// the last reply with it.
    async fn linger(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.shutdown().await?;
        let mut left = LINGER_LEN;
        while left > 0 {
            stream.readable().await?;
            match self.read(stream, left, |_| {}) {
                Ok(0) => break,
                Ok(read) => {
                    left -= read;
                    yield_now().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the peer may say more.
enum Arrival {
    More,
    Last,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_under_way_has_less_time_than_a_connection_at_rest_and_no_byte_gives_it_more() {
        let second = Duration::from_secs(1);
        let began = Instant::now();
        let patience = Patience::PerMessage { rest: 600 * second, message: 60 * second };
        assert_eq!(patience.deadline(began, Wait::Rest), began + 600 * second);
        assert_eq!(patience.deadline(began, Wait::Message), began + 60 * second);
        let mut since = began;
        patience.renew(&mut since);
        assert!(since >= began);
    }

    #[test]
    fn nothing_gives_a_login_more_time_than_it_has_in_all() {
        let patience = Patience::InAll(Duration::from_secs(10));
        let began = Instant::now();
        let mut since = began;
        patience.renew(&mut since);
        for wait in [Wait::Rest, Wait::Message] {
            assert_eq!(patience.deadline(since, wait), began + Duration::from_secs(10));
        }
    }
}

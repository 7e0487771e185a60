//! The TCP worker: accepts, and carries each connection to its end.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
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
    /// Bytes that one read may bring.
    pub(crate) read_len: usize,
    /// Bytes after which what has arrived is handed over, though there may be more: one read's, or many.
    pub(crate) gather_len: usize,
    /// How long a connection may take.
    pub(crate) patience: Patience,
}

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// From its start to its end.
    InAll(Duration),
    /// For each wait for the peer.
    Each(Duration),
}

impl Patience {
    /// The end of a wait that begins now.
    fn deadline(self, started: Instant) -> Instant {
        match self {
            Self::InAll(time) => started + time,
            Self::Each(time) => Instant::now() + time,
        }
    }
}

/// How long, and for how many bytes, a connection is read after its end, so that no reset overtakes the last reply.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_LEN: usize = 64 * 1024;
/// Connections that the kernel may complete before they are accepted; it caps this at net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// The pause after an error of the listener, such as a lack of descriptors, which a closed connection ends.
const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// The pause after a report of such an error, so that a lasting one does not fill the log.
const REPORT_PAUSE: Duration = Duration::from_secs(10);

/// Binds the socket of a worker.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Serves until told to stop, and then until the connections have ended. `open` begins a conversation with a peer.
pub(crate) fn serve<C: Conversation + 'static>(
    listener: TcpListener,
    reading: Reading,
    open: impl Fn(SocketAddr) -> io::Result<C> + 'static,
    clock: Clock,
    mut stop: Stop,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (alive, mut all_closed) = mpsc::channel(1);
        let worker = Rc::new(Worker { reading, open, clock });
        tokio::select! {
            never = accept_for_ever(&listener, &worker, alive) => match never {},
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
}

async fn accept_for_ever<C: Conversation + 'static>(
    listener: &tokio::net::TcpListener,
    worker: &Rc<Worker<impl Fn(SocketAddr) -> io::Result<C> + 'static>>,
    alive: mpsc::Sender<Infallible>,
) -> Infallible {
    let connections = Connections::default();
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
    _place: Place,
) {
    let ended = match (worker.open)(peer) {
        Ok(conversation) => converse(conversation, stream, worker.reading, worker.clock).await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        report::connection_lost(peer, &error);
    }
}

/// Carries a conversation to its end.
async fn converse(
    mut conversation: impl Conversation,
    mut stream: TcpStream,
    reading: Reading,
    clock: Clock,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    conversation.accepted(clock.now());
    let started = Instant::now();
    let (mut received, mut replies) = (Vec::new(), Vec::new());
    loop {
        let deadline = reading.patience.deadline(started);
        let arrival = timeout_at(deadline, gather(&stream, reading, &mut received)).await??;
        let mut rest = &received[..];
        let next = conversation.receive(clock.now(), &mut rest, &mut replies);
        let taken = received.len() - rest.len();
        received.drain(..taken);
        let deadline = reading.patience.deadline(started);
        timeout_at(deadline, stream.write_all(&replies)).await??;
        replies.clear();
        // A long message does not leave its memory to a connection that rests.
        replies.shrink_to(reading.read_len);
        if received.is_empty() {
            received.shrink_to(reading.read_len);
        }
        match (next, arrival) {
            (Next::Read, Arrival::More) => {}
            (Next::Read, Arrival::Last) | (Next::Close, _) => return Ok(()),
            (Next::End, _) => {
                let _ = timeout(LINGER, linger(&mut stream)).await;
                return Ok(());
            }
        }
    }
}

/// Whether the peer may say more.
enum Arrival {
    More,
    Last,
}

/// Waits for bytes, and takes those that are there.
async fn gather(stream: &TcpStream, reading: Reading, received: &mut Vec<u8>) -> io::Result<Arrival> {
    let enough = received.len() + reading.gather_len;
    stream.readable().await?;
    while received.len() < enough {
        let start = received.len();
        received.resize(start + reading.read_len, 0);
        let read = stream.try_read(received.get_mut(start..).unwrap_or_default());
        received.truncate(start + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => return Ok(Arrival::Last),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Arrival::More)
}

/// Ends the sending side and reads what is left: a socket closed with bytes unread resets the connection, and the
/// last reply with it.
async fn linger(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut left = LINGER_LEN;
    let mut buffer = [0; 512];
    while left > 0 {
        match stream.read(&mut buffer).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

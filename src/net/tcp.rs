//! The TCP worker: accepts, and carries each connection through one login.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use crate::auth::challenge::Challenge;
use crate::auth::conversation::{BUFFER_LEN, Conversation};
use crate::net::connections::{Connections, Place};
use crate::net::{Clock, DRAIN, Stop, Transport};
use crate::report;
use crate::users::Users;

/// The time for a whole login.
const LOGIN_DEADLINE: Duration = Duration::from_secs(10);
/// How long, and for how many bytes, a connection is read after its verdict, so that no reset overtakes it.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_LEN: usize = 64 * 1024;
/// Connections that the kernel may complete before they are accepted; it caps this at net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// The pause after an error of the listener, such as a lack of descriptors, which a closed connection ends.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

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

/// Serves until told to stop, and then until the connections have ended.
pub(crate) fn serve(
    listener: TcpListener,
    users: &Arc<Users>,
    clock: Clock,
    mut stop: Stop,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (open, mut all_closed) = mpsc::channel(1);
        let worker = Rc::new(Worker { users: users.clone(), clock });
        tokio::select! {
            never = accept_for_ever(&listener, &worker, open) => match never {},
            () = stop.requested() => {}
        }
        drop(listener);
        // Each connection holds a sender, so this ends with the last of them.
        let _ = timeout(DRAIN, all_closed.recv()).await;
        Ok(())
    })
}

struct Worker {
    users: Arc<Users>,
    clock: Clock,
}

async fn accept_for_ever(
    listener: &tokio::net::TcpListener,
    worker: &Rc<Worker>,
    open: mpsc::Sender<Infallible>,
) -> Infallible {
    let connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match connections.admit(peer.ip()) {
                Ok(place) => {
                    let connection = connection(worker.clone(), stream, peer, place, open.clone());
                    tokio::task::spawn_local(connection);
                }
                Err(full) => report::turned_away(peer, full),
            },
            Err(error) => {
                report::socket_error(Transport::Tcp, &error);
                // A connection that was reset before it was accepted is no reason to wait for the next.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    sleep(ERROR_PAUSE).await;
                }
            }
        }
    }
}

async fn connection(
    worker: Rc<Worker>,
    mut stream: TcpStream,
    peer: SocketAddr,
    _place: Place,
    _open: mpsc::Sender<Infallible>,
) {
    match timeout(LOGIN_DEADLINE, login(&worker, &mut stream, peer)).await {
        Ok(Ok(End::Verdict)) => {
            let _ = timeout(LINGER, linger(&mut stream)).await;
        }
        Ok(Ok(End::NoVerdict)) => {}
        Ok(Err(error)) => report::connection_lost(peer, &error),
        Err(_) => report::too_slow(peer),
    }
}

/// How a conversation ended.
enum End {
    /// The verdict is sent.
    Verdict,
    /// The client said nonsense, or left.
    NoVerdict,
}

/// Carries one login.
async fn login(worker: &Worker, stream: &mut TcpStream, peer: SocketAddr) -> io::Result<End> {
    stream.set_nodelay(true)?;
    let mut conversation = Conversation::new(Challenge::from_random(SysRng.try_next_u64()?));
    let mut buffer = [0; BUFFER_LEN];
    let mut len = 0;
    loop {
        let read = stream.read(buffer.get_mut(len..).unwrap_or_default()).await?;
        if read == 0 {
            return Ok(End::NoVerdict);
        }
        len += read;
        let mut received = buffer.get(..len).unwrap_or_default();
        let now = worker.clock.now();
        while let Some(reaction) = conversation.receive(&worker.users, now, peer, &mut received) {
            report::event(Transport::Tcp, peer, &reaction.event);
            match reaction.reply {
                Some(reply) => stream.write_all(reply.as_ref()).await?,
                None => return Ok(End::NoVerdict),
            }
        }
        if conversation.is_over() {
            return Ok(End::Verdict);
        }
        let left = received.len();
        buffer.copy_within(len - left..len, 0);
        len = left;
    }
}

/// Ends the sending side and reads what is left: a socket closed with bytes unread resets the connection, and the
/// verdict with it.
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

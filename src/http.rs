//! HTTP connections: accepted, bounded, each with one request, and ended in order.

#![expect(clippy::disallowed_types, reason = "it accepts connections of its own kind")]

pub(crate) mod metrics;
pub(crate) mod page;
pub(crate) mod routes;
pub(crate) mod status;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::net::bind::{self, Sharing};

/// What a response is.
pub(crate) type Reply = Response<Full<Bytes>>;

/// A socket that listens.
pub(crate) type Listener = TcpListener;

/// Listens at an address that nobody else has; port 0 is any that is free.
///
/// # Errors
/// The system's word for it.
pub(crate) fn listen(address: SocketAddr) -> io::Result<(SocketAddr, Listener)> {
    let socket = bind::tcp(address, Sharing::Nobody)?;
    socket.listen(BACKLOG)?;
    let listener = Listener::from(socket);
    Ok((listener.local_addr()?, listener))
}

/// What bounds the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many there are at once. The oldest gives way to a new one: who is slow keeps nobody out.
    pub(crate) connections: usize,
    /// The longest head of a request, in bytes; hyper takes no less than 8,192.
    pub(crate) head_len: usize,
    /// Until the head has come.
    pub(crate) head_time: Duration,
    /// From the first byte to the last.
    pub(crate) time: Duration,
    /// From one connection to the next, so that a flood of them takes little of the processor.
    pub(crate) pace: Duration,
}

/// Connections that wait to be accepted: few, so that a flood of them keeps nobody waiting for long.
const BACKLOG: i32 = 128;
/// The pause after an accept that failed, as it does while descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers each connection's one request by `handler`, until `stop` is there; who is not done by then is cut off.
///
/// # Errors
/// If the listener cannot be used. What is wrong with a connection ends that one only.
pub(crate) async fn serve<H, F>(
    listener: Listener,
    limits: Limits,
    stop: impl Future<Output = ()>,
    handler: H,
) -> io::Result<()>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut open = VecDeque::new();
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    make_room(&mut open, limits.connections);
                    open.push_back(tokio::spawn(converse(stream, limits, handler.clone())));
                    if !limits.pace.is_zero() {
                        sleep(limits.pace).await;
                    }
                }
                Err(error) => {
                    warn!("cannot accept a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    for connection in open {
        connection.abort();
    }
    Ok(())
}

/// Leaves a place for one more.
fn make_room(open: &mut VecDeque<JoinHandle<()>>, places: usize) {
    open.retain(|connection| !connection.is_finished());
    if open.len() >= places
        && let Some(oldest) = open.pop_front()
    {
        oldest.abort();
    }
}

/// One request and its response, then the end: who sends or reads slowly holds a place for `limits.time` at most.
async fn converse<H, F>(stream: tokio::net::TcpStream, limits: Limits, handler: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Reply>,
{
    let service = service_fn(move |request| {
        let reply = handler(request);
        async { Ok::<_, Infallible>(reply.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_len)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(limits.time, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("HTTP: {error}"),
        Err(_) => debug!("HTTP: a connection took longer than {:?}", limits.time),
    }
}

//! An HTTP server for one request a connection, with limits on connections, bytes and time.
//!
//! At the limit, a new connection replaces the one that has gone longest without sending a whole head, so that silent
//! clients, however many, keep nobody waiting. A client that ends its side before it has its reply is taken for gone,
//! and a handler that is at work for it is dropped.

#![expect(clippy::disallowed_types, reason = "it accepts connections of its own kind")]

mod exposition;
pub(crate) mod json;
pub(crate) mod metrics;
pub(crate) mod page;
pub(crate) mod routes;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::net::bind::{self, Sharing};
use crate::net::clock::Clock;

pub use exposition::{Format, Page};
pub use routes::{LIMITS, reply, text};

/// A response with its whole body.
pub type Reply = Response<String>;

/// A TCP socket that listens.
pub type HttpListener = TcpListener;

/// Listens at an address that is not in use, and returns it; port 0 is any that is free.
///
/// # Errors
/// The address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<(SocketAddr, HttpListener)> {
    let socket = bind::tcp(address, Sharing::Exclusive)?;
    // It listens already; this makes the queue shorter.
    socket.listen(BACKLOG)?;
    let listener = HttpListener::from(socket);
    Ok((listener.local_addr()?, listener))
}

/// The limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. While all have sent their heads, more wait in the kernel's queue.
    pub connections: u32,
    /// The longest head of a request, in bytes; hyper takes no less than 8,192.
    pub head_len: usize,
    /// For the head of the request to arrive.
    pub head_time: Duration,
    /// For the whole connection.
    pub time: Duration,
    /// Between two accepts, so that a flood of connections takes little processor time.
    pub pace: Duration,
}

/// Connections that may wait to be accepted: few, so that in a flood nobody waits long.
const BACKLOG: i32 = 128;
/// Connections in progress have this long to end at a stop.
const DRAIN: Duration = Duration::from_secs(2);
/// The pause after an accept that failed, as it does while descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The pause after a log line about that, so that a lasting error does not fill the log.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Answers the one request of each connection by `handler`, until `stop` completes. The handler gets only GET and HEAD
/// requests, and no cache keeps its reply. An error of a connection ends that connection only.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve<H, F>(
    listener: HttpListener,
    limits: Limits,
    stop: impl Future<Output = ()>,
    handler: H,
) -> io::Result<()>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let permits = Arc::new(Semaphore::new(limits.connections as usize));
    let accept = async {
        let mut slots = Slots { permits: permits.clone(), silent: VecDeque::new() };
        let mut failures = AcceptFailures { clock: Clock::start(), last_logged: None };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let permit = slots.take().await;
                    let heard = Arc::new(AtomicBool::new(false));
                    let connection = serve_connection(stream, limits, heard.clone(), handler.clone());
                    let task = tokio::spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                    slots.silent.push_back(Silent { heard, task: task.abort_handle() });
                    if !limits.pace.is_zero() {
                        sleep(limits.pace).await;
                    }
                }
                // A connection that was reset before it was accepted is no reason to wait for the next.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    failures.log(&error);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    // New connections are refused at once. Those that have not ended in time are cut off.
    drop(listener);
    let _ = timeout(DRAIN, permits.acquire_many(limits.connections)).await;
    Ok(())
}

/// The slots for connections.
struct Slots {
    permits: Arc<Semaphore>,
    /// The connections that may not have sent their head yet, oldest first.
    silent: VecDeque<Silent>,
}

impl Slots {
    /// Waits for a slot. If all are taken, the oldest connection that is silent loses its own.
    async fn take(&mut self) -> Option<OwnedSemaphorePermit> {
        self.silent.retain(Silent::is_still);
        if self.permits.available_permits() == 0
            && let Some(oldest) = self.silent.pop_front()
        {
            debug!("HTTP: all connections are in use: closing an idle one");
            oldest.task.abort();
        }
        // The semaphore is never closed.
        self.permits.clone().acquire_owned().await.ok()
    }
}

/// Errors of the listener, of which few are logged.
struct AcceptFailures {
    clock: Clock,
    last_logged: Option<Duration>,
}

impl AcceptFailures {
    fn log(&mut self, error: &io::Error) {
        let uptime = self.clock.now().uptime;
        if self.last_logged.is_none_or(|last| uptime >= last + LOG_PAUSE) {
            self.last_logged = Some(uptime);
            warn!("HTTP: cannot accept a connection: {error}; still serving");
        }
    }
}

/// A connection that had not sent its head when it was last checked.
struct Silent {
    heard: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Silent {
    fn is_still(&self) -> bool {
        !self.heard.load(Ordering::Relaxed) && !self.task.is_finished()
    }
}

/// Serves one request. A slow client holds a permit for `limits.time` at most.
async fn serve_connection<H, F>(
    stream: tokio::net::TcpStream,
    limits: Limits,
    heard: Arc<AtomicBool>,
    handler: H,
) where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Reply>,
{
    let service = service_fn(move |request| {
        heard.store(true, Ordering::Relaxed);
        let is_known = [Method::GET, Method::HEAD].contains(request.method());
        let reply = is_known.then(|| handler(request));
        async {
            let mut reply = match reply {
                Some(reply) => reply.await,
                None => method_not_allowed(),
            };
            reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok::<_, Infallible>(reply)
        }
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

fn method_not_allowed() -> Reply {
    let mut reply = Reply::new("only GET and HEAD\n".into());
    *reply.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    reply
}

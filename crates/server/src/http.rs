//! HTTP connections: accepted, bounded, each with one request, and ended in order.
//!
//! Where all places are taken, whoever has gone longest without sending a whole head makes room. So nobody waits for
//! those who are silent, however many they are. Whoever ends their side before the reply has left, and a reply that is
//! not made yet is not waited for.

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
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::net::bind::{self, Sharing};
use crate::net::clock::Clock;

/// What a response is.
pub type Reply = Response<String>;

/// A socket that listens.
pub type Listener = TcpListener;

/// Listens at an address that nobody else has; port 0 is any that is free.
///
/// # Errors
/// The system's word for it.
pub fn listen(address: SocketAddr) -> io::Result<(SocketAddr, Listener)> {
    let socket = bind::tcp(address, Sharing::Nobody)?;
    socket.listen(BACKLOG)?;
    let listener = Listener::from(socket);
    Ok((listener.local_addr()?, listener))
}

/// What bounds the connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many there are at once. While all have sent their heads, others wait in the kernel's queue.
    pub connections: u32,
    /// The longest head of a request, in bytes; hyper takes no less than 8,192.
    pub head_len: usize,
    /// Until the head has come.
    pub head_time: Duration,
    /// From the first byte to the last.
    pub time: Duration,
    /// From one connection to the next, so that a flood of them takes little of the processor.
    pub pace: Duration,
}

/// Connections that wait to be accepted: few, so that a flood of them keeps nobody waiting for long.
const BACKLOG: i32 = 128;
/// How long connections in progress may take to end.
const DRAIN: Duration = Duration::from_secs(2);
/// The pause after an accept that failed, as it does while descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The pause after a report of that, so that a lasting lack does not fill the log.
const REPORT_PAUSE: Duration = Duration::from_secs(10);

/// Answers each connection's one request by `handler`, until `stop` is there. The handler gets GET and HEAD alone, and
/// no cache keeps its reply.
///
/// # Errors
/// If the listener cannot be used. What is wrong with a connection ends that one only.
pub async fn serve<H, F>(
    listener: Listener,
    limits: Limits,
    stop: impl Future<Output = ()>,
    handler: H,
) -> io::Result<()>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(limits.connections as usize));
    let accept = async {
        let (mut silent, clock, mut last_report) = (VecDeque::new(), Clock::start(), None);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    silent.retain(Silent::is_still);
                    if places.available_permits() == 0
                        && let Some(oldest) = silent.pop_front()
                    {
                        debug!("HTTP: all places are taken, so one that is silent is closed");
                        oldest.task.abort();
                    }
                    // The semaphore is never closed.
                    let Ok(place) = places.clone().acquire_owned().await else { return };
                    let heard = Arc::new(AtomicBool::new(false));
                    let connection = converse(stream, limits, heard.clone(), handler.clone());
                    let task = tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                    silent.push_back(Silent { heard, task: task.abort_handle() });
                    if !limits.pace.is_zero() {
                        sleep(limits.pace).await;
                    }
                }
                // One that was reset before it was accepted is no reason to wait for the next.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    let uptime = clock.now().uptime;
                    if last_report.is_none_or(|last| uptime >= last + REPORT_PAUSE) {
                        last_report = Some(uptime);
                        warn!("HTTP: cannot accept a connection: {error}; going on");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    // Who comes now is told at once that there is nobody. Who has not ended by the end is cut off.
    drop(listener);
    let _ = timeout(DRAIN, places.acquire_many(limits.connections)).await;
    Ok(())
}

/// A connection whose head has not come when it was last looked at.
struct Silent {
    heard: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Silent {
    fn is_still(&self) -> bool {
        !self.heard.load(Ordering::Relaxed) && !self.task.is_finished()
    }
}

/// One request and its response, then the end: who sends or reads slowly holds a place for `limits.time` at most.
async fn converse<H, F>(stream: tokio::net::TcpStream, limits: Limits, heard: Arc<AtomicBool>, handler: H)
where
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

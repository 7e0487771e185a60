//! HTTP connections: accepted, bounded, each with one request, and ended in order.

#![expect(clippy::disallowed_types, reason = "it accepts connections of its own kind")]

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// What a response is.
pub(crate) type Reply = Response<Full<Bytes>>;

/// What bounds the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many there are at once. Others wait in the kernel's queue.
    pub(crate) connections: u32,
    /// The longest head of a request, in bytes; hyper takes no less than 8,192.
    pub(crate) head_len: usize,
    /// Until the head has come.
    pub(crate) head_time: Duration,
    /// From the first byte to the last.
    pub(crate) time: Duration,
}

/// How long connections in progress may take to end.
const DRAIN: Duration = Duration::from_secs(2);
/// The pause after an accept that failed, as it does while descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers each connection's one request by `handler`, until `stop` is there.
///
/// # Errors
/// If the listener cannot be used. What is wrong with a connection ends that one only.
pub(crate) async fn serve<H, F>(
    listener: TcpListener,
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
    let places = Arc::new(Semaphore::new(limits.connections as usize));
    let accept = async {
        // The semaphore is never closed, so this goes on for as long as it is asked to.
        while let Ok(place) = places.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = converse(stream, limits, handler.clone());
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
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
    // Whoever has not ended by then is cut off.
    let _ = timeout(DRAIN, places.acquire_many(limits.connections)).await;
    Ok(())
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

//! The paths that `--http` serves.

use std::future::{pending, ready};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Request, Response, StatusCode};
use tracing::warn;

use super::exposition::Format;
use super::{HttpListener, Limits, Reply, json, metrics, page};
use crate::status::Status;

/// The limits of connections for monitoring.
pub const LIMITS: Limits = Limits {
    connections: 16,
    head_len: 8192,
    head_time: Duration::from_secs(5),
    time: Duration::from_secs(10),
    pace: Duration::from_millis(2),
};
/// Bytes of a connection: more than the head of a request and its answer take together.
pub(crate) const CONNECTION_BYTES: usize = 64 * 1024;

const TEXT: &str = "text/plain; charset=utf-8";

/// Serves the status of a server over HTTP for as long as it runs.
pub(crate) async fn serve(listener: HttpListener, status: Arc<Status>) {
    let shown = status.clone();
    let answer = move |request: Request<Incoming>| ready(answer(&shown, &request));
    let served = super::serve(listener, LIMITS, pending(), answer);
    tokio::select! {
        result = served => {
            if let Err(error) = result {
                warn!("HTTP: {error}: the status page and metrics are not served");
            }
        }
        never = status.sample() => match never {},
    }
}

/// Answers a GET or HEAD. The body of a request is ignored.
fn answer<B>(status: &Arc<Status>, request: &Request<B>) -> Reply {
    match request.uri().path() {
        "/" => status_page(),
        "/metrics" => {
            let accept = request.headers().get_all(ACCEPT).iter();
            let is_open = accept.filter_map(|value| value.to_str().ok()).any(metrics::names_openmetrics);
            let format = if is_open { Format::OpenMetrics } else { Format::Plain };
            reply(StatusCode::OK, format.content_type(), metrics::page(status, format))
        }
        "/status.json" => reply(StatusCode::OK, "application/json", json::page(status)),
        "/healthz" => health(status.health()),
        "/livez" => health(status.liveness()),
        _ => text(StatusCode::NOT_FOUND, "not found: try /, /metrics, /healthz, /livez or /status.json\n"),
    }
}

fn status_page() -> Reply {
    let mut reply = reply(StatusCode::OK, "text/html; charset=utf-8", page::PAGE);
    let headers = [(CONTENT_SECURITY_POLICY, page::POLICY), (REFERRER_POLICY, "no-referrer")];
    reply.headers_mut().extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    reply
}

fn health(state: Result<(), String>) -> Reply {
    match state {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// A reply in plain text.
pub fn text(status: StatusCode, body: impl Into<String>) -> Reply {
    reply(status, TEXT, body)
}

/// A reply with a body of some type.
pub fn reply(status: StatusCode, kind: &'static str, body: impl Into<String>) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    let headers = [(CONTENT_TYPE, kind), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    reply.headers_mut().extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    reply
}

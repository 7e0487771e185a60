//! Metrics and health over HTTP.

use std::future::{pending, ready};
use std::time::Duration;

use hyper::StatusCode;
use server::http::{Format, HttpListener, LIMITS, Page, Reply, reply, serve, text};
use server::net::clock::Clock;
use tokio::sync::watch;
use tracing::warn;

use crate::status::Status;

/// Serves metrics and health for as long as the program runs.
pub(crate) async fn monitor(
    listener: HttpListener,
    status: watch::Receiver<Status>,
    stale_after: Duration,
    clock: Clock,
) {
    let served = serve(listener, LIMITS, pending(), move |request| {
        ready(answer(request.uri().path(), &status.borrow(), stale_after, clock.now().unix_s))
    });
    if let Err(error) = served.await {
        warn!("HTTP: {error}: metrics and health are not served");
    }
}

fn answer(path: &str, status: &Status, stale_after: Duration, now_unix_s: u64) -> Reply {
    match path {
        "/metrics" => metrics(status, now_unix_s),
        "/healthz" => match status.health(stale_after, now_unix_s) {
            Ok(state) => text(StatusCode::OK, format!("{state}\n")),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        "/livez" => text(StatusCode::OK, "ok\n"),
        _ => text(StatusCode::NOT_FOUND, "not found: try /metrics, /healthz or /livez\n"),
    }
}

fn metrics(status: &Status, now_unix_s: u64) -> Reply {
    let revision = |position: Option<users::synced::Position>| {
        position.map_or(0, |position| u64::try_from(position.revision).unwrap_or(0))
    };
    let mut page = Page::new(Format::Plain);
    page.gauge(
        "letmein_sync_revision",
        "The revision of the users in the folder.",
        revision(status.position),
    );
    page.gauge("letmein_sync_lag", "Revisions by which they are behind the database.", status.lag());
    if let Some(age) = status.age(now_unix_s) {
        page.gauge(
            "letmein_sync_age_seconds",
            "Time since the users were last as the database had them.",
            age.as_secs(),
        );
    }
    page.gauge(
        "letmein_sync_held",
        "Whether a set of users waits for SIGHUP, since it has fewer than half as many.",
        status.held_users.is_some().into(),
    );
    if let Some(nodes) = status.nodes {
        page.gauge(
            "letmein_sync_nodes",
            "Nodes that follow the database, with this one.",
            nodes.get().into(),
        );
    }
    page.counter("letmein_sync_loads", "How often all users were loaded.", status.loads);
    page.counter("letmein_sync_batches", "How often changes were taken.", status.batches);
    page.counter("letmein_sync_invalid_rows", "Rows that were no users.", status.invalid_rows);
    page.counter("letmein_sync_failures", "Attempts that failed.", status.failures);
    if let Some(exchanged) = status.exchanged {
        page.counter(
            "letmein_sync_exchanges",
            "How often failed logins were exchanged with other nodes.",
            exchanged.rounds,
        );
        page.counter("letmein_sync_exchange_failures", "How often they were not.", exchanged.failures);
    }
    reply(StatusCode::OK, Format::Plain.content_type(), page.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use users::synced::Position;

    fn followed() -> Status {
        let position = |revision| Some(Position { revision, stamp: [0; 16] });
        Status { position: position(5), head: position(7), confirmed_unix_s: Some(1000), ..Status::default() }
    }

    fn health(status: &Status, now_unix_s: u64) -> (u16, String) {
        let reply = answer("/healthz", status, Duration::from_secs(60), now_unix_s);
        (reply.status().as_u16(), reply.into_body())
    }

    #[test]
    fn health_tells_what_is_wrong() {
        assert_eq!(health(&followed(), 1060), (200, "ok: the users are 60 s old\n".into()));
        assert_eq!(health(&followed(), 1061), (503, "the users are 61 s old\n".into()));
        // A clock that was set back makes nothing older.
        assert_eq!(health(&followed(), 900), (200, "ok: the users are 0 s old\n".into()));
        assert_eq!(health(&Status::default(), 1000), (503, "no users yet\n".into()));
        let held = Status { held_users: Some(3), ..followed() };
        assert_eq!(
            health(&held, 1000),
            (503, "the database has only 3 users, which wait for SIGHUP\n".into())
        );
        let restarted = Status { confirmed_unix_s: None, ..followed() };
        assert_eq!(
            health(&restarted, 1000),
            (503, "the users were not compared with the database yet\n".into())
        );
    }

    #[test]
    fn metrics_tell_how_far_the_node_is() {
        let page = metrics(&followed(), 1003).into_body();
        for line in [
            "letmein_sync_revision 5",
            "letmein_sync_lag 2",
            "letmein_sync_age_seconds 3",
            "letmein_sync_held 0",
        ] {
            assert!(page.lines().any(|it| it == line), "{line} in {page}");
        }
    }
}

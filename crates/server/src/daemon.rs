//! Running a server: load the users, bind the sockets, serve, and stop in order.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::age::{self, Confirmation};
use crate::announce::{Crowd, Facts, announce, warn_of_unspoken};
use crate::cluster;
use crate::descriptors;
use crate::directory::{Directory, Nodes, Reloads};
use crate::doors::{Door, OtherLoopback, listen};
pub use crate::error::ServerError;
use crate::fleet::{self, Exchange};
use crate::http::{self, HttpListener, routes};
use crate::limits::{self, Limit};
use crate::log::{BlockLog, EventLog, audit};
use crate::manager::Manager;
pub use crate::net::bind::Bound;
use crate::net::clock::Clock;
use crate::net::connections::Connections;
pub use crate::net::passed::PassedError;
use crate::net::services::logins::LoginConnection;
use crate::net::workers::{Running, Workers};
use crate::privileges;
use crate::reload::{CheckedSource, Reloader, WatchedSource};
use crate::settings::{self, Config, Logins, Reasons, Service};
use crate::signals::Signals;
use crate::status::Status;
use proto::server::Keys;
use proto::server::penalty::Penalties;

/// Runs a server until a signal stops it, with the sockets that a service manager has passed, or its own.
///
/// # Errors
/// The server cannot start, or cannot go on.
pub fn run(config: &Config, passed: Option<Bound>) -> Result<(), ServerError> {
    descriptors::raise_limit();
    let clock = Clock::start();
    let manager = Manager::from_env();
    let Prepared { workers, others, directory, source, mut writer, http, exchange } =
        prepare(config, passed)?;
    let status = directory.as_ref().map(|it| status(config, &workers, it.clone(), writer.as_ref(), clock));
    let Workers { doors, work, counters, buffers } = workers;
    let facts = Facts {
        doors,
        others,
        users: directory.as_ref().map(|it| it.users.load().len()),
        http: http.as_ref().map(HttpListener::local_addr).transpose()?,
        buffers,
        memory_bytes: limits(config).iter().map(|limit| limit.bytes).sum(),
        crowd: Crowd::of(config),
    };
    privileges::give_up(config, source.as_ref(), writer.as_mut())?;
    let (reopen, audit_end) = writer.map(|writer| writer.start(clock)).transpose()?.unzip();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let (hangups, lifts) = (signal(SignalKind::hangup())?, signal(SignalKind::user_defined1())?);
        let reloader = directory.clone().zip(source);
        let reloader = reloader
            .map(|(directory, source)| Reloader::new(directory, source, reopen, clock, &manager))
            .transpose()?;
        // The sockets are bound, so clients that come now are served as soon as the workers run.
        let ready = announce(config, &facts)?;
        if let Some(directory) = &directory {
            let users = directory.users.load();
            cluster::log_keys(&users, clock.now());
            warn_of_unspoken(directory.mechanisms, &users);
        }
        let mut running = Running::start(work, clock)?;
        manager.ready(&ready.join("; "));
        if let (Some(http), Some(status)) = (http, &status) {
            // Monitoring goes on while logins in progress end, and ends with the runtime.
            tokio::spawn(routes::serve(http, status.clone()));
        }
        let early = tokio::select! {
            name = signals.next() => {
                info!("{name}: stopping");
                Ok(())
            }
            result = running.ended() => result,
            never = reload(reloader, hangups, &manager) => match never {},
            never = manager.attend(&counters, directory.as_ref().map(|it| &it.users)) => match never {},
            never = cluster::follow(directory.as_deref(), clock) => match never {},
            never = age::follow(directory.as_deref(), clock) => match never {},
            result = fleet::follow(exchange, directory.as_deref(), clock) => match result {
                Ok(never) => match never {},
                Err(error) => Err(error),
            },
            never = follow_blocks(directory.as_deref(), lifts, clock) => match never {},
        };
        manager.stopping();
        if let Some(status) = &status {
            status.stop();
        }
        Ok(early.and(running.stop().await)?)
    });
    if let Some(end) = audit_end {
        // The audit writes all decisions, unless its target blocks.
        let _ = end.recv_timeout(Running::STOP_MAX);
    }
    // The server does not wait for a reload that is under way.
    runtime.shutdown_background();
    ended
}

/// Reloads the users, if there are any, for as long as the server runs.
async fn reload(reloader: Option<Reloader<'_>>, mut hangups: Signal, manager: &Manager) -> Infallible {
    if let Some(reloader) = reloader {
        return reloader.run(hangups).await;
    }
    loop {
        hangups.recv().await;
        manager.reloading();
        info!("SIGHUP: this service has no users file to reload");
        manager.ready("no users file to reload");
    }
}

/// Logs the blocks, if this service blocks anybody, and lifts all on SIGUSR1, for as long as the server runs.
async fn follow_blocks(directory: Option<&Directory>, mut lifts: Signal, clock: Clock) -> Infallible {
    let Some(directory) = directory else {
        loop {
            lifts.recv().await;
            info!("SIGUSR1: this service blocks nobody");
        }
    };
    let lift = async {
        loop {
            lifts.recv().await;
            let lifted = directory.lift_blocks(clock.now().uptime);
            info!("SIGUSR1: blocks lifted: {lifted}; all failed logins are forgotten");
        }
    };
    tokio::select! {
        never = directory.blocks.follow(|| clock.now().uptime) => never,
        never = lift => never,
    }
}

/// A server that has everything but threads.
struct Prepared {
    workers: Workers,
    others: Vec<OtherLoopback>,
    directory: Option<Arc<Directory>>,
    source: Option<WatchedSource>,
    writer: Option<audit::AuditWriter>,
    http: Option<HttpListener>,
    exchange: Option<Exchange>,
}

fn prepare(config: &Config, mut passed: Option<Bound>) -> Result<Prepared, ServerError> {
    let keys = draw_keys()?;
    let mut others = Vec::new();
    let mut bind = |door: &Door| {
        let listening =
            passed.take().map_or_else(|| listen(door), |bound| Ok((bound, OtherLoopback::NotAsked)));
        let (bound, other) = listening.map_err(cannot_bind(door))?;
        others.push(other);
        Ok::<_, ServerError>(bound)
    };
    match &config.service {
        Service::Logins(logins) => {
            let Logins { mechanisms, limits, nodes, exchange, .. } = logins;
            let Logins { unknown_names, stale_refuse, audit, http, .. } = logins;
            let (users, source) = WatchedSource::load(CheckedSource::of(logins, config)?)?;
            let audit = audit.as_ref().map(|target| {
                audit::audit(target, *unknown_names, &keys.names)
                    .map_err(|error| ServerError::Audit { target: target.clone(), error })
            });
            let (audit, writer) = audit.transpose()?.unzip();
            let blocks = Arc::<BlockLog>::default();
            let threads = config.all_threads();
            // The workers alone keep it, so that the audit ends with the last of them.
            let log = EventLog::new(*unknown_names, &keys.names, audit, blocks.clone());
            let exchange =
                exchange.as_ref().map(|path| Exchange::listen(path, config.user.as_deref())).transpose()?;
            let penalties = Penalties::new(&keys.sources, limits.clone());
            let penalties = if exchange.is_some() { penalties.with_pool() } else { penalties };
            let directory = Arc::new(Directory {
                users: ArcSwap::from_pointee(users),
                reloads: Reloads::default(),
                confirmation: Confirmation::new(*stale_refuse, source.checked.suspension.clone()),
                nodes: Nodes::at_least(*nodes),
                penalties: Arc::new(penalties),
                mechanisms: *mechanisms,
                connections: Connections::for_threads(threads, LoginConnection::READING.memory_max),
                blocks,
                keys,
            });
            let mut workers = Workers::default();
            for door in config.doors() {
                let added = workers.add_logins(door.kind(), bind(door)?, &directory, &log);
                added.map_err(cannot_bind(door))?;
            }
            let http = http.map(|http| listen_for_http(http.address)).transpose()?;
            let (directory, source) = (Some(directory), Some(source));
            Ok(Prepared { workers, others, directory, source, writer, http, exchange })
        }
        Service::Small(service, verbosity) => {
            let door = &config.door;
            let workers = Workers::small(*service, *verbosity, door.kind(), bind(door)?, &keys);
            let workers = workers.map_err(cannot_bind(door))?;
            let (directory, source, writer, http, exchange) = (None, None, None, None, None);
            Ok(Prepared { workers, others, directory, source, writer, http, exchange })
        }
    }
}

fn cannot_bind(door: &Door) -> impl FnOnce(io::Error) -> ServerError {
    |error| ServerError::Bind { transport: door.transport, address: door.address.clone(), error }
}

fn listen_for_http(address: SocketAddr) -> Result<HttpListener, ServerError> {
    let (_, listener) = http::listen(address).map_err(|error| ServerError::Http { address, error })?;
    Ok(listener)
}

/// The status of a server that is about to run.
fn status(
    config: &Config,
    workers: &Workers,
    directory: Arc<Directory>,
    writer: Option<&audit::AuditWriter>,
    clock: Clock,
) -> Arc<Status> {
    let (reasons, stale_after) = match &config.service {
        Service::Logins(Logins { http, stale_after, .. }) => {
            (http.map_or(Reasons::Hidden, |http| http.reasons), *stale_after)
        }
        Service::Small(..) => (Reasons::Hidden, Duration::MAX),
    };
    Arc::new(Status {
        server: settings::program(config.door.transport),
        reasons,
        stale_after,
        doors: workers.doors.clone(),
        counters: workers.counters.clone(),
        directory,
        losses: writer.map(audit::AuditWriter::losses),
        clock,
        started_unix_s: clock.now().unix_s,
        is_stopping: false.into(),
        samples: Mutex::default(),
    })
}

/// The limits of a server, on this machine.
#[must_use]
pub fn limits(config: &Config) -> Vec<Limit> {
    limits::of(config, descriptors::limit())
}

fn draw_keys() -> io::Result<Keys> {
    Ok(Keys::draw(|key| SysRng.try_fill_bytes(key))?)
}

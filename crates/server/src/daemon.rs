//! Running a server: load the users, bind the sockets, serve, and stop in order.

use std::convert::Infallible;
use std::future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::TryRng;
use rand::rngs::SysRng;
use rustix::process::{Uid, geteuid};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::descriptors;
use crate::directory::{Directory, Reloads};
use crate::doors::{Door, advise, listen};
pub use crate::error::ServerError;
use crate::http::{self, routes};
use crate::limits::{self, Limit};
use crate::log::audit::AuditTarget;
use crate::log::{BlockLog, EventLog, audit};
use crate::manager::Manager;
pub use crate::net::bind::Bound;
use crate::net::clock::{Clock, Stop};
use crate::net::connections::Connections;
pub use crate::net::passed::PassedError;
use crate::net::services::logins::LoginConnection;
use crate::net::workers::{Work, Workers};
use crate::reload::{CheckedSource, Reloader, WatchedSource};
use crate::sandbox::self_test::SelfTest;
use crate::sandbox::{self, Needs, Network};
use crate::settings::{self, Config, Logins, Reasons, SampleUsers, Service};
use crate::signals::Signals;
use crate::status::Status;
use proto::server::Keys;
use proto::server::penalty::Penalties;
use proto::transport::Transport;
use users::{Source, UsersError, UsersFile};

/// Runs a server until a signal stops it, with the sockets that a service manager has passed, or its own.
///
/// # Errors
/// The server cannot start, or cannot go on.
pub fn run(config: &Config, passed: Option<Bound>) -> Result<(), ServerError> {
    descriptors::raise_limit();
    let clock = Clock::start();
    let manager = Manager::from_env();
    let Prepared { workers, directory, source, mut writer, http } = prepare(config, passed)?;
    let status = directory.as_ref().map(|it| status(config, &workers, it.clone(), writer.as_ref(), clock));
    let Workers { doors, work, counters } = workers;
    let bytes: usize = limits(config).iter().map(|limit| limit.bytes).sum();
    info!("memory beside the users: at most {} MiB; --limits says for what", bytes.div_ceil(1 << 20));
    give_up_privileges(config, source.as_ref(), writer.as_mut())?;
    let (reopen, audit_end) = writer.map(|writer| writer.start(clock)).transpose()?.unzip();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let (mut signals, hangups) = (Signals::install()?, signal(SignalKind::hangup())?);
        let lifts = signal(SignalKind::user_defined1())?;
        let (stop_sender, stop) = Stop::new();
        let reloader = directory.clone().zip(source);
        let reloader = reloader
            .map(|(directory, source)| Reloader::new(directory, source, reopen, clock, &manager))
            .transpose()?;
        // The sockets are bound, so clients that come now are served as soon as the workers run.
        let ready = announce(config, &doors)?;
        let mut running = start(work, clock, &stop)?;
        manager.ready(&ready.join("; "));
        if let (Some(http), Some(status)) = (http, &status) {
            // Monitoring goes on while logins in progress end, and ends with the runtime.
            tokio::spawn(routes::serve(http, status.clone()));
        }
        drop(stop);
        let early = tokio::select! {
            name = signals.next() => {
                info!("{name}: stopping");
                Ok(())
            }
            result = all_ended(&mut running) => result,
            never = reload(reloader, hangups, &manager) => match never {},
            never = manager.attend(&counters, directory.as_ref().map(|it| &it.users)) => match never {},
            never = follow_blocks(directory.as_deref(), clock) => match never {},
            never = lift_blocks(directory.as_deref(), lifts, clock) => match never {},
        };
        manager.stopping();
        if let Some(status) = &status {
            status.stop();
        }
        // Workers end the logins in progress. The server does not wait for one that blocks on standard output because
        // nobody reads it.
        drop(stop_sender);
        early.and(timeout(STOP_MAX, all_ended(&mut running)).await.unwrap_or(Ok(())))
    });
    if let Some(end) = audit_end {
        // The audit writes all decisions, unless its target blocks.
        let _ = end.recv_timeout(STOP_MAX);
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
        info!("SIGHUP: this service has no file to read again");
        manager.ready("no file to read again");
    }
}

/// Logs blocks, if this service blocks anybody, for as long as the server runs.
async fn follow_blocks(directory: Option<&Directory>, clock: Clock) -> Infallible {
    match directory {
        Some(directory) => directory.blocks.follow(|| clock.now().uptime).await,
        None => future::pending().await,
    }
}

/// Lifts all blocks on SIGUSR1, for as long as the server runs.
async fn lift_blocks(directory: Option<&Directory>, mut lifts: Signal, clock: Clock) -> Infallible {
    loop {
        lifts.recv().await;
        let Some(directory) = directory else {
            info!("SIGUSR1: this service blocks nobody");
            continue;
        };
        let lifted = directory.lift_blocks(clock.now().uptime);
        info!("SIGUSR1: blocks lifted: {lifted}; all failed logins are forgotten");
    }
}

/// Checks the files that a server needs, and returns its settings with the number of its users. It binds no socket, so
/// another server may be running, and makes no file. Afterwards this process has the rights that the server would have.
///
/// # Errors
/// The server could not start, or could not read its files again.
pub fn check(config: &Config) -> Result<Vec<(&'static str, String)>, ServerError> {
    let mut settings = settings::of(config);
    if let Service::Logins(Logins { users: path, sample_users, audit, .. }) = &config.service {
        let mut checked = checked_source(path, *sample_users, config)?;
        let (users, _) = checked.load()?;
        if users.is_empty() {
            return Err(ServerError::NoUsers(path.clone()));
        }
        settings.push(("users", users.len().to_string()));
        let folder = audit.as_ref().map(audit_folder).transpose()?.flatten();
        become_user(config)?;
        checked.source.settle()?;
        if let (Some(target), Some(folder)) = (audit, folder) {
            target.check(&folder).map_err(|error| ServerError::Audit { target: target.clone(), error })?;
        }
    } else {
        become_user(config)?;
    }
    Ok(settings)
}

fn checked_source(
    users: &Path,
    sample_users: SampleUsers,
    config: &Config,
) -> Result<CheckedSource, ServerError> {
    let source = Box::new(users_file(users, config)?);
    Ok(CheckedSource { source, sample_users, address: config.widest() })
}

/// The users file, to be read as the user that the server changes to.
fn users_file(path: &Path, config: &Config) -> Result<UsersFile, ServerError> {
    let reader = match &config.user {
        Some(name) => sandbox::find_user(name)
            .map(|user| Uid::from_raw(user.uid.as_raw()))
            .map_err(|error| ServerError::User { user: name.clone(), error })?,
        None => geteuid(),
    };
    Ok(UsersFile::new(path)?.read_by(reader)?)
}

fn audit_folder(target: &AuditTarget) -> Result<Option<OwnedFd>, ServerError> {
    target.folder().map_err(|error| ServerError::Audit { target: target.clone(), error })
}

fn become_user(config: &Config) -> Result<(), ServerError> {
    let Some(user) = &config.user else { return Ok(()) };
    sandbox::become_user(user).map_err(|error| ServerError::User { user: user.clone(), error })
}

/// Workers have this long to stop, more than [`DRAIN`](crate::net::clock::DRAIN) gives to logins in progress.
const STOP_MAX: Duration = Duration::from_secs(3);

/// A server that has everything but threads.
struct Prepared {
    workers: Workers,
    directory: Option<Arc<Directory>>,
    source: Option<WatchedSource>,
    writer: Option<audit::Writer>,
    http: Option<http::Listener>,
}

fn prepare(config: &Config, mut passed: Option<Bound>) -> Result<Prepared, ServerError> {
    let keys = draw_keys()?;
    let mut bind = |door: &Door| {
        let cannot_bind = |error| ServerError::Bind { address: door.address, error };
        passed.take().map_or_else(|| listen(door), Ok).map_err(cannot_bind)
    };
    match &config.service {
        Service::Logins(Logins { users, limits, unknown_names, audit, sample_users, http, .. }) => {
            let (users, source) = WatchedSource::load(checked_source(users, *sample_users, config)?)?;
            info!("users: {}", users.len());
            let audit = audit.as_ref().map(|target| {
                audit::audit(target, *unknown_names, &keys.names)
                    .map_err(|error| ServerError::Audit { target: target.clone(), error })
            });
            let (audit, writer) = audit.transpose()?.unzip();
            let blocks = Arc::<BlockLog>::default();
            let threads = config.all_threads();
            let directory = Arc::new(Directory {
                users: ArcSwap::from_pointee(users),
                reloads: Reloads::default(),
                penalties: Arc::new(Penalties::new(&keys.sources, limits.clone())),
                connections: Connections::for_threads(threads, LoginConnection::READING.memory_max),
                log: EventLog::new(*unknown_names, &keys.names, audit, blocks.clone()),
                blocks,
                keys,
            });
            let mut workers = Workers::default();
            for door in config.doors() {
                let added = workers.add_logins(door.transport, bind(door)?, &directory);
                added.map_err(|error| ServerError::Bind { address: door.address, error })?;
            }
            let http = http.map(|http| listen_for_http(http.address)).transpose()?;
            Ok(Prepared { workers, directory: Some(directory), source: Some(source), writer, http })
        }
        Service::Small(service, verbosity) => {
            let door = &config.door;
            let workers = Workers::small(*service, *verbosity, bind(door)?, &keys);
            let workers = workers.map_err(|error| ServerError::Bind { address: door.address, error })?;
            Ok(Prepared { workers, directory: None, source: None, writer: None, http: None })
        }
    }
}

fn listen_for_http(address: SocketAddr) -> Result<http::Listener, ServerError> {
    let (bound, listener) = http::listen(address).map_err(|error| ServerError::Http { address, error })?;
    info!("HTTP: for monitoring at http://{bound}/");
    if !bound.ip().to_canonical().is_loopback() {
        warn!(
            "HTTP: other machines can read the numbers at {bound}, without encryption; 127.0.0.1 is for this one only"
        );
    }
    Ok(listener)
}

/// The status of a server that is about to run.
fn status(
    config: &Config,
    workers: &Workers,
    directory: Arc<Directory>,
    writer: Option<&audit::Writer>,
    clock: Clock,
) -> Arc<Status> {
    let reasons = match &config.service {
        Service::Logins(Logins { http: Some(http), .. }) => http.reasons,
        Service::Logins(Logins { http: None, .. }) | Service::Small(..) => Reasons::Hidden,
    };
    Arc::new(Status {
        server: settings::program(config.door.transport),
        reasons,
        doors: workers.doors.clone(),
        counters: workers.counters.clone(),
        directory,
        losses: writer.map(audit::Writer::losses),
        clock,
        started_unix_s: clock.now().unix_s,
        is_stopping: false.into(),
        samples: Mutex::default(),
    })
}

/// Changes the user and enters the sandbox.
fn give_up_privileges(
    config: &Config,
    source: Option<&WatchedSource>,
    writer: Option<&mut audit::Writer>,
) -> Result<(), ServerError> {
    let needed = source.map_or(Ok(Vec::new()), |source| source.checked.source.needs())?;
    become_user(config)?;
    if config.user.is_none() && geteuid().is_root() {
        warn!("running as root: give --user NAME for a user with fewer rights");
    }
    let mut append = Vec::new();
    if let Some(writer) = writer {
        let opened = writer.open();
        opened.map_err(|error| ServerError::Audit { target: writer.target().clone(), error })?;
        append.extend(writer.folder().map(OwnedFd::try_clone).transpose()?);
        if writer.folder().is_some_and(|folder| needed.iter().any(|needed| needed.is(folder))) {
            warn!(
                "the audit is in the folder of the users file, which the sandbox then lets the server write: give it one of its own"
            );
        }
    }
    let read = needed.into_iter().map(|folder| folder.descriptor).collect();
    Ok(sandbox::enter(config.sandbox, &Needs { read, append, network: network(config) })?)
}

/// Tries forbidden acts in the sandbox of a server with this configuration. Returns a line for each attempt, and
/// whether it was refused.
///
/// # Errors
/// There can be no sandbox, or the server would not use the users file.
pub fn self_test(config: &Config) -> Result<Vec<(String, bool)>, ServerError> {
    let (read, append) = match &config.service {
        Service::Logins(Logins { users, audit, .. }) => {
            let read = match users_file(users, config) {
                Ok(file) => file.needs()?.into_iter().map(|folder| folder.descriptor).collect(),
                // A missing users file does not keep the sandbox from being tested.
                Err(ServerError::Users(UsersError::Unreadable { .. })) => Vec::new(),
                Err(error) => return Err(error),
            };
            let append = audit.as_ref().map(audit_folder).transpose()?.flatten();
            (read, append.into_iter().collect())
        }
        Service::Small(..) => (Vec::new(), Vec::new()),
    };
    let needs = Needs { read, append, network: network(config) };
    let test = SelfTest::prepare(&needs)?;
    sandbox::enter(config.sandbox, &needs)?;
    Ok(test.run().iter().map(|attempt| (attempt.to_string(), attempt.is_refused())).collect())
}

fn network(config: &Config) -> Network {
    if config.threads(Transport::Udp) > 0 { Network::Datagrams } else { Network::Connections }
}

/// Prints a line for each door on standard output, for which scripts wait, logs who can reach it, and gives the lines.
fn announce(config: &Config, doors: &[(Transport, SocketAddr)]) -> io::Result<Vec<String>> {
    let lines = doors.iter().map(|(transport, address)| config.service.ready(*transport, *address));
    let lines: Vec<_> = lines.collect();
    let mut stdout = io::stdout().lock();
    for line in &lines {
        writeln!(stdout, "{line}")?;
    }
    stdout.flush()?;
    for (door, (_, address)) in config.doors().zip(doors) {
        advise(*address, door.loopbacks);
    }
    Ok(lines)
}

/// The limits of a server, on this machine.
#[must_use]
pub fn limits(config: &Config) -> Vec<Limit> {
    limits::of(config, descriptors::limit())
}

fn draw_keys() -> io::Result<Keys> {
    let mut keys = Keys { challenges: [0; 16], welcomes: [0; 16], sources: [0; 16], names: [0; 16] };
    for key in [&mut keys.challenges, &mut keys.welcomes, &mut keys.sources, &mut keys.names] {
        SysRng.try_fill_bytes(key)?;
    }
    Ok(keys)
}

/// The results of the workers.
type Running = JoinSet<io::Result<()>>;

/// Starts a thread for each worker.
fn start(workers: Vec<Work>, clock: Clock, stop: &Stop) -> io::Result<Running> {
    let mut running = JoinSet::new();
    for (number, work) in workers.into_iter().enumerate() {
        let (stop, (sender, receiver)) = (stop.clone(), oneshot::channel());
        thread::Builder::new().name(format!("worker {number}")).spawn(move || {
            // The receiver is gone if the server ends for another reason first.
            let _ = sender.send(work(clock, stop));
        })?;
        running
            .spawn(async { receiver.await.unwrap_or_else(|_| Err(io::Error::other("a worker panicked"))) });
    }
    Ok(running)
}

/// Waits for the last worker to end, or for the first to fail.
async fn all_ended(running: &mut Running) -> Result<(), ServerError> {
    while let Some(ended) = running.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    Ok(())
}

//! `letmein-sync`: keeps a folder of users as a database has them, for servers to read.
//!
//! | module | purpose |
//! |---|---|
//! | `command_line` | options and their help |
//! | `follow` | when to ask the database what, and what to do with the answer |
//! | `pace` | when to ask again |
//! | `taken` | what was taken of the database |
//! | `folder` | the files that servers read |
//! | `exchange` | failed logins, carried between servers and database |
//! | `status`, `monitor` | how far this node is; the same over HTTP |
//! | `check` | database and folder compared |

mod check;
mod command_line;
mod exchange;
mod folder;
mod follow;
mod monitor;
mod pace;
mod status;
mod taken;

use std::convert::Infallible;
use std::fmt::Display;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::thread;

use clap::CommandFactory;
use engine::Settings;
use letmein::cli::usage::{Usage, parse};
use letmein::cli::{self, ExitStatus};
use server::http;
use server::log::log_to_stderr;
use server::manager::Manager;
use server::net::clock::Clock;
use server::sandbox::{self, Needs, Network};
use server::signals::Signals;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, oneshot, watch};
use tracing::info;
use users::open_folder;

pub use command_line::Args;
use exchange::Exchange;
use folder::{Folder, FolderError};
use follow::Follower;
use monitor::monitor;
use status::Status;

const PROGRAM: &str = "letmein-sync";
const EXAMPLE: &str = "letmein-sync --engine letmein-database --folder /var/lib/letmein-sync";

pub fn run() -> Result<ExitStatus, ExitStatus> {
    let args: Args = parse(Args::command(), &Usage::without_password(EXAMPLE))?;
    sandbox::hide_memory().map_err(|error| failed(&error))?;
    let settings = Settings::load(&args.engine, PROGRAM).map_err(|error| wrong(&error))?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    if args.check {
        return check::check(&runtime, &settings, &args.folder);
    }
    log_to_stderr(args.log_format, args.log_level);
    follow(&runtime, settings, args)
}

/// Follows the database until a signal stops it.
fn follow(runtime: &Runtime, settings: Settings, args: Args) -> Result<ExitStatus, ExitStatus> {
    let folder = Folder::open(&args.folder).map_err(|error| match error {
        FolderError::Locked(_) | FolderError::Open(_) => wrong(&error),
        FolderError::Io { .. } => failed(&error),
    })?;
    let clock = Clock::start();
    let manager = Manager::from_env();
    let (status, shown) = watch::channel(Status::default());
    let told_from = shown.clone();
    let settings = Arc::new(settings);
    let node = args.node.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let keep = vec![folder.descriptor().map_err(|error| failed(&error))?];
    let listener = args.http.map(http::listen).transpose().map_err(|error| failed(&error))?;
    let needs = Needs { read: name_folders(), append: Vec::new(), keep, network: Network::Database };
    sandbox::enter(args.sandbox.into(), &needs).map_err(|error| failed(&error))?;
    let exchange = Exchange::new(settings.clone(), &node, args.exchange, status.clone());
    let follower = Follower::new(settings, folder, node, clock, status);
    let followed = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let mut hangups = signal(SignalKind::hangup())?;
        if let Some((address, listener)) = listener {
            info!("metrics and health on http://{address}/");
            tokio::spawn(monitor(listener, shown, args.stale_after, clock));
        }
        let accepted = Arc::<Notify>::default();
        let mut ended = start(follower, accepted.clone())?;
        let mut told = pin!(tell_manager(&manager, told_from));
        let mut exchanged = pin!(exchange.run());
        loop {
            tokio::select! {
                name = signals.next() => {
                    info!("{name}: stopping");
                    return Ok::<_, io::Error>(());
                }
                _ = hangups.recv() => accepted.notify_one(),
                never = &mut told => match never {},
                never = &mut exchanged => match never {},
                _ = &mut ended => return Err(io::Error::other("what follows the database has ended")),
            }
        }
    });
    followed.map(|()| ExitStatus::Done).map_err(|error| failed(&error))
}

/// Follows the database on a thread of its own: where there are millions of users, their files take it seconds, in
/// which whoever watches the program is answered, and signals stop it. The folder is then as after a kill. The receiver
/// ends if the thread panics.
fn start(mut follower: Follower, accepted: Arc<Notify>) -> io::Result<oneshot::Receiver<Infallible>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (ends, ended) = oneshot::channel();
    thread::Builder::new().name("follow".to_owned()).spawn(move || {
        let _ends = ends;
        runtime.block_on(async {
            loop {
                tokio::select! {
                    () = accepted.notified() => follower.accept(),
                    never = follower.run() => match never {},
                }
            }
        })
    })?;
    Ok(ended)
}

/// Tells the service manager once there are users, which servers that are started next will want, and from then on how
/// it goes.
async fn tell_manager(manager: &Manager, mut status: watch::Receiver<Status>) -> Infallible {
    let mut told = None;
    loop {
        let summary = status.borrow_and_update().summary();
        if let Some(summary) = summary
            && told != Some(summary)
        {
            manager.ready(summary);
            told = Some(summary);
        }
        if status.changed().await.is_err() {
            pending().await
        }
    }
}

/// Where the system says how names are looked up, as far as there are such folders.
fn name_folders() -> Vec<OwnedFd> {
    let folders = ["/etc", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager"];
    folders.iter().filter_map(|folder| open_folder(Path::new(folder)).ok()).collect()
}

fn failed(error: &dyn Display) -> ExitStatus {
    cli::failed(PROGRAM, error)
}

/// Says what is wrong with a file.
fn wrong(error: &dyn Display) -> ExitStatus {
    cli::say(format_args!("{PROGRAM}: {error}"));
    ExitStatus::Usage
}

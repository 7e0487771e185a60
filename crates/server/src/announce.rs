//! The first lines of a server: where it listens, on standard output; then, in the log, its users and hints.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread;

use rustix::process::geteuid;
use tracing::{Level, enabled, info, warn};

use crate::doors::{OtherLoopback, advise};
use crate::log::{self, Buffers};
use crate::net::address::{Address, SocketKind};
use crate::settings::{Config, GuessBudgets, Logins, Policy, Service};
use proto::mechanism::Mechanisms;
use proto::users::Users;

/// What a server that is about to serve knows of itself. In the sandbox it cannot ask for these any more.
pub(crate) struct Facts {
    /// The doors, with their addresses, in the order of the configuration.
    pub(crate) doors: Vec<(SocketKind, Address)>,
    /// What came of the other loopback address of each door.
    pub(crate) others: Vec<OtherLoopback>,
    /// The number of users, if it has any.
    pub(crate) users: Option<usize>,
    /// The address of the status page.
    pub(crate) http: Option<SocketAddr>,
    /// What the kernel queues for a UDP socket.
    pub(crate) buffers: Option<Buffers>,
    /// The memory that the limits allow.
    pub(crate) memory_bytes: usize,
    pub(crate) crowd: Option<Crowd>,
}

/// Many more workers than processors.
pub(crate) struct Crowd {
    workers: usize,
    processors: usize,
}

/// Prints a line for each door on standard output, for which scripts wait, and returns the lines. Then it logs the
/// users and hints.
pub(crate) fn announce(config: &Config, facts: &Facts) -> io::Result<Vec<String>> {
    let lines = facts.doors.iter().map(|(kind, address)| config.service.ready(*kind, address));
    let lines: Vec<_> = lines.collect();
    let mut stdout = io::stdout().lock();
    for line in &lines {
        writeln!(stdout, "{line}")?;
    }
    stdout.flush()?;
    if let Some(users) = facts.users {
        info!("users: {users}");
    }
    if let Some(address) = facts.http {
        log_http(address);
    }
    for ((kind, address), other) in facts.doors.iter().zip(&facts.others) {
        other.log(*kind, address);
    }
    let mut networks = facts.doors.iter().filter_map(|(_, address)| address.network());
    if let Some(first) = networks.next()
        && facts.doors.iter().all(|(_, address)| address.is_local())
    {
        let port = first.port();
        info!(
            "only this machine can connect; to serve others, listen on :{port} (all interfaces) or one address"
        );
    }
    for (door, (_, address)) in config.doors().zip(&facts.doors) {
        advise(address, door.loopbacks);
    }
    hint(config, facts);
    if let Some(buffers) = &facts.buffers {
        log::buffers(buffers);
    }
    Ok(lines)
}

fn log_http(address: SocketAddr) {
    info!("status page and metrics at http://{address}/");
    if !address.ip().to_canonical().is_loopback() {
        warn!(
            "HTTP: other machines can read the numbers at {address}, without encryption; \
             127.0.0.1 is for this machine only"
        );
    }
}

fn hint(config: &Config, facts: &Facts) {
    if config.user.is_none() && geteuid().is_root() {
        warn!("running as root: give --user NAME for a user with fewer rights");
    }
    if let Some(crowd) = &facts.crowd {
        crowd.warn();
    }
    warn_of_no_limits(config);
    if let Service::Logins(Logins { audit: None, .. }) = &config.service
        && !enabled!(Level::DEBUG)
    {
        info!("logins are not logged: --audit FILE records each decision");
    }
    info!("memory, without users: at most {} KiB (--limits lists it)", facts.memory_bytes.div_ceil(1024));
}

/// Warns if somebody may guess passwords as long as they like.
pub(crate) fn warn_of_no_limits(config: &Config) {
    let Service::Logins(Logins { limits, mechanisms, .. }) = &config.service else { return };
    let Policy { of_source, of_user, of_guesses, trusted } = limits;
    let speaks_opaque = mechanisms.is_none_or(|mechanisms| mechanisms.opaque);
    if of_source.is_none() && of_user.is_none() {
        warn!("failed logins are not limited: anyone can guess passwords");
    } else if *of_guesses == GuessBudgets::none() && speaks_opaque {
        warn!("guesses by OPAQUE are not limited: anyone can guess passwords");
    }
    if let Some(everybody) = trusted.iter().find(|network| network.prefix_len() == 0) {
        warn!("--trust {everybody} is every address: anyone can guess passwords");
    }
}

/// Warns of users who cannot log in, since the server does not speak their mechanism.
pub(crate) fn warn_of_unspoken(spoken: Option<Mechanisms>, users: &Users) {
    let (spoken, needed) = (spoken.unwrap_or(Mechanisms::ALL), users.mechanisms());
    if !users.is_empty() && needed.md5 && !spoken.md5 {
        warn!("--mechanisms leaves out md5: users with a password cannot log in");
    }
    if needed.opaque && !spoken.opaque {
        warn!("--mechanisms leaves out opaque: users with a record cannot log in");
    }
}

impl Crowd {
    /// Workers for each processor beyond which more are a mistake. Both transports at both loopback addresses take
    /// fewer.
    const PER_PROCESSOR: usize = 4;

    pub(crate) fn of(config: &Config) -> Option<Self> {
        let processors = thread::available_parallelism().ok()?.get();
        let workers = config.all_threads();
        (workers > Self::PER_PROCESSOR * processors).then_some(Self { workers, processors })
    }

    pub(crate) fn warn(&self) {
        let Self { workers, processors } = self;
        warn!(
            "{workers} workers for {processors} processors: they take memory and serve no faster; \
             leave out --workers for one worker each"
        );
    }
}

//! The settings of a server, and the list of them that `--check` shows.

use std::iter;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::doors::{Door, Loopbacks};
pub use crate::log::audit::AuditTarget;
pub use crate::log::{UnknownNames, Verbosity};
use crate::net::address::{Address, SocketKind};
pub use crate::net::services::small::{Serving, SmallService};
pub use crate::sandbox::Mode;
use proto::mechanism::Mechanisms;
use proto::server::penalty::GUESSES_A_DAY;
pub use proto::server::penalty::{Budget, GuessBudgets, Policy};
use proto::small::DatagramService;
use proto::transport::Transport;

/// The name of the program that serves over a transport.
#[must_use]
pub fn program(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "server-udp",
        Transport::Tcp => "server-tcp",
    }
}

/// The settings of a server, as parsed from its command line.
#[derive(Clone, Debug)]
pub struct Config {
    /// The door that the program is named after. It takes the sockets of a service manager.
    pub door: Door,
    /// What is served there.
    pub service: Service,
    /// The user to change to once the sockets are bound.
    pub user: Option<String>,
    /// Whether the sandbox forbids, logs or is off.
    pub sandbox: Mode,
}

/// The service of a server.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub enum Service {
    /// It tells who knows their password.
    Logins(Logins),
    /// It answers messages by a function of them.
    Small(SmallService, Verbosity),
}

/// What a server for logins is told.
#[derive(Clone, Debug)]
pub struct Logins {
    /// The doors besides [`Config::door`].
    pub also: Vec<Door>,
    /// The users file.
    pub users: PathBuf,
    /// The key of its records; by default `letmein.key` beside it.
    pub key_file: Option<PathBuf>,
    /// How old users may be that letmein-sync keeps up to date, before the server says that it is not well.
    pub stale_after: Duration,
    /// How old they may be before nobody may log in; any age, if absent.
    pub stale_refuse: Option<Duration>,
    /// The keys of challenges that this server shares with others, if it does.
    pub cluster_key: Option<PathBuf>,
    /// The mechanisms that are spoken; by default those that the users have.
    pub mechanisms: Option<Mechanisms>,
    /// What failed logins cost.
    pub limits: Policy,
    /// How many nodes there are at least that have the same users, and divide the limits per user.
    pub nodes: NonZeroU32,
    /// The socket by which failed logins are counted together with other servers, if they are.
    pub exchange: Option<PathBuf>,
    /// How unknown names are logged.
    pub unknown_names: UnknownNames,
    /// Where each decision is written down, if anywhere.
    pub audit: Option<AuditTarget>,
    /// Whether the shipped sample users may log in from other machines.
    pub sample_users: SampleUsers,
    /// Where those who watch the server find its numbers, if anywhere.
    pub http: Option<Monitoring>,
}

impl Config {
    /// All doors, that of the program first.
    pub(crate) fn doors(&self) -> impl Iterator<Item = &Door> {
        let also = match &self.service {
            Service::Logins(logins) => &logins.also[..],
            Service::Small(..) => &[],
        };
        iter::once(&self.door).chain(also)
    }

    /// Threads of all doors of a transport.
    pub(crate) fn threads(&self, transport: Transport) -> usize {
        self.doors().filter(|door| door.transport == transport).map(Door::threads).sum()
    }

    /// Threads that serve at all doors, each with a socket.
    pub(crate) fn all_threads(&self) -> usize {
        self.doors().map(Door::threads).sum()
    }

    /// The address of a door that other machines can reach, if there is one; else that of the first.
    pub(crate) fn widest(&self) -> &Address {
        let mut addresses = self.doors().map(|door| &door.address);
        addresses.find(|address| !address.is_local()).unwrap_or(&self.door.address)
    }
}

impl Service {
    /// The line on standard output that says that a door is open.
    pub(crate) fn ready(&self, kind: SocketKind, address: &Address) -> String {
        match self {
            Self::Small(SmallService::Datagrams(DatagramService::Hello, _), _) => {
                format!("Server is listening on {address}")
            }
            Self::Logins(_) | Self::Small(..) => format!("{kind} server listening on {address}"),
        }
    }
}

/// The settings of monitoring.
#[derive(Clone, Copy, Debug)]
pub struct Monitoring {
    /// The address of the HTTP listener; port 0 for any that is free.
    pub address: SocketAddr,
    /// Whether reasons of refusals are shown.
    pub reasons: Reasons,
}

/// Whether monitoring shows why logins were refused, which a refusal itself does not tell. Somebody who tries logins
/// and sees which numbers grow learns whether a name exists and from where that user logs in; and, for a user who is
/// disabled, expired or elsewhere, whether the password was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reasons {
    /// All refusals are one number, and other numbers that would give reasons or names away are left out.
    Hidden,
    /// Each reason has its number, as the operator has asked for.
    Shown,
}

/// Where the shipped sample users, whose passwords everybody knows, are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleUsers {
    /// At loopback addresses only.
    Local,
    /// At all addresses, as the operator has asked for.
    Allowed,
}

/// A setting by its name.
type Setting = (&'static str, String);

/// Every setting that is in force; whatever was not said has its default.
pub(crate) fn of(config: &Config) -> Vec<Setting> {
    let Config { door, service, user, sandbox } = config;
    let mut settings = vec![("address", addresses(door))];
    settings.extend(match service {
        Service::Logins(logins) => of_logins(door, logins),
        Service::Small(exchange, verbosity) => of_small(exchange, *verbosity),
    });
    let sandbox = match sandbox {
        Mode::On => "on",
        Mode::Log => "log",
        Mode::Off => "off",
    };
    settings.extend([
        ("runs as user", user.clone().unwrap_or_else(|| "the user who starts it".to_owned())),
        ("sandbox", sandbox.to_owned()),
    ]);
    settings
}

fn of_logins(door: &Door, logins: &Logins) -> Vec<Setting> {
    let Logins { also, users, key_file, stale_after, stale_refuse, cluster_key, mechanisms, .. } = logins;
    let Logins { limits, exchange, unknown_names, audit, sample_users, http, .. } = logins;
    let trusted: Vec<_> = limits.trusted.iter().map(ToString::to_string).collect();
    let unknown_names = match unknown_names {
        UnknownNames::Hashed => "hashed",
        UnknownNames::Shown => "shown",
    };
    let sample_users = match sample_users {
        SampleUsers::Local => "from this machine only",
        SampleUsers::Allowed => "from anywhere",
    };
    let also = also.iter().map(|door| {
        ("also served", format!("{} at {}; workers: {}", door.kind(), addresses(door), workers(door)))
    });
    let mut settings = vec![
        ("service", format!("logins over {}", door.kind())),
        ("users file", users.display().to_string()),
        (
            "key file",
            key_file
                .as_ref()
                .map_or_else(|| "letmein.key beside it".to_owned(), |it| it.display().to_string()),
        ),
        ("age of synced users before /healthz is 503", format!("{} s", stale_after.as_secs())),
        (
            "age of synced users before all logins are refused",
            stale_refuse.map_or_else(|| "any".to_owned(), |it| format!("{} s", it.as_secs())),
        ),
        (
            "keys of the cluster",
            cluster_key.as_ref().map_or_else(|| "none".to_owned(), |it| it.display().to_string()),
        ),
        ("mechanisms", mechanisms.map_or_else(|| "those of the users".to_owned(), |it| it.to_string())),
        ("workers", workers(door)),
    ];
    settings.extend(also);
    settings.extend([
        ("failed logins allowed per address", budget(limits.of_source)),
        ("failed logins allowed per user", budget(limits.of_user)),
        ("guesses by OPAQUE allowed per address", budget(limits.of_guesses.of_source)),
        ("guesses by OPAQUE allowed per user", user_guesses(limits.of_guesses.of_user)),
        ("nodes among which limits per user are divided", nodes_text(logins)),
        (
            "socket by which nodes count failed logins together",
            exchange.as_ref().map_or_else(|| "none".to_owned(), |it| it.display().to_string()),
        ),
        ("networks that are never blocked", or_none(trusted.join(" "))),
        ("unknown names in log and audit", unknown_names.to_owned()),
        ("audit", audit.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string)),
        ("status page and metrics", http.map_or_else(|| "off".to_owned(), monitoring)),
        ("sample users may log in", sample_users.to_owned()),
    ]);
    settings
}

fn of_small(exchange: &SmallService, verbosity: Verbosity) -> Vec<Setting> {
    let service = match exchange {
        SmallService::Datagrams(DatagramService::Md5, _) => "MD5 over UDP".to_owned(),
        SmallService::Datagrams(DatagramService::Hello, _) => "hello over UDP".to_owned(),
        SmallService::Md5Stream => "MD5 over TCP".to_owned(),
        SmallService::FramedStream { buffer_len, message_max } => {
            format!("framed over TCP, {buffer_len} bytes at a time, messages up to {message_max} bytes")
        }
    };
    let is_once = matches!(exchange, SmallService::Datagrams(_, Serving::Once));
    let is_quiet = verbosity == Verbosity::Quiet;
    vec![
        ("service", service),
        ("serves messages", if is_once { "one, then exit" } else { "until stopped" }.to_owned()),
        ("prints a line for each message", if is_quiet { "no" } else { "yes" }.to_owned()),
    ]
}

fn addresses(door: &Door) -> String {
    door.addresses().map(|address| address.to_string()).collect::<Vec<_>>().join(" and ")
}

fn workers(door: &Door) -> String {
    let workers = door.workers;
    match door.loopbacks {
        Loopbacks::AsGiven | Loopbacks::One => workers.to_string(),
        Loopbacks::Both => format!("{workers}, and one more for [::1]"),
    }
}

fn budget(budget: Option<Budget>) -> String {
    budget.map_or_else(
        || "any number".to_owned(),
        |Budget { count, window }| format!("{count} in {} s", window.as_secs()),
    )
}

fn user_guesses(of_user: Option<Budget>) -> String {
    let of_a_day = of_user.map(|_| format!(", and {GUESSES_A_DAY} in a day"));
    budget(of_user) + of_a_day.as_deref().unwrap_or_default()
}

fn nodes_text(Logins { nodes, users, .. }: &Logins) -> String {
    let or_more = if users.is_dir() { ", or as many as letmein-sync counts, if these are more" } else { "" };
    format!("{nodes}{or_more}")
}

fn monitoring(Monitoring { address, reasons }: Monitoring) -> String {
    match reasons {
        Reasons::Hidden => address.to_string(),
        Reasons::Shown => format!("{address}, with reasons of refusals"),
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

//! What a server is told, and what of that is in force, for whoever wants to see it before it runs.

use std::iter;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::net::bind;
pub use crate::net::services::small::{Serving, SmallService};
pub use crate::report::audit::AuditTarget;
pub use crate::report::{UnknownNames, Verbosity};
pub use crate::sandbox::Mode;
pub use proto::server::penalty::{FailureBudget, Policy};
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

/// What a server is told on its command line.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to serve: one door or, for logins, several.
    pub doors: Doors,
    /// What to do there.
    pub service: Service,
    /// Who to be, once the socket is bound.
    pub user: Option<String>,
    /// What to give up then.
    pub sandbox: Mode,
}

/// A transport and an address at which a server can be reached.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// What carries the messages.
    pub transport: Transport,
    /// Where to listen, or where the sockets are that were passed; port 0 for any that is free.
    pub address: SocketAddr,
    /// Whether to listen at the other loopback address, too.
    pub loopbacks: Loopbacks,
    /// How many threads serve at the address, each with a socket of its own.
    pub workers: NonZeroUsize,
}

impl Door {
    /// Whether both would listen at one address.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let meets = |address: SocketAddr| other.addresses().any(|it| it == address && it.port() != 0);
        self.transport == other.transport && self.addresses().any(meets)
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let other = match self.loopbacks {
            Loopbacks::AsGiven | Loopbacks::One => None,
            Loopbacks::Both => bind::other_loopback(self.address),
        };
        iter::once(self.address).chain(other)
    }

    /// All threads, with that for the other loopback address.
    pub(crate) fn threads(&self) -> usize {
        match self.loopbacks {
            Loopbacks::AsGiven | Loopbacks::One => self.workers.get(),
            Loopbacks::Both => self.workers.get() + 1,
        }
    }
}

/// The doors of a server.
#[derive(Clone, Debug)]
pub struct Doors {
    /// The one that the program is named after, and that takes the sockets of a service manager.
    pub first: Door,
    /// The others.
    pub also: Vec<Door>,
}

impl Doors {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Door> {
        iter::once(&self.first).chain(&self.also)
    }

    /// Threads that serve over a transport.
    pub(crate) fn threads(&self, transport: Transport) -> usize {
        self.iter().filter(|door| door.transport == transport).map(Door::threads).sum()
    }

    /// Threads that serve at all doors, each with a socket.
    pub(crate) fn all_threads(&self) -> usize {
        self.iter().map(Door::threads).sum()
    }

    /// The address of a door that other machines can reach, if there is one; else that of the first.
    pub(crate) fn widest(&self) -> SocketAddr {
        let mut addresses = self.iter().map(|door| door.address);
        addresses.find(|address| !address.ip().to_canonical().is_loopback()).unwrap_or(self.first.address)
    }
}

/// Which of the two addresses that `localhost` may mean a server listens at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopbacks {
    /// The server's address, if it is one of them.
    AsGiven,
    /// The same where no address would give both: its sockets were passed, or it serves one message.
    One,
    /// 127.0.0.1, which is the server's address, and `[::1]` at the same port, with one more worker.
    Both,
}

/// What a server does.
#[derive(Clone, Debug)]
pub enum Service {
    /// It tells who knows their password.
    Logins(Logins),
    /// It answers messages by a function of them.
    Small(SmallService, Verbosity),
}

/// What a server for logins is told.
#[derive(Clone, Debug)]
pub struct Logins {
    /// The users file.
    pub users: PathBuf,
    /// What failed logins cost.
    pub limits: Policy,
    /// What is logged of names that nobody has.
    pub unknown_names: UnknownNames,
    /// Where each decision is written down, if anywhere.
    pub audit: Option<AuditTarget>,
    /// Whether the shipped sample users may log in from other machines.
    pub sample_users: SampleUsers,
    /// Where those who watch the server find its numbers, if anywhere.
    pub http: Option<Monitoring>,
}

impl Service {
    /// The line that says that a door is open.
    pub(crate) fn ready(&self, transport: Transport, address: SocketAddr) -> String {
        match self {
            Self::Small(SmallService::Datagrams(DatagramService::Hello, _), _) => {
                format!("Server is listening on {address}")
            }
            Self::Logins(_) | Self::Small(..) => format!("{transport} server listening on {address}"),
        }
    }
}

/// Where those who watch a server find its numbers, and which.
#[derive(Clone, Copy, Debug)]
pub struct Monitoring {
    /// Where to listen for HTTP; port 0 for any that is free.
    pub address: SocketAddr,
    /// Whether refusals are told apart.
    pub reasons: Reasons,
}

/// Whether those who watch are told what refusals tell nobody. Who tries logins and sees which numbers grow knows
/// whether a name is somebody's, from where that user logs in, and of whoever is disabled, expired or elsewhere whether
/// the password was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reasons {
    /// All refusals are one number, and what differs by name or by reason is left out.
    Kept,
    /// The operator insists.
    Told,
}

/// What to do about the shipped sample passwords, which everybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleUsers {
    /// They are for this machine only.
    Local,
    /// The operator insists.
    Allowed,
}

/// A setting by its name.
type Setting = (&'static str, String);

/// Every setting that is in force; whatever was not said has its default.
pub(crate) fn of(config: &Config) -> Vec<Setting> {
    let Config { doors, service, user, sandbox } = config;
    let mut settings = vec![("address", addresses(&doors.first))];
    settings.extend(match service {
        Service::Logins(logins) => of_logins(doors, logins),
        Service::Small(exchange, verbosity) => of_small(exchange, *verbosity),
    });
    let sandbox = match sandbox {
        Mode::On => "on",
        Mode::Log => "log",
        Mode::Off => "off",
    };
    settings.extend([
        ("user", user.clone().unwrap_or_else(|| "who starts it".to_owned())),
        ("sandbox", sandbox.to_owned()),
    ]);
    settings
}

fn of_logins(doors: &Doors, logins: &Logins) -> Vec<Setting> {
    let Logins { users, limits, unknown_names, audit, sample_users, http } = logins;
    let trusted: Vec<_> = limits.trusted.iter().map(ToString::to_string).collect();
    let unknown_names = match unknown_names {
        UnknownNames::Hashed => "a hash",
        UnknownNames::Shown => "as they are",
    };
    let sample_users = match sample_users {
        SampleUsers::Local => "this machine only",
        SampleUsers::Allowed => "from everywhere",
    };
    let also = doors.also.iter().map(|door| {
        ("also", format!("{} at {}; workers: {}", door.transport, addresses(door), workers(door)))
    });
    let mut settings = vec![
        ("service", format!("logins over {}", doors.first.transport)),
        ("users file", users.display().to_string()),
        ("workers", workers(&doors.first)),
    ];
    settings.extend(also);
    settings.extend([
        ("failed logins of a source that are free", budget(limits.of_source)),
        ("failed logins of a user that are free", budget(limits.of_user)),
        ("networks whose failed logins are all free", or_none(trusted.join(" "))),
        ("names that nobody has, in the log", unknown_names.to_owned()),
        ("audit", or_none(audit.as_ref().map(ToString::to_string).unwrap_or_default())),
        ("HTTP for monitoring", or_none(http.map(monitoring).unwrap_or_default())),
        ("sample users", sample_users.to_owned()),
    ]);
    settings
}

fn of_small(exchange: &SmallService, verbosity: Verbosity) -> Vec<Setting> {
    let service = match exchange {
        SmallService::Datagrams(DatagramService::Md5, _) => "MD5 over UDP".to_owned(),
        SmallService::Datagrams(DatagramService::Hello, _) => "hello over UDP".to_owned(),
        SmallService::Md5Stream => "MD5 over TCP".to_owned(),
        SmallService::FramedStream { buffer_len, message_max } => {
            format!("framed over TCP, reads of {buffer_len} bytes, messages of at most {message_max}")
        }
    };
    let is_once = matches!(exchange, SmallService::Datagrams(_, Serving::Once));
    let is_quiet = verbosity == Verbosity::Quiet;
    vec![
        ("service", service),
        ("messages", if is_once { "one" } else { "all that come" }.to_owned()),
        ("a line for each message", if is_quiet { "no" } else { "yes" }.to_owned()),
    ]
}

fn addresses(door: &Door) -> String {
    let address = door.address;
    match door.loopbacks {
        Loopbacks::AsGiven | Loopbacks::One => address.to_string(),
        Loopbacks::Both => format!("{address} and [::1]:{}", address.port()),
    }
}

fn workers(door: &Door) -> String {
    let workers = door.workers;
    match door.loopbacks {
        Loopbacks::AsGiven | Loopbacks::One => workers.to_string(),
        Loopbacks::Both => format!("{workers}, and one for [::1]"),
    }
}

fn budget(budget: Option<FailureBudget>) -> String {
    budget.map_or_else(
        || "all".to_owned(),
        |FailureBudget { failures, window }| format!("{failures} in {} s", window.as_secs()),
    )
}

fn monitoring(Monitoring { address, reasons }: Monitoring) -> String {
    match reasons {
        Reasons::Kept => address.to_string(),
        Reasons::Told => format!("{address}, with the reasons of refusals"),
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

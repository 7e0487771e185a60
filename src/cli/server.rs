//! `server-udp` and `server-tcp`: one program over two transports.

mod doors;
mod fits;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Command, CommandFactory, Parser};
use ipnet::IpNet;
use tracing::level_filters::LevelFilter;

use crate::cli::{ExitStatus, STATUSES, invalid, parse, parse_address, print, say};
use server::check;
use server::daemon::{self, Bound};
use server::descriptors;
use server::doors::Door;
use server::error::ServerError;
use server::log::{LogFormat, log_to_stderr};
use server::net::passed;
use server::settings::{
    self, AuditTarget, Config, Logins, Monitoring, Policy, Reasons, SampleUsers, Service, Serving,
    SmallService, UnknownNames, Verbosity,
};

use fits::Said;
use proto::small::DatagramService;
use proto::small::framed;
use proto::transport::Transport;
use values::{
    Allowance, ListenAddress, ServiceName, parse_audit, parse_budget, parse_door, parse_listen_address,
    parse_log_level, parse_service, parse_trusted,
};
pub(super) use values::{ModeName, parse_log_format, parse_mode};

/// Tell whether somebody knows their password, without the password crossing the network
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where to listen; a port alone takes the address of the service's default, and ::1 beside 127.0.0.1
    #[arg(value_name = "[ADDR:]PORT", value_parser = parse_listen_address)]
    place: Option<ListenAddress>,
    /// Serve the same logins over another transport or at another address as well, as in tcp:8591; may be given more
    /// than once (auth)
    #[arg(long, value_name = "TRANSPORT:[ADDR:]PORT", value_parser = parse_door)]
    also: Vec<(Transport, ListenAddress)>,
    /// What to serve: auth; over UDP also md5 or hello; over TCP also md5 or framed
    #[arg(long, value_name = "SERVICE", default_value = "auth", value_parser = parse_service)]
    service: ServiceName,
    /// Who may log in (auth)
    #[arg(long, value_name = "FILE", default_value = "users.toml")]
    users: PathBuf,
    /// Serve other machines even with the shipped sample passwords in the users file (auth)
    #[arg(long)]
    allow_sample_users: bool,
    /// Threads that serve, beside the one for ::1 (auth) [default: one for each processor, or for each socket that is
    /// passed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=WORKERS_MAX))]
    workers: Option<u16>,
    /// Failed logins after which an address is blocked, an IPv4 one or an IPv6 /64, or "off" (auth)
    #[arg(long, value_name = "N/SECONDS", default_value = "10/60s", value_parser = parse_budget)]
    failures: Allowance,
    /// Failed logins after which a user is blocked, except where they logged in within a day, or "off" (auth)
    #[arg(long, value_name = "N/SECONDS", default_value = "60/60s", value_parser = parse_budget)]
    user_failures: Allowance,
    /// A network or an address that is never blocked; may be given more than once (auth)
    #[arg(long, value_name = "CIDR", value_parser = parse_trusted)]
    trust: Vec<IpNet>,
    /// Log names that nobody has as they are, instead of a hash: people type passwords there (auth)
    #[arg(long)]
    log_unknown_names: bool,
    /// Append a line of JSON for each decision to FILE, or print it if FILE is - (auth)
    #[arg(long, value_name = "FILE", value_parser = parse_audit)]
    audit: Option<AuditTarget>,
    /// Serve a status page, /metrics, /healthz and /status.json there, without encryption (auth)
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_address)]
    http: Option<SocketAddr>,
    /// Tell there why logins were refused, which whoever reads it can find names and passwords by (auth)
    #[arg(long, requires = "http")]
    http_reasons: bool,
    /// Print no line for each message (md5, hello, framed)
    #[arg(long)]
    quiet: bool,
    /// Answer one message, and end (md5 and hello over UDP)
    #[arg(long)]
    once: bool,
    /// Bytes of one read (framed)
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=BUFFER_MAX))]
    buffer_size: u32,
    /// Bytes of the longest message (framed)
    #[arg(long, value_name = "BYTES", default_value_t = framed::MESSAGE_MAX as u32)]
    max_message: u32,
    /// Who to be once the socket is bound, when started as root
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Refuse what a server does not need (on), let the kernel log it (log), or neither (off)
    #[arg(long, value_name = "MODE", default_value = "on", value_parser = parse_mode)]
    sandbox: ModeName,
    /// Check the users file and the audit as the server's user, print all settings, and end; takes no socket
    #[arg(long)]
    check: bool,
    /// Print every limit and the memory that they add up to, and end
    #[arg(long)]
    limits: bool,
    /// Try inside the sandbox what a server must not be able to do, say what came of it, and end
    #[arg(long)]
    self_test: bool,
    /// Lines of the log, on standard error: text, or a JSON object each (json)
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = parse_log_format)]
    log_format: LogFormat,
    /// What to log: error, warn, info, debug (each message) or trace, and what is graver
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = parse_log_level)]
    log_level: LevelFilter,
    /// Log each message: short for --log-level debug
    #[arg(short, long, conflicts_with = "log_level")]
    debug: bool,
}

/// More than any machine has processors.
const WORKERS_MAX: i64 = 1024;
/// A larger read brings no more.
const BUFFER_MAX: i64 = 16 << 20;

fn after_help(program: &str) -> String {
    let small = match program {
        "server-udp" => {
            "  server-udp --service md5             127.0.0.1:12345\n  \
                         server-udp --service hello           0.0.0.0:5000\n"
        }
        _ => {
            "  server-tcp --service md5             0.0.0.0:5555\n  \
              server-tcp --service framed          127.0.0.1:4567\n"
        }
    };
    format!(
        "Examples:\n  \
         {program} 8591                      127.0.0.1:8591 and [::1]:8591, this machine only\n  \
         {program} 0.0.0.0:8591              all of IPv4\n  \
         {program} [::]:8591                 all of IPv6, and of IPv4\n  \
         {program} --users /etc/users.toml   another users file\n\
         {small}\n\
         Sockets that a service manager passes (LISTEN_FDS) are served instead, one worker each.\n\
         The first line on standard output says where it listens, once it does; port 0 is any that is free.\n\
         SIGINT and SIGTERM stop it, after logins over TCP have ended. SIGHUP reads the users file again, which\n\
         it also does by itself when the file changes, and opens the audit anew. SIGUSR1 lifts all blocks.\n\n\
         {STATUSES}"
    )
}

/// The command line, of which the help, the manual and the completions are made.
#[must_use]
pub fn command(transport: Transport) -> Command {
    let program = settings::program(transport);
    Args::command().name(program).after_help(after_help(program))
}

pub fn run(transport: Transport) -> Result<ExitStatus, ExitStatus> {
    let program = settings::program(transport);
    // Before any thread.
    let passed = passed::take(transport).map_err(|error| {
        say(format_args!("{program}: {error}"));
        ExitStatus::Usage
    })?;
    let example = format!("{program} 127.0.0.1:8591 --users users.toml");
    let said: Said = parse(command(transport), &example)?;
    said.check(transport).map_err(|reason| invalid(&reason, &example))?;
    let args = said.args;
    log_to_stderr(args.log_format, if args.debug { LevelFilter::DEBUG } else { args.log_level });
    let (tests, shows_limits, checks) = (args.self_test, args.limits, args.check);
    let config = args.config(transport, passed.as_ref()).map_err(|reason| invalid(&reason, &example))?;
    if tests {
        return test_sandbox(program, &config);
    }
    if shows_limits {
        return print_limits(program, &config);
    }
    if checks {
        let settings = check::files(&config).map_err(|error| refused(program, &error))?;
        return print(program, settings.iter().map(|(name, value)| format!("{name:<56} {value}")));
    }
    daemon::run(&config, passed).map(|()| ExitStatus::Done).map_err(|error| refused(program, &error))
}

/// Says why there is no server.
fn refused(program: &str, error: &ServerError) -> ExitStatus {
    say(format_args!("{program}: {error}"));
    match error {
        ServerError::Users(_)
        | ServerError::SampleUser { .. }
        | ServerError::NoUsers(_)
        | ServerError::NoUsersLeft(_) => ExitStatus::Usage,
        ServerError::Bind { .. }
        | ServerError::Http { .. }
        | ServerError::User { .. }
        | ServerError::Audit { .. }
        | ServerError::System(_) => ExitStatus::Failed,
    }
}

impl Args {
    fn config(self, transport: Transport, passed: Option<&Bound>) -> Result<Config, String> {
        self.check_passed(passed)?;
        let door = self.door(transport, passed)?;
        let also = self.also(&door)?;
        let (user, sandbox) = (self.user.clone(), self.sandbox.into());
        let service = match self.small_service(transport)? {
            Some(small) => {
                Service::Small(small, if self.quiet { Verbosity::Quiet } else { Verbosity::Lines })
            }
            None => self.logins(also),
        };
        Ok(Config { door, service, user, sandbox })
    }

    /// The small service that was asked for, if it is one.
    fn small_service(&self, transport: Transport) -> Result<Option<SmallService>, String> {
        let serving = if self.once { Serving::Once } else { Serving::UntilStopped };
        Ok(Some(match (self.service, transport) {
            (ServiceName::Auth, _) => return Ok(None),
            (ServiceName::Md5, Transport::Udp) => SmallService::Datagrams(DatagramService::Md5, serving),
            (ServiceName::Hello, Transport::Udp) => SmallService::Datagrams(DatagramService::Hello, serving),
            (ServiceName::Md5, Transport::Tcp) => SmallService::Md5Stream,
            (ServiceName::Framed, Transport::Tcp) => SmallService::FramedStream {
                buffer_len: self.buffer_size as usize,
                message_max: self.max_message as usize,
            },
            (ServiceName::Hello, Transport::Tcp) => return Err("hello is served over UDP: server-udp".into()),
            (ServiceName::Framed, Transport::Udp) => {
                return Err("framed is served over TCP: server-tcp".into());
            }
        }))
    }

    fn logins(self, also: Vec<Door>) -> Service {
        let (of_source, of_user) = (self.failures.budget(), self.user_failures.budget());
        let reasons = if self.http_reasons { Reasons::Shown } else { Reasons::Hidden };
        Service::Logins(Logins {
            also,
            users: self.users,
            limits: Policy { of_source, of_user, trusted: self.trust },
            unknown_names: if self.log_unknown_names { UnknownNames::Shown } else { UnknownNames::Hashed },
            audit: self.audit,
            sample_users: if self.allow_sample_users { SampleUsers::Allowed } else { SampleUsers::Local },
            http: self.http.map(|address| Monitoring { address, reasons }),
        })
    }
}

fn print_limits(program: &str, config: &Config) -> Result<ExitStatus, ExitStatus> {
    descriptors::raise_limit();
    let limits = daemon::limits(config);
    let total: usize = limits.iter().map(|limit| limit.bytes).sum();
    let lines = limits.iter().map(ToString::to_string);
    let name = match config.service {
        Service::Logins(_) => "memory in all, without users",
        Service::Small(..) => "memory in all",
    };
    print(program, lines.chain([format!("{name:<56} {} KiB", total.div_ceil(1024))]))
}

fn test_sandbox(program: &str, config: &Config) -> Result<ExitStatus, ExitStatus> {
    let attempts = check::sandbox(config).map_err(|error| refused(program, &error))?;
    let refused = attempts.iter().filter(|(_, is_refused)| *is_refused).count();
    let holds = refused == attempts.len();
    let verdict = if holds { "the sandbox holds" } else { "the sandbox DOES NOT HOLD" };
    let summary = format!("{refused} of {} refused: {verdict}", attempts.len());
    print(program, attempts.into_iter().map(|(line, _)| line).chain([summary]))?;
    Ok(if holds { ExitStatus::Done } else { ExitStatus::Failed })
}

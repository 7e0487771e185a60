//! `server-udp` and `server-tcp`: one program over two transports.

mod doors;
mod fits;
mod values;

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory, Parser};
use ipnet::IpNet;
use tracing::level_filters::LevelFilter;

use crate::cli::usage::{PasswordArgument, invalid, parse};
use crate::cli::{ExitStatus, parse_address, print, say};
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

/// Headings of `--help`.
const USERS: &str = "Users and addresses";
const LIMITS: &str = "Limits on guessing";
const LOG: &str = "Log and audit";
const MONITORING: &str = "Monitoring";
const SANDBOX: &str = "Sandbox";
const SMALL: &str = "Small services";
const TESTS: &str = "Check and test";

#[derive(Parser)]
#[command(version)]
struct Args {
    /// Address to listen on [default: 127.0.0.1:8591]
    ///
    /// A port alone is for this machine: 127.0.0.1 and ::1. A colon and a port, as in :8591, are all interfaces. Port 0
    /// is any free port; the first line on standard output says which.
    #[arg(value_name = "[ADDR:]PORT", value_parser = parse_listen_address)]
    place: Option<ListenAddress>,
    /// Users file
    ///
    /// The server reloads it when it changes, and on SIGHUP.
    #[arg(long, help_heading = USERS, value_name = "FILE", default_value = "users.toml")]
    users: PathBuf,
    /// Also listen here, as in tcp:8591; repeatable
    ///
    /// The same users are served over another transport or at another address: tcp:8591, udp:192.0.2.7:8591.
    #[arg(long, help_heading = USERS, value_name = "TRANSPORT:PORT", value_parser = parse_door)]
    also: Vec<(Transport, ListenAddress)>,
    /// Serve other machines even though the users file has sample passwords
    #[arg(long, help_heading = USERS, hide_short_help = true)]
    allow_sample_users: bool,
    /// Threads that serve [default: one per processor]
    ///
    /// With sockets from a service manager, the default is one thread per socket. A thread of its own serves ::1.
    #[arg(long, help_heading = USERS, hide_short_help = true, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=WORKERS_MAX))]
    workers: Option<u16>,
    /// Failed logins allowed per address, or off
    ///
    /// An address that has failed more often in this time is blocked, for 15 s at first and up to 10 min. Addresses of
    /// IPv6 are counted by their /64.
    #[arg(long, help_heading = LIMITS, value_name = "N/TIME", default_value = "10/60s", value_parser = parse_budget)]
    failures: Allowance,
    /// Failed logins allowed per user, or off
    ///
    /// The user is then blocked, except from addresses that have logged in as this user in the last 24 hours.
    #[arg(long, help_heading = LIMITS, hide_short_help = true, value_name = "N/TIME", default_value = "60/60s",
          value_parser = parse_budget)]
    user_failures: Allowance,
    /// Network that is never blocked; repeatable
    ///
    /// Write 10.0.0.0/8, 2001:db8::/32 or one address.
    #[arg(long, help_heading = LIMITS, value_name = "NETWORK", value_parser = parse_trusted)]
    trust: Vec<IpNet>,
    /// Record each login in FILE, as JSON lines
    ///
    /// Write - for standard output.
    #[arg(long, help_heading = LOG, value_name = "FILE", value_parser = parse_audit)]
    audit: Option<AuditTarget>,
    /// Log unknown user names in plain text
    ///
    /// By default unknown names are hashed, because people sometimes type a password as the name.
    #[arg(long, help_heading = LOG, hide_short_help = true)]
    log_unknown_names: bool,
    /// Format of the log on standard error: text or json
    #[arg(long, help_heading = LOG, hide_short_help = true, value_name = "FORMAT", default_value = "text",
          value_parser = parse_log_format)]
    log_format: LogFormat,
    /// Least severe level to log: error, warn, info, debug or trace
    #[arg(long, help_heading = LOG, hide_short_help = true, value_name = "LEVEL", default_value = "info",
          value_parser = parse_log_level)]
    log_level: LevelFilter,
    /// Log each message; short for --log-level debug
    #[arg(short, long, help_heading = LOG, conflicts_with = "log_level")]
    debug: bool,
    /// Serve a status page and metrics here
    ///
    /// The page is /; there are also /metrics, /healthz and /status.json. There is no password and no encryption, so
    /// give an address that only you can reach.
    #[arg(long, help_heading = MONITORING, value_name = "ADDR:PORT", value_parser = parse_address)]
    http: Option<SocketAddr>,
    /// Also show there why logins were refused
    ///
    /// Anyone who can read this can test names and passwords.
    #[arg(long, help_heading = MONITORING, hide_short_help = true, requires = "http")]
    http_reasons: bool,
    /// Run as this user after binding; needs root
    #[arg(long, help_heading = SANDBOX, value_name = "NAME")]
    user: Option<String>,
    /// How to treat system calls that a server does not need: on, log or off
    ///
    /// on: refused. log: allowed, but logged by the kernel. off: no sandbox.
    #[arg(long, help_heading = SANDBOX, hide_short_help = true, value_name = "MODE", default_value = "on",
          value_parser = parse_mode)]
    sandbox: ModeName,
    /// Check users file, audit and options, then exit
    ///
    /// Prints all settings, too. It reads the files as the user that the server runs as, and opens no socket.
    #[arg(long, help_heading = TESTS, conflicts_with_all = ["limits", "self_test"])]
    check: bool,
    /// Print all limits and the memory they add up to, then exit
    #[arg(long, help_heading = TESTS, hide_short_help = true)]
    limits: bool,
    /// Try forbidden actions inside the sandbox, print the results, then exit
    #[arg(long, help_heading = TESTS, hide_short_help = true)]
    self_test: bool,
    #[arg(long, help_heading = SMALL, value_name = "SERVICE", default_value = "auth", value_parser = parse_service)]
    service: ServiceName,
    /// Print no line for each message
    #[arg(long, help_heading = SMALL, hide_short_help = true)]
    quiet: bool,
    /// Answer one message, then exit (md5 and hello over UDP)
    #[arg(long, help_heading = SMALL, hide_short_help = true)]
    once: bool,
    /// Bytes to read at a time (framed)
    #[arg(long, help_heading = SMALL, hide_short_help = true, value_name = "BYTES", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..=BUFFER_MAX))]
    buffer_size: u32,
    /// Longest message, in bytes (framed)
    #[arg(long, help_heading = SMALL, hide_short_help = true, value_name = "BYTES",
          default_value_t = framed::MESSAGE_MAX as u32)]
    max_message: u32,
}

/// More than any machine has processors.
const WORKERS_MAX: i64 = 1024;
/// A larger read brings no more.
const BUFFER_MAX: i64 = 16 << 20;

/// What only one of the two programs has.
struct OfTransport {
    small_services: &'static str,
    small_addresses: &'static str,
    examples: &'static str,
}

fn of(transport: Transport) -> OfTransport {
    match transport {
        Transport::Udp => OfTransport {
            small_services: "hello",
            small_addresses: "Without an address, hello listens on all IPv4 interfaces.",
            examples: "  server-udp --service md5             listens on 127.0.0.1:12345\n  \
                         server-udp --service hello           listens on 0.0.0.0:5000\n",
        },
        Transport::Tcp => OfTransport {
            small_services: "framed",
            small_addresses: "Without an address, md5 listens on all IPv4 interfaces.",
            examples: "  server-tcp --service md5             listens on 0.0.0.0:5555\n  \
                         server-tcp --service framed          listens on 127.0.0.1:4567\n",
        },
    }
}

fn after_long_help(transport: Transport) -> String {
    let (program, OfTransport { examples, .. }) = (settings::program(transport), of(transport));
    format!(
        "Examples:\n  \
         {program} 8591                      this machine only: 127.0.0.1 and [::1]\n  \
         {program} :8591                     all interfaces, IPv4 and IPv6\n  \
         {program} 192.0.2.7:8591 --users /etc/letmein/users.toml\n\
         {examples}\n\
         Sockets from a service manager (LISTEN_FDS) replace the address.\n\n\
         SIGINT and SIGTERM stop the server, after logins over TCP have ended. SIGHUP reloads the users file and \
         reopens the audit. SIGUSR1 lifts all blocks.\n\n\
         Exit status: 0 stopped by a signal, or done, 2 wrong command line, configuration or users file, 3 the system \
         failed"
    )
}

/// The command line, of which the help, the manual and the completions are made.
#[must_use]
pub fn command(transport: Transport) -> Command {
    let program = settings::program(transport);
    let OfTransport { small_services, small_addresses, .. } = of(transport);
    let about = format!("Serve logins over {}", transport.name().to_uppercase());
    Args::command()
        .name(program)
        .long_about(format!(
            "{about}\n\nClients prove that they know a user's password, without sending it. letmein is a client, and \
             letmein-users changes the users file."
        ))
        .about(about)
        .mut_arg("service", |service| {
            let help = format!("Service: auth, md5 or {small_services}");
            service.long_help(format!("{help}\n\n{small_addresses}")).help(help)
        })
        .after_help(format!("Example: {program} :8591 --users /etc/letmein/users.toml"))
        .after_long_help(after_long_help(transport))
}

pub fn run(transport: Transport) -> Result<ExitStatus, ExitStatus> {
    let program = settings::program(transport);
    // Before any thread.
    let passed = passed::take(transport).map_err(|error| {
        say(format_args!("{program}: {error}"));
        ExitStatus::Usage
    })?;
    let example = format!("{program} 127.0.0.1:8591 --users users.toml");
    let said: Said = parse(command(transport), &example, PasswordArgument::Never)?;
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
        self.check_audit()?;
        let (user, sandbox) = (self.user.clone(), self.sandbox.into());
        let service = match self.small_service(transport)? {
            Some(small) => {
                Service::Small(small, if self.quiet { Verbosity::Quiet } else { Verbosity::Lines })
            }
            None => self.logins(also),
        };
        Ok(Config { door, service, user, sandbox })
    }

    /// Lines of the audit would make users, and a broken file.
    fn check_audit(&self) -> Result<(), String> {
        let is_users_file = |audit: &Path| is_same_file(audit, &self.users);
        match &self.audit {
            Some(AuditTarget::File(audit)) if is_users_file(audit) => {
                Err("the audit and the users file are the same file: name another with --audit".to_owned())
            }
            Some(AuditTarget::File(_) | AuditTarget::Stdout) | None => Ok(()),
        }
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

/// Whether both paths lead to one file that exists.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    identity(one).is_some_and(|file| identity(other) == Some(file))
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

//! The command line of a server: options and help.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Command, CommandFactory, Parser};
use ipnet::IpNet;
use tracing::level_filters::LevelFilter;

use super::values::{
    Allowance, ListenAddress, ModeName, ServiceName, parse_audit, parse_door, parse_failures, parse_guesses,
    parse_listen_address, parse_log_format, parse_log_level, parse_mechanisms, parse_mode, parse_nodes,
    parse_service, parse_system_user, parse_trusted,
};
use crate::cli::{parse_address, parse_time};
use proto::mechanism::Mechanisms;
use proto::small::framed;
use proto::transport::Transport;
use server::log::LogFormat;
use server::settings::{self, AuditTarget};

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
pub(super) struct Args {
    /// Address to listen on [default: 127.0.0.1:8591]
    ///
    /// A port alone is for this machine: 127.0.0.1 and ::1. A colon and a port, as in :8591, are all interfaces. Port 0
    /// is any free port; the first line on standard output says which.
    #[arg(value_name = "[ADDR:]PORT", value_parser = parse_listen_address)]
    pub(super) place: Option<ListenAddress>,
    /// Users file, or the folder of letmein-sync
    ///
    /// The server reloads it when it changes, and on SIGHUP.
    #[arg(long, help_heading = USERS, value_name = "FILE", default_value = "users.toml")]
    pub(super) users: PathBuf,
    /// Key of the records in the users file [default: letmein.key beside it]
    #[arg(long, help_heading = USERS, hide_short_help = true, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
    /// How old users of letmein-sync may be before /healthz is 503: 90s, 15m, 24h
    ///
    /// Logins go on all the same. A users file has no age.
    #[arg(long, help_heading = USERS, hide_short_help = true, value_name = "TIME", default_value = "24h",
          value_parser = parse_time)]
    pub(super) stale_after: Duration,
    /// How old they may be before all logins are refused: 12h, 7d [default: any age]
    ///
    /// Each is refused as an unknown user's is, until letmein-sync confirms the users again; also at a start where
    /// nobody knows how old they are. At least 1m.
    #[arg(long, help_heading = USERS, hide_short_help = true, value_name = "TIME", value_parser = parse_time)]
    pub(super) stale_refuse: Option<Duration>,
    /// Keys of challenges that the servers of a cluster share
    ///
    /// A login over UDP may then begin at one of them and end at another. Make the file with letmein-users keys add,
    /// and copy it to each server, whose clocks must agree to 2 s. The server reloads it when it changes.
    #[arg(long, help_heading = USERS, hide_short_help = true, value_name = "FILE")]
    pub(super) cluster_key: Option<PathBuf>,
    /// Mechanisms to speak: md5, opaque or both [default: those that the users have]
    ///
    /// A user with a password logs in by md5, and one with a record by opaque; neither can use the other.
    #[arg(long, help_heading = USERS, hide_short_help = true, value_name = "LIST", value_parser = parse_mechanisms)]
    pub(super) mechanisms: Option<Mechanisms>,
    /// Also listen here, as in tcp:8591; repeatable
    ///
    /// The same users are served over another transport or at another address: tcp:8591, udp:192.0.2.7:8591.
    #[arg(long, help_heading = USERS, value_name = "TRANSPORT:PORT", value_parser = parse_door)]
    pub(super) also: Vec<(Transport, ListenAddress)>,
    /// Serve other machines even though the users file has sample passwords
    #[arg(long, help_heading = USERS, hide_short_help = true)]
    pub(super) allow_sample_users: bool,
    /// Threads that serve [default: one per processor]
    ///
    /// With sockets from a service manager, the default is one thread per socket. A thread of its own serves ::1.
    #[arg(long, help_heading = USERS, hide_short_help = true, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=WORKERS_MAX))]
    pub(super) workers: Option<u16>,
    /// Failed logins allowed per address, or off
    ///
    /// An address that has failed more often in this time is blocked, for 15 s at first and up to 10 min. Addresses of
    /// IPv6 are counted by their /64.
    #[arg(long, help_heading = LIMITS, value_name = "N/TIME", default_value = "10/60s", value_parser = parse_failures)]
    pub(super) failures: Allowance,
    /// Failed logins allowed per user, or off
    ///
    /// The user is then blocked, except from addresses that have logged in as this user in the last 24 hours.
    #[arg(long, help_heading = LIMITS, hide_short_help = true, value_name = "N/TIME", default_value = "60/60s",
          value_parser = parse_failures)]
    pub(super) user_failures: Allowance,
    /// Guesses by OPAQUE allowed per address, or off [default: 20/60s]
    ///
    /// A login by OPAQUE takes a guess when it begins, and gives it back when it succeeds. Beyond the limit, logins
    /// that begin are ignored. Addresses of IPv6 are counted by their /64.
    #[arg(long, help_heading = LIMITS, hide_short_help = true, value_name = "N/TIME", value_parser = parse_guesses)]
    pub(super) guesses: Option<Allowance>,
    /// Guesses by OPAQUE allowed per user, or off [default: 60/60s]
    ///
    /// Beside it there is a limit of 1,000 a day. Addresses that have logged in as this user in the last 24 hours have
    /// a limit of their own, which is as large as that of --guesses.
    #[arg(long, help_heading = LIMITS, hide_short_help = true, value_name = "N/TIME", value_parser = parse_guesses)]
    pub(super) user_guesses: Option<Allowance>,
    /// Nodes that have the same users [default: 1, or as many as letmein-sync counts]
    ///
    /// The limits per user are divided among them. Where letmein-sync counts more, these count.
    #[arg(long, help_heading = LIMITS, hide_short_help = true, value_name = "N", value_parser = parse_nodes)]
    pub(super) nodes: Option<NonZeroU32>,
    /// Count failed logins together with other nodes, by a socket at PATH
    ///
    /// letmein-sync carries what servers tell each other, sealed by the keys of --cluster-key, which all must have. Its
    /// option has the same name. While nodes do not hear of each other, they divide the limits per user.
    #[arg(long, help_heading = LIMITS, hide_short_help = true, value_name = "PATH", requires = "cluster_key")]
    pub(super) exchange: Option<PathBuf>,
    /// Network that is never blocked; repeatable
    ///
    /// Write 10.0.0.0/8, 2001:db8::/32 or one address.
    #[arg(long, help_heading = LIMITS, value_name = "NETWORK", value_parser = parse_trusted)]
    pub(super) trust: Vec<IpNet>,
    /// Record each login in FILE, as JSON lines
    ///
    /// Write - for standard output.
    #[arg(long, help_heading = LOG, value_name = "FILE", value_parser = parse_audit)]
    pub(super) audit: Option<AuditTarget>,
    /// Log unknown user names in plain text
    ///
    /// By default unknown names are hashed, because people sometimes type a password as the name.
    #[arg(long, help_heading = LOG, hide_short_help = true)]
    pub(super) log_unknown_names: bool,
    /// Format of the log on standard error: text or json
    #[arg(long, help_heading = LOG, hide_short_help = true, value_name = "FORMAT", default_value = "text",
          value_parser = parse_log_format)]
    pub(super) log_format: LogFormat,
    /// Least severe level to log: error, warn, info, debug or trace
    #[arg(long, help_heading = LOG, hide_short_help = true, value_name = "LEVEL", default_value = "info",
          value_parser = parse_log_level)]
    pub(super) log_level: LevelFilter,
    /// Log each message; short for --log-level debug
    #[arg(short, long, help_heading = LOG, conflicts_with = "log_level")]
    pub(super) debug: bool,
    /// Serve a status page and metrics here
    ///
    /// The page is /; there are also /metrics, /healthz, /livez and /status.json. There is no password and no
    /// encryption, so give an address that only you can reach.
    #[arg(long, help_heading = MONITORING, value_name = "ADDR:PORT", value_parser = parse_address)]
    pub(super) http: Option<SocketAddr>,
    /// Also show there why logins were refused
    ///
    /// Anyone who can read this can test names and passwords.
    #[arg(long, help_heading = MONITORING, hide_short_help = true, requires = "http")]
    pub(super) http_reasons: bool,
    /// Run as this user after binding; needs root
    #[arg(long, help_heading = SANDBOX, value_name = "NAME", value_parser = parse_system_user)]
    pub(super) user: Option<String>,
    /// How to treat system calls that a server does not need: on, log or off
    ///
    /// on: refused. log: allowed, but logged by the kernel. off: no sandbox.
    #[arg(long, help_heading = SANDBOX, hide_short_help = true, value_name = "MODE", default_value = "on",
          value_parser = parse_mode)]
    pub(super) sandbox: ModeName,
    /// Check users file, audit and options, then exit
    ///
    /// Prints all settings, too. It reads the files as the user that the server runs as, and opens no socket.
    #[arg(long, help_heading = TESTS, conflicts_with_all = ["limits", "self_test"])]
    pub(super) check: bool,
    /// Print all limits and the memory they add up to, then exit
    #[arg(long, help_heading = TESTS, hide_short_help = true)]
    pub(super) limits: bool,
    /// Try forbidden actions inside the sandbox, print the results, then exit
    #[arg(long, help_heading = TESTS, hide_short_help = true)]
    pub(super) self_test: bool,
    #[arg(long, help_heading = SMALL, value_name = "SERVICE", default_value = "auth", value_parser = parse_service)]
    pub(super) service: ServiceName,
    /// Print no line for each message
    #[arg(long, help_heading = SMALL, hide_short_help = true)]
    pub(super) quiet: bool,
    /// Answer one message, then exit (md5 and hello over UDP)
    #[arg(long, help_heading = SMALL, hide_short_help = true)]
    pub(super) once: bool,
    /// Bytes to read at a time (framed)
    #[arg(long, help_heading = SMALL, hide_short_help = true, value_name = "BYTES", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..=BUFFER_MAX))]
    pub(super) buffer_size: u32,
    /// Longest message, in bytes (framed)
    #[arg(long, help_heading = SMALL, hide_short_help = true, value_name = "BYTES",
          default_value_t = framed::MESSAGE_MAX as u32)]
    pub(super) max_message: u32,
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

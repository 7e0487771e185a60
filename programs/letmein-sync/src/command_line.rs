//! The command line: options and their help. `-h` is one screen, `--help` is all.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use letmein::cli::server::{ModeName, parse_log_format, parse_log_level, parse_mode};
use letmein::cli::{parse_address, parse_time};
use server::log::LogFormat;
use tracing::level_filters::LevelFilter;

/// Keep the users of a server as a database has them
///
/// Writes all users into a folder, and then what changes, within about a second.
/// server-udp and server-tcp read them from there with --users FOLDER. While the
/// database is away, logins go on with the users that are there.
#[derive(Parser)]
#[command(name = "letmein-sync", version, after_long_help = EXAMPLES)]
pub struct Args {
    /// Where the database is: a file with mode 600, as for letmein-users --engine
    #[arg(long, value_name = "FILE")]
    pub(crate) engine: PathBuf,
    /// The folder for the users; it is made if there is none
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// The name of this node in letmein-users nodes [default: that of the machine]
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Carry the failed logins of the server with this socket to the other nodes
    ///
    /// SOCKET is what the server offers by its own --exchange. Give the option once for
    /// each server on this machine.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) exchange: Vec<PathBuf>,
    /// Serve metrics and health on ADDRESS
    ///
    /// /metrics is for Prometheus. /healthz is 503 while the users are older than
    /// --stale-after says, or a new set of users waits for a SIGHUP.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub(crate) http: Option<SocketAddr>,
    /// How old users may be before /healthz says so: 90s, 15m, 24h
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_time)]
    pub(crate) stale_after: Duration,
    /// Compare the revisions of database and folder, and exit
    ///
    /// Changes nothing. Exit status: 0 they are the same, 1 they differ or rows are no
    /// users, 2 a file is wrong, 3 there is no answer.
    #[arg(long)]
    pub(crate) check: bool,
    /// What happens to actions that the sandbox forbids: on, log or off
    ///
    /// on: refused; log: allowed, but logged by the kernel; off: no sandbox.
    #[arg(long, value_name = "MODE", default_value = "on", value_parser = parse_mode)]
    pub(crate) sandbox: ModeName,
    /// Least level of log lines: error, warn, info, debug
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = parse_log_level)]
    pub(crate) log_level: LevelFilter,
    /// Format of log lines: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = parse_log_format)]
    pub(crate) log_format: LogFormat,
}

const EXAMPLES: &str = "\
Examples:
  letmein-sync --engine letmein-database --folder /var/lib/letmein-sync
  server-udp 8591 --users /var/lib/letmein-sync
  letmein-sync --engine letmein-database --folder /var/lib/letmein-sync --check

SIGHUP takes a set of users that has fewer than half as many as before.

Exit status: 0 stopped by a signal, 2 wrong command line or file, 3 the system
failed";

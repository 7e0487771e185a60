//! The command line: options and help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::PROGRAM;
use crate::load_generator::SOURCES_MAX;
use client::host_port::HostPort;
use letmein::cli::usage::Invalid;
use letmein::cli::{parse_mechanism, parse_time};
use proto::credentials::{Password, Username};
use proto::mechanism::Mechanism;

/// Headings of `--help`.
const LOGINS: &str = "Logins";
const LOAD: &str = "Load";
const RESULTS: &str = "Results";

/// Measure how fast a server answers logins, and what they cost it
///
/// It makes many logins at once, at a server of yours.
#[derive(Parser)]
#[command(name = PROGRAM, version, after_help = SHORT_EXAMPLE, after_long_help = AFTER_LONG_HELP)]
pub struct Args {
    /// udp or tcp
    #[arg(value_name = "TRANSPORT", value_parser = parse_transport)]
    pub(crate) transport: TransportName,
    /// Server; an IPv6 address goes in brackets
    #[arg(value_name = "HOST:PORT")]
    pub(crate) server: HostPort,
    /// Users to log in as
    ///
    /// Skips users with a network restriction or an expiry date.
    #[arg(long, help_heading = LOGINS, value_name = "FILE", default_value = "users.toml")]
    pub(crate) users: PathBuf,
    /// Log in as this user only
    #[arg(long, help_heading = LOGINS, value_name = "NAME", requires = "password", conflicts_with = "users")]
    pub(crate) user: Option<Username>,
    /// Password of --user
    ///
    /// Other users of this machine can see it, so use one that is used nowhere else.
    #[arg(long, help_heading = LOGINS, value_name = "PASSWORD", requires = "user", value_parser = parse_password)]
    pub(crate) password: Option<Password>,
    /// How to prove the password
    ///
    /// With opaque give --user, who needs a record that was made with --stretch none: clients compute about as much as
    /// the server, and stretching a password would take them far longer.
    #[arg(long, help_heading = LOGINS, value_name = "md5|opaque", default_value = "md5", value_parser = parse_mechanism)]
    pub(crate) mechanism: Mechanism,
    /// Percentage of logins with a wrong password
    #[arg(long, help_heading = LOGINS, hide_short_help = true, value_name = "PERCENT", default_value_t = 0.0)]
    pub(crate) wrong: f64,
    /// Percentage of logins of unknown users
    #[arg(long, help_heading = LOGINS, hide_short_help = true, value_name = "PERCENT", default_value_t = 0.0)]
    pub(crate) unknown: f64,
    /// Leave the challenge out of answers, as the first clients do
    #[arg(long, help_heading = LOGINS, hide_short_help = true)]
    pub(crate) no_echo: bool,
    /// Client addresses in 127.0.0.0/8 to use in turn
    #[arg(long, help_heading = LOGINS, hide_short_help = true, value_name = "N", default_value_t = 1 << 20,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(SOURCES_MAX)))]
    pub(crate) sources: u32,
    /// Logins at a time [default: 256; with opaque 32]
    ///
    /// Each client begins a login as soon as its last one has ended. With --rate this is the most at a time, and the
    /// default is 16384.
    #[arg(long, help_heading = LOAD, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    pub(crate) clients: Option<u32>,
    /// Logins to begin per second, at a fixed rate
    ///
    /// Latency then counts from when a login was due, so that a stall shows in all the logins that it delayed.
    #[arg(long, help_heading = LOAD, value_name = "N", value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// Time to begin logins
    ///
    /// Seconds, or a number with a unit: 500ms, 15s, 2m, 1h.
    #[arg(long, help_heading = LOAD, value_name = "TIME", default_value = "10", value_parser = parse_time)]
    pub(crate) duration: Duration,
    /// Time after which a login is lost
    #[arg(long, help_heading = LOAD, hide_short_help = true, value_name = "TIME", default_value = "15",
          value_parser = parse_time)]
    pub(crate) patience: Duration,
    /// Load a server on another machine
    #[arg(long, help_heading = LOAD, hide_short_help = true)]
    pub(crate) i_own_this_network: bool,
    /// Server's process, to measure what it costs
    ///
    /// That is its processor time per login, and its memory.
    #[arg(long, help_heading = RESULTS, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Also measure a bare echo, and print the ratio
    ///
    /// The echo receives and sends messages of the same sizes, and does nothing else. With opaque it is not an echo but
    /// KE2 (RFC 9807), the largest part of what a server computes: how many a processor makes in a second.
    #[arg(long, help_heading = RESULTS)]
    pub(crate) floor: bool,
    /// Print one JSON object
    #[arg(long, help_heading = RESULTS)]
    pub(crate) json: bool,
    /// Draw latency and throughput
    #[arg(long, help_heading = RESULTS, value_name = "NAME.svg", value_parser = parse_plot)]
    pub(crate) plot: Option<PathBuf>,
}

/// There are not enough ports and descriptors for more.
const CLIENTS_MAX: u32 = 65_536;
/// Logins at a time, unless told otherwise.
pub(crate) const CLIENTS: u32 = 256;
/// Logins by OPAQUE at a time, unless told otherwise: half as many as may wait at a worker.
pub(crate) const OPAQUE_CLIENTS: u32 = 32;
/// Logins at a time in an open loop, unless told otherwise.
pub(crate) const OPEN_CLIENTS: u32 = 16_384;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TransportName {
    Udp,
    Tcp,
}

const SHORT_EXAMPLE: &str = "Example: letmein-bench udp 127.0.0.1:8591 --users users.toml";

const AFTER_LONG_HELP: &str = "\
Examples:
  letmein-bench udp 127.0.0.1:8591 --users users.toml
  letmein-bench udp 127.0.0.1:8591 --pid $(pidof server-udp) --floor
  letmein-bench tcp 127.0.0.1:8591 --rate 2000 --duration 60 --plot tcp.svg
  letmein-bench udp 127.0.0.1:8591 --wrong 50 --unknown 25 --json
  letmein-bench udp 127.0.0.1:8591 --mechanism opaque --user u --password p

With --wrong or --unknown, start the server with --user-failures off, or for opaque with --trust 127.0.0.0/8; \
otherwise it soon blocks the load.

Exit status: 0 done, 1 a verdict was wrong, 2 wrong command line or users file, 3 no verdict at all";

fn parse_transport(text: &str) -> Result<TransportName, Invalid> {
    TransportName::from_str(text, false).map_err(|_| Invalid::new("transport", text, "choose udp or tcp"))
}

fn parse_plot(text: &str) -> Result<PathBuf, Invalid> {
    let path = PathBuf::from(text);
    let is_svg = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
    if is_svg { Ok(path) } else { Err(Invalid::new("name of a plot", text, "write NAME.svg")) }
}

fn parse_rate(text: &str) -> Result<f64, Invalid> {
    let rate = text.parse().ok().filter(|rate: &f64| (1e-3..=1e9).contains(rate));
    rate.ok_or_else(|| Invalid::new("rate", text, "give logins per second, from 0.001, as in 1000"))
}

fn parse_password(text: &str) -> Result<Password, String> {
    Password::new(text).map_err(|error| format!("the password {error}"))
}

//! `letmein-bench`: makes many logins at a server, and measures them.

mod load_generator;

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, Parser, ValueEnum};
use serde::Serialize;

use client::host_port::HostPort;
use letmein::cli::usage::{PasswordArgument, invalid, parse};
use letmein::cli::{ExitStatus, failed, parse_time, say};
use load_generator::{ChallengeEcho, Figures, Load, Pace, Plan, Process, SOURCES_MAX};
use proto::credentials::{Password, Username};
use proto::transport::Transport;

const PROGRAM: &str = "letmein-bench";
const EXAMPLE: &str = "letmein-bench udp 127.0.0.1:8591 --users users.toml";

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
    transport: TransportName,
    /// Server; an IPv6 address goes in brackets
    #[arg(value_name = "HOST:PORT")]
    server: HostPort,
    /// Users to log in as
    ///
    /// Skips users with a network restriction or an expiry date.
    #[arg(long, help_heading = LOGINS, value_name = "FILE", default_value = "users.toml")]
    users: PathBuf,
    /// Log in as this user only
    #[arg(long, help_heading = LOGINS, value_name = "NAME", requires = "password", conflicts_with = "users")]
    user: Option<Username>,
    /// Password of --user
    ///
    /// Other users of this machine can see it, so use one that is used nowhere else.
    #[arg(long, help_heading = LOGINS, value_name = "PASSWORD", requires = "user", value_parser = parse_password)]
    password: Option<Password>,
    /// Percentage of logins with a wrong password
    #[arg(long, help_heading = LOGINS, hide_short_help = true, value_name = "PERCENT", default_value_t = 0.0)]
    wrong: f64,
    /// Percentage of logins of unknown users
    #[arg(long, help_heading = LOGINS, hide_short_help = true, value_name = "PERCENT", default_value_t = 0.0)]
    unknown: f64,
    /// Leave the challenge out of answers, as the first clients do
    #[arg(long, help_heading = LOGINS, hide_short_help = true)]
    no_echo: bool,
    /// Client addresses in 127.0.0.0/8 to use in turn
    #[arg(long, help_heading = LOGINS, hide_short_help = true, value_name = "N", default_value_t = 1 << 20,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(SOURCES_MAX)))]
    sources: u32,
    /// Logins at a time [default: 256]
    ///
    /// Each client begins a login as soon as its last one has ended. With --rate this is the most at a time, and the
    /// default is 16384.
    #[arg(long, help_heading = LOAD, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    clients: Option<u32>,
    /// Logins to begin per second, at a fixed rate
    ///
    /// Latency then counts from when a login was due, so that a stall shows in all the logins that it delayed.
    #[arg(long, help_heading = LOAD, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Time to begin logins
    ///
    /// Seconds, or a number with a unit: 500ms, 15s, 2m, 1h.
    #[arg(long, help_heading = LOAD, value_name = "TIME", default_value = "10", value_parser = parse_time)]
    duration: Duration,
    /// Time after which a login is lost
    #[arg(long, help_heading = LOAD, hide_short_help = true, value_name = "TIME", default_value = "15",
          value_parser = parse_time)]
    patience: Duration,
    /// Load a server on another machine
    #[arg(long, help_heading = LOAD, hide_short_help = true)]
    i_own_this_network: bool,
    /// Server's process, to measure what it costs
    ///
    /// That is its processor time per login, and its memory.
    #[arg(long, help_heading = RESULTS, value_name = "PID")]
    pid: Option<u32>,
    /// Also measure a bare echo, and print the ratio
    ///
    /// The echo receives and sends messages of the same sizes, and does nothing else.
    #[arg(long, help_heading = RESULTS)]
    floor: bool,
    /// Print one JSON object
    #[arg(long, help_heading = RESULTS)]
    json: bool,
    /// Draw latency and throughput
    #[arg(long, help_heading = RESULTS, value_name = "NAME.svg", value_parser = parse_plot)]
    plot: Option<PathBuf>,
}

/// There are not enough ports and descriptors for more.
const CLIENTS_MAX: u32 = 65_536;
/// Logins at a time, unless told otherwise.
const CLIENTS: u32 = 256;
/// Logins at a time in an open loop, unless told otherwise.
const OPEN_CLIENTS: u32 = 16_384;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TransportName {
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

With --wrong or --unknown, start the server with --user-failures off; otherwise it soon blocks the load.

Exit status: 0 done, 1 a verdict was wrong, 2 wrong command line or users file, 3 no verdict at all";

pub fn run() -> Result<ExitStatus, ExitStatus> {
    let args: Args = parse(Args::command(), EXAMPLE, PasswordArgument::Taken)?;
    let mut plan = args.plan()?;
    let mut plot = args.create_plot()?;
    server::descriptors::raise_limit();
    let floor = args.floor.then(|| args.measure("echo", &mut plan, load_generator::run_floor)).transpose()?;
    let server = args.measure("server", &mut plan, load_generator::run)?;
    let report = Report::new(plan.to_string(), &server, floor.as_ref());
    if args.json {
        report.print_json().map_err(|error| failed(PROGRAM, error))?;
    }
    if server.logins() == 0 {
        let error = server.last_error.as_deref().unwrap_or("no answer");
        return Err(failed(
            PROGRAM,
            format_args!("{plan}: no login got a verdict: {error}: is a server there?"),
        ));
    }
    if !args.json {
        write!(io::stdout(), "{report}").map_err(|error| failed(PROGRAM, error))?;
    }
    args.warn(&server);
    if args.floor && plan.shares_processors() {
        say(format_args!(
            "{PROGRAM}: server and generator share processors, so the ratio is too high or too low: run each with \
             taskset, on processors of its own"
        ));
    }
    if let Some(plot) = &mut plot {
        let drawn = load_generator::draw(&report.subject, &server, floor.as_ref());
        let written = drawn.and_then(|picture| Ok(plot.write_all(picture.as_bytes())?));
        written.map_err(|error| failed(PROGRAM, format_args!("cannot draw the plot: {error}")))?;
    }
    Ok(match server.wrong {
        1.. => ExitStatus::Refused,
        0 => ExitStatus::Done,
    })
}

/// A v4-mapped address is one of IPv4.
fn canonical(address: &SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Carries out a plan at the server, or at the floor.
type Measurement = fn(&mut Plan, &mut dyn FnMut(&Figures)) -> io::Result<Figures>;

impl Args {
    fn plan(&self) -> Result<Plan, ExitStatus> {
        let invalid = |reason: &str| invalid(reason, EXAMPLE);
        let server = self.address()?;
        if !server.ip().is_loopback() && !self.i_own_this_network {
            return Err(invalid(
                "the server is on another machine: if that machine and the network are yours, add --i-own-this-network",
            ));
        }
        if !server.ip().is_loopback() && self.floor {
            return Err(invalid(
                "--floor is for a server on this machine: an echo here says nothing about another machine",
            ));
        }
        let load = self
            .load()?
            .with_failures(self.wrong, self.unknown)
            .map_err(|error| invalid(&error.to_string()))?;
        let pace = self.pace();
        if (self.sources as usize) < pace.clients() {
            return Err(invalid("--sources must be at least --clients"));
        }
        Ok(Plan {
            server,
            transport: match self.transport {
                TransportName::Udp => Transport::Udp,
                TransportName::Tcp => Transport::Tcp,
            },
            load: load.with_echo(if self.no_echo { ChallengeEcho::Omitted } else { ChallengeEcho::Included }),
            pace,
            duration: self.duration,
            patience: self.patience,
            sources: self.sources,
            process: self.process()?,
        })
    }

    fn process(&self) -> Result<Option<Process>, ExitStatus> {
        let Some(pid) = self.pid else { return Ok(None) };
        match Process::of(pid) {
            None => Err(invalid(&format!("no process {pid}, or no right to see what it costs"), EXAMPLE)),
            process => Ok(process),
        }
    }

    /// Creates the file of the plot before the run, which is in vain without it.
    fn create_plot(&self) -> Result<Option<File>, ExitStatus> {
        let Some(path) = &self.plot else { return Ok(None) };
        let created = File::create(path);
        created
            .map(Some)
            .map_err(|error| failed(PROGRAM, format_args!("cannot create {}: {error}", path.display())))
    }

    /// Says what is doubtful about the figures, and what it may come from.
    fn warn(&self, server: &Figures) {
        if let Some(error) = &server.last_error {
            say(format_args!("{PROGRAM}: {}: {error}", self.server));
        }
        if server.wrong > 0 {
            say(format_args!("{PROGRAM}: wrong verdicts: {}: check the users and passwords", server.wrong));
        }
        if server.lost > 0 {
            say(format_args!(
                "{PROGRAM}: lost logins: {}: the server may be down, or be blocking (start it with --user-failures \
                 off)",
                server.lost
            ));
        }
        if let (Some(pid), Some(Duration::ZERO)) = (self.pid, server.cpu) {
            say(format_args!("{PROGRAM}: process {pid} used no processor time: is it the server?"));
        }
    }

    fn address(&self) -> Result<SocketAddr, ExitStatus> {
        let addresses = self.server.resolve(Duration::from_secs(15));
        addresses
            .and_then(|found| found.first().map(canonical).ok_or_else(|| io::Error::other("no address")))
            .map_err(|error| failed(PROGRAM, format_args!("{}: {error}", self.server)))
    }

    fn load(&self) -> Result<Load, ExitStatus> {
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            return Ok(Load::of_user(user, password));
        }
        let unusable = |error: &dyn fmt::Display| {
            say(format_args!("{PROGRAM}: {error}"));
            ExitStatus::Usage
        };
        let loaded = users::load(&self.users).map_err(|error| unusable(&error))?;
        Load::of_users(&loaded.users)
            .map_err(|error| unusable(&format_args!("{}: {error}", self.users.display())))
    }

    fn pace(&self) -> Pace {
        match self.rate {
            Some(rate) => Pace::Open { rate, clients: self.clients.unwrap_or(OPEN_CLIENTS) as usize },
            None => Pace::Closed { clients: self.clients.unwrap_or(CLIENTS) as usize },
        }
    }

    fn measure(&self, what: &str, plan: &mut Plan, measurement: Measurement) -> Result<Figures, ExitStatus> {
        let shows_progress = io::stderr().is_terminal();
        let figures = measurement(plan, &mut |figures| {
            if shows_progress {
                let (seconds, last) = (figures.per_second.len(), figures.per_second.last().unwrap_or(&0));
                let _ = write!(io::stderr(), "\r{what}: {seconds} s, {last} logins/s \x1b[K");
            }
        });
        if shows_progress {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        figures.map_err(|error| failed(PROGRAM, error))
    }
}

/// Figures as they are printed. Times are in microseconds.
#[derive(Serialize)]
struct Summary {
    logins: u64,
    logins_per_s: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p99_9_us: f64,
    max_us: f64,
    resends: u64,
    generator_load: Option<f64>,
    lost: u64,
    wrong: u64,
    cpu_us_per_login: Option<f64>,
    resident_bytes: Option<u64>,
}

impl Summary {
    fn of(figures: &Figures) -> Self {
        let us = |percent| to_thousandths(figures.percentile(percent).as_secs_f64() * 1e6);
        Self {
            logins: figures.logins(),
            logins_per_s: to_thousandths(figures.rate()),
            p50_us: us(50.0),
            p90_us: us(90.0),
            p99_us: us(99.0),
            p99_9_us: us(99.9),
            max_us: us(100.0),
            resends: figures.resends,
            generator_load: figures.generator_load.map(to_thousandths),
            lost: figures.lost,
            wrong: figures.wrong,
            cpu_us_per_login: figures.cpu_us().map(to_thousandths),
            resident_bytes: figures.resident_bytes,
        }
    }
}

/// More digits would only be noise.
fn to_thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[derive(Serialize)]
struct Report {
    /// What was measured.
    subject: String,
    server: Summary,
    floor: Option<Summary>,
    /// The server's processor time per login, divided by the echo's.
    cpu_ratio: Option<f64>,
}

impl Report {
    fn new(subject: String, server: &Figures, floor: Option<&Figures>) -> Self {
        let costs = server.cpu_us().zip(floor.and_then(Figures::cpu_us));
        let cpu_ratio = costs.map(|(server, floor)| to_thousandths(server / floor));
        Self { subject, server: Summary::of(server), floor: floor.map(Summary::of), cpu_ratio }
    }

    fn print_json(&self) -> io::Result<()> {
        writeln!(io::stdout(), "{}", serde_json::to_string(self)?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.subject)?;
        if let Some(floor) = &self.floor {
            writeln!(f, "echo\n{floor}\nserver")?;
        }
        write!(f, "{}", self.server)?;
        match self.cpu_ratio {
            Some(ratio) => writeln!(f, "\nprocessor time per login, server / echo: {ratio:.3}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "logins          {:>10}   {:.0} per second", self.logins, self.logins_per_s)?;
        let latencies = [self.p50_us, self.p90_us, self.p99_us, self.p99_9_us, self.max_us];
        for (name, us) in ["p50", "p90", "p99", "p99.9", "max"].into_iter().zip(latencies) {
            let (time, unit) = with_unit(us);
            writeln!(f, "latency {name:<5}   {time:>10.1} {unit}")?;
        }
        writeln!(f, "resends         {:>10}", self.resends)?;
        writeln!(f, "lost logins     {:>10}", self.lost)?;
        writeln!(f, "wrong verdicts  {:>10}", self.wrong)?;
        if let Some(us) = self.cpu_us_per_login {
            writeln!(f, "server CPU time {us:>10.2} µs per login")?;
        }
        if let Some(bytes) = self.resident_bytes {
            writeln!(f, "server memory   {:>10.1} MiB", bytes as f64 / f64::from(1 << 20))?;
        }
        if let Some(load) = self.generator_load {
            writeln!(f, "generator CPU   {:>10.0} %", load * 100.0)?;
        }
        Ok(())
    }
}

/// A time in the largest unit of which it is at least one.
fn with_unit(us: f64) -> (f64, &'static str) {
    match us {
        1e6.. => (us / 1e6, "s"),
        1e3.. => (us / 1e3, "ms"),
        _ => (us, "µs"),
    }
}

fn parse_transport(text: &str) -> Result<TransportName, String> {
    TransportName::from_str(text, false).map_err(|_| format!("invalid transport {text:?}: choose udp or tcp"))
}

fn parse_plot(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_svg = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
    if is_svg { Ok(path) } else { Err("invalid name of a plot: write NAME.svg".to_owned()) }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| (1e-3..=1e9).contains(rate));
    rate.ok_or_else(|| format!("invalid rate {text:?}: give logins per second, from 0.001, as in 1000"))
}

fn parse_password(text: &str) -> Result<Password, String> {
    Password::new(text).map_err(|error| format!("the password {error}"))
}

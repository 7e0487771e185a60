//! `letmein-bench`: makes many logins at a server, and measures them.

mod load_generator;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, Parser, ValueEnum};
use serde::Serialize;

use client::host_port::HostPort;
use letmein::cli::{ExitStatus, failed, invalid, parse, parse_seconds, say};
use load_generator::{ChallengeEcho, Figures, Load, Pace, Plan, Process, SOURCES_MAX};
use proto::credentials::{Password, Username};
use proto::transport::Transport;

const PROGRAM: &str = "letmein-bench";
const EXAMPLE: &str = "letmein-bench udp 127.0.0.1:8591 --users users.toml";

/// Make many logins at a server of yours, and tell how long they took and what they cost it
#[derive(Parser)]
#[command(name = PROGRAM, version, after_help = after_help())]
pub struct Args {
    /// udp or tcp
    #[arg(value_name = "TRANSPORT", value_parser = parse_transport)]
    transport: TransportName,
    /// The server; an IPv6 address goes in brackets
    #[arg(value_name = "HOST:PORT")]
    server: HostPort,
    /// Log in as all users of this file who may from anywhere at any time
    #[arg(long, value_name = "FILE", default_value = "users.toml")]
    users: PathBuf,
    /// Log in as this user, and no other
    #[arg(long, value_name = "NAME", requires = "password", conflicts_with = "users")]
    user: Option<Username>,
    /// The password of --user; other users of this machine can see it, so take one that is good for nothing else
    #[arg(long, value_name = "PASSWORD", requires = "user", value_parser = parse_password)]
    password: Option<Password>,
    /// Logins at a time; in an open loop, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    clients: Option<u32>,
    /// Open loop: begin so many logins a second, whether the server keeps up or not
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,
    /// For how long to begin logins
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    duration: Duration,
    /// How long a login may take before it is lost
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = parse_seconds)]
    patience: Duration,
    /// How many logins in a hundred have a wrong password
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    wrong: f64,
    /// How many logins in a hundred are of users that do not exist
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    unknown: f64,
    /// Answer without the challenge, as the first clients do
    #[arg(long)]
    no_echo: bool,
    /// Addresses of 127.0.0.0/8 that logins at this machine come from, by turns
    #[arg(long, value_name = "N", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(SOURCES_MAX)))]
    sources: u32,
    /// The server's process, to tell its processor time and memory
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// First do the same to a bare echo of messages of the same sizes, and tell the ratio
    #[arg(long)]
    floor: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Draw latency by percentile and throughput over time
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Do this to a server that is not this machine
    #[arg(long)]
    i_own_this_network: bool,
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

fn after_help() -> String {
    format!(
        "Examples:\n  \
         {EXAMPLE}\n  \
         letmein-bench udp 127.0.0.1:8591 --pid $(pidof server-udp) --floor\n  \
         letmein-bench tcp 127.0.0.1:8591 --rate 2000 --duration 60 --plot tcp.svg\n  \
         letmein-bench udp 127.0.0.1:8591 --wrong 50 --unknown 25 --json\n\n\
         In a closed loop each client begins a login when its last has ended. With --rate, latency counts from when a\n\
         login was to begin, so that a stall of the server shows in all the logins that it held up.\n\n\
         Exit status: 0 done, 1 a verdict was wrong, 2 wrong command line or configuration, 3 no verdict at all"
    )
}

pub fn run() -> Result<ExitStatus, ExitStatus> {
    let args: Args = parse(Args::command(), EXAMPLE)?;
    let mut plan = args.plan()?;
    server::descriptors::raise_limit();
    let floor =
        args.floor.then(|| args.measure("floor", &mut plan, load_generator::run_floor)).transpose()?;
    let server = args.measure("server", &mut plan, load_generator::run)?;
    print(&server, floor.as_ref(), args.json).map_err(|error| failed(PROGRAM, error))?;
    if let Some(error) = &server.last_error {
        say(format_args!("{PROGRAM}: {}: {error}", args.server));
    }
    if let Some(path) = &args.plot {
        load_generator::draw(path, &server, floor.as_ref())
            .map_err(|error| failed(PROGRAM, format_args!("{}: {error}", path.display())))?;
    }
    Ok(match (server.wrong, server.logins()) {
        (1.., _) => ExitStatus::Refused,
        (0, 0) => ExitStatus::Failed,
        (0, 1..) => ExitStatus::Done,
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
            return Err(invalid("this server is not this machine: insist with --i-own-this-network"));
        }
        if !server.ip().is_loopback() && self.floor {
            return Err(invalid(
                "--floor is for servers of this machine: an echo here tells nothing of another",
            ));
        }
        let load = self
            .load()?
            .with_failures(self.wrong, self.unknown)
            .map_err(|error| invalid(&error.to_string()))?;
        let pace = self.pace();
        if (self.sources as usize) < pace.clients() {
            return Err(invalid("--sources has to be at least --clients"));
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
            None => Err(invalid(
                &format!("there is no process {pid}, or none whose figures may be seen"),
                EXAMPLE,
            )),
            process => Ok(process),
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
        let us = |percent| figures.percentile(percent).as_secs_f64() * 1e6;
        Self {
            logins: figures.logins(),
            logins_per_s: figures.rate(),
            p50_us: us(50.0),
            p90_us: us(90.0),
            p99_us: us(99.0),
            p99_9_us: us(99.9),
            max_us: us(100.0),
            resends: figures.resends,
            generator_load: figures.generator_load,
            lost: figures.lost,
            wrong: figures.wrong,
            cpu_us_per_login: figures.cpu_us(),
            resident_bytes: figures.resident_bytes,
        }
    }
}

#[derive(Serialize)]
struct Report {
    server: Summary,
    floor: Option<Summary>,
    /// The server's processor time for a login, divided by the floor's.
    cpu_ratio: Option<f64>,
}

fn print(server: &Figures, floor: Option<&Figures>, json: bool) -> io::Result<()> {
    let cpu_ratio =
        server.cpu_us().zip(floor.and_then(Figures::cpu_us)).map(|(server, floor)| server / floor);
    let report = Report { server: Summary::of(server), floor: floor.map(Summary::of), cpu_ratio };
    let mut stdout = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut stdout, &report)?;
        return writeln!(stdout);
    }
    if let Some(floor) = &report.floor {
        writeln!(stdout, "floor\n{floor}\nserver")?;
    }
    write!(stdout, "{}", report.server)?;
    if let Some(ratio) = report.cpu_ratio {
        writeln!(stdout, "\nprocessor time of the server / of the floor: {ratio:.3}")?;
    }
    Ok(())
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "logins        {:>12}   {:.0} a second", self.logins, self.logins_per_s)?;
        let latencies = [self.p50_us, self.p90_us, self.p99_us, self.p99_9_us, self.max_us];
        for (name, us) in ["p50", "p90", "p99", "p99.9", "max"].into_iter().zip(latencies) {
            writeln!(f, "latency {name:<5} {us:>12.1} µs")?;
        }
        writeln!(f, "sent again    {:>12}", self.resends)?;
        if let Some(load) = self.generator_load {
            writeln!(f, "generator     {:>12.0} % of a processor", load * 100.0)?;
        }
        writeln!(f, "lost          {:>12}", self.lost)?;
        writeln!(f, "wrong verdict {:>12}", self.wrong)?;
        if let Some(us) = self.cpu_us_per_login {
            writeln!(f, "processor     {us:>12.2} µs a login")?;
        }
        if let Some(bytes) = self.resident_bytes {
            writeln!(f, "resident      {:>12.1} MiB", bytes as f64 / f64::from(1 << 20))?;
        }
        Ok(())
    }
}

fn parse_transport(text: &str) -> Result<TransportName, String> {
    TransportName::from_str(text, false).map_err(|_| format!("no transport {text:?}: there are udp and tcp"))
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| (1e-3..=1e9).contains(rate));
    rate.ok_or_else(|| format!("no rate {text:?}: give logins a second, from 0.001, as in 1000"))
}

fn parse_password(text: &str) -> Result<Password, String> {
    Password::new(text).map_err(|error| format!("the password {error}"))
}

//! `letmein-bench`: makes many logins at a server, and measures them.

mod command_line;
mod load_generator;
mod report;

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::CommandFactory;

pub use command_line::Args;
use command_line::{CLIENTS, OPAQUE_CLIENTS, OPEN_CLIENTS, TransportName};
use letmein::cli::usage::{Usage, invalid, parse};
use letmein::cli::{ExitStatus, failed, say};
use load_generator::{ChallengeEcho, Figures, Load, OpaqueUser, Pace, Plan, Process};
use proto::mechanism::Mechanism;
use proto::transport::Transport;
use report::{Floor, Report};

const PROGRAM: &str = "letmein-bench";
const EXAMPLE: &str = "letmein-bench udp 127.0.0.1:8591 --users users.toml";

pub fn run() -> Result<ExitStatus, ExitStatus> {
    let args: Args = parse(Args::command(), &Usage::with_password(EXAMPLE))?;
    let mut plan = args.plan()?;
    let mut plot = args.create_plot()?;
    server::descriptors::raise_limit();
    let floor = args.floor.then(|| args.measure_floor(&mut plan)).transpose()?;
    let server = args.measure("server", &mut plan, load_generator::run)?;
    let report = Report::new(plan.to_string(), &server, floor.as_ref());
    if args.json {
        report.print_json().map_err(|error| failed(PROGRAM, error))?;
    }
    if server.logins() == 0 {
        return Err(failed(PROGRAM, format_args!("{plan}: no login got a verdict: {}", why_none(&server))));
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
        let drawn = load_generator::draw(&report.subject, &server, floor.as_ref().and_then(Floor::echo));
        let written = drawn.and_then(|picture| Ok(plot.write_all(picture.as_bytes())?));
        written.map_err(|error| failed(PROGRAM, format_args!("cannot draw the plot: {error}")))?;
    }
    Ok(match server.wrong {
        1.. => ExitStatus::Refused,
        0 => ExitStatus::Done,
    })
}

/// Why no login got a verdict, and what to look at.
fn why_none(server: &Figures) -> String {
    if server.has_heard_other {
        return "something answers there, but it is another service: check the port".to_owned();
    }
    format!("{}: is a server there?", server.last_error.as_deref().unwrap_or("no answer"))
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
        if self.mechanism == Mechanism::Opaque && self.user.is_none() {
            return Err(invalid(
                "--mechanism opaque needs --user and --password: a users file has no passwords of users with records",
            ));
        }
        if self.mechanism == Mechanism::Opaque && self.no_echo {
            return Err(invalid("--no-echo is for --mechanism md5"));
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
            let remedy = match self.mechanism {
                Mechanism::Md5 => "--user-failures off",
                Mechanism::Opaque => "--trust 127.0.0.0/8",
            };
            say(format_args!(
                "{PROGRAM}: lost logins: {}: the server may be down, or be blocking (start it with {remedy})",
                server.lost
            ));
        }
        if server.clients_stretch {
            say(format_args!(
                "{PROGRAM}: passwords had to be stretched, by this process: measure with records that were all made \
                 with --stretch none"
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
            return match self.mechanism {
                Mechanism::Md5 => Ok(Load::of_user(user, password)),
                Mechanism::Opaque => {
                    let user = OpaqueUser::new(user, password).map_err(|error| failed(PROGRAM, error))?;
                    Ok(Load::of_opaque_user(user))
                }
            };
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
        let closed = match self.mechanism {
            Mechanism::Md5 => CLIENTS,
            Mechanism::Opaque => OPAQUE_CLIENTS,
        };
        match self.rate {
            Some(rate) => Pace::Open { rate, clients: self.clients.unwrap_or(OPEN_CLIENTS) as usize },
            None => Pace::Closed { clients: self.clients.unwrap_or(closed) as usize },
        }
    }

    /// Measures the least that a server can do for these logins.
    fn measure_floor(&self, plan: &mut Plan) -> Result<Floor, ExitStatus> {
        match load_generator::run_ke2(plan).map_err(|error| failed(PROGRAM, error))? {
            Some(figures) => Ok(Floor::Ke2(figures)),
            None => {
                self.measure("echo", plan, load_generator::run_floor).map(|echo| Floor::Echo(echo.into()))
            }
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

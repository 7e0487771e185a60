//! What was measured, as text and as JSON.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use crate::load_generator::{Figures, Ke2Figures};

/// The least that a server can do for the logins.
pub(crate) enum Floor {
    /// For those by MD5.
    Echo(Box<Figures>),
    /// For those by OPAQUE.
    Ke2(Ke2Figures),
}

impl Floor {
    pub(crate) fn echo(&self) -> Option<&Figures> {
        match self {
            Self::Echo(figures) => Some(figures),
            Self::Ke2(_) => None,
        }
    }

    /// Its processor time for a login, in microseconds.
    fn cpu_us(&self) -> Option<f64> {
        match self {
            Self::Echo(figures) => figures.cpu_us(),
            Self::Ke2(figures) => Some(figures.cpu_us()),
        }
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
    /// Of what clients of OPAQUE compute. It is part of the latencies, and not of the server's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_cpu_us_per_login: Option<f64>,
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
            client_cpu_us_per_login: figures.client_cpu_us().map(to_thousandths),
            resident_bytes: figures.resident_bytes,
        }
    }
}

/// The floor as it is printed.
#[derive(Serialize)]
#[serde(untagged)]
enum FloorSummary {
    Echo(Box<Summary>),
    Ke2 { ke2: u64, ke2_per_s: f64, cpu_us_per_ke2: f64 },
}

impl FloorSummary {
    fn of(floor: &Floor) -> Self {
        match floor {
            Floor::Echo(figures) => Self::Echo(Summary::of(figures).into()),
            Floor::Ke2(figures) => Self::Ke2 {
                ke2: figures.computed,
                ke2_per_s: to_thousandths(figures.rate()),
                cpu_us_per_ke2: to_thousandths(figures.cpu_us()),
            },
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Echo(_) => "echo",
            Self::Ke2 { .. } => "KE2",
        }
    }
}

/// More digits would only be noise.
fn to_thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[derive(Serialize)]
pub(crate) struct Report {
    /// What was measured.
    pub(crate) subject: String,
    server: Summary,
    floor: Option<FloorSummary>,
    /// The server's processor time per login, divided by the floor's.
    cpu_ratio: Option<f64>,
}

impl Report {
    pub(crate) fn new(subject: String, server: &Figures, floor: Option<&Floor>) -> Self {
        let costs = server.cpu_us().zip(floor.and_then(Floor::cpu_us));
        let cpu_ratio = costs.map(|(server, floor)| to_thousandths(server / floor));
        Self { subject, server: Summary::of(server), floor: floor.map(FloorSummary::of), cpu_ratio }
    }

    pub(crate) fn print_json(&self) -> io::Result<()> {
        writeln!(io::stdout(), "{}", serde_json::to_string(self)?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.subject)?;
        if let Some(floor) = &self.floor {
            writeln!(f, "{}\n{floor}\nserver", floor.name())?;
        }
        write!(f, "{}", self.server)?;
        match (self.cpu_ratio, &self.floor) {
            (Some(ratio), Some(floor)) => {
                writeln!(f, "\nprocessor time per login, server / {}: {ratio:.3}", floor.name())
            }
            (Some(_), None) | (None, _) => Ok(()),
        }
    }
}

impl fmt::Display for FloorSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo(summary) => summary.fmt(f),
            Self::Ke2 { ke2, ke2_per_s, cpu_us_per_ke2 } => {
                writeln!(f, "computed        {ke2:>10}   {ke2_per_s:.0} per second on one processor")?;
                writeln!(f, "CPU time        {cpu_us_per_ke2:>10.2} µs each")
            }
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
        if let Some(us) = self.client_cpu_us_per_login {
            writeln!(
                f,
                "client CPU time {us:>10.2} µs per login, part of the latency and no cost of the server"
            )?;
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

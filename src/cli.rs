//! Command lines → configuration, and what all programs have in common: usage and exit statuses.

mod argv;
pub mod exchange;
#[cfg(target_os = "linux")]
pub mod http;
pub mod letmein;
pub mod normal;
pub mod password;
#[cfg(target_os = "linux")]
pub mod server;
pub mod usage;

use std::fmt::{self, Display};
use std::io::{self, Write};
#[cfg(target_os = "linux")]
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use proto::mechanism::Mechanism;
use usage::Invalid;

/// How a program ended, for the script that called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Welcome, or done.
    Done = 0,
    /// Refused.
    Refused = 1,
    /// A command line or a configuration that is wrong.
    Usage = 2,
    /// No answer, or no network.
    Failed = 3,
}

/// The exit code of a program that has ended, after everything has been said.
#[must_use]
pub fn exit_code(ended: Result<ExitStatus, ExitStatus>) -> ExitCode {
    ExitCode::from(ended.unwrap_or_else(|status| status) as u8)
}

/// Says what keeps a program from its work: the system or the network.
pub fn failed(program: &str, error: impl Display) -> ExitStatus {
    say(format_args!("{program}: {error}"));
    ExitStatus::Failed
}

/// Prints the lines that a program was asked for.
pub fn print(program: &str, lines: impl IntoIterator<Item = impl Display>) -> Result<ExitStatus, ExitStatus> {
    let mut stdout = io::stdout().lock();
    for line in lines {
        writeln!(stdout, "{line}").map_err(|error| failed(program, error))?;
    }
    Ok(ExitStatus::Done)
}

/// Says a line on standard error, if anybody listens: `eprintln!` would panic if nobody does. It is written at once, so
/// that lines of programs that share a terminal do not mix.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);
/// A year; beyond it, clocks overflow.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Parses a time: seconds, or a number with a unit.
pub fn parse_time(text: &str) -> Result<Duration, Invalid> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_lowercase());
    let seconds_per_unit = match text.strip_prefix(digits) {
        Some("" | "s") => Some(1.0),
        Some("ms") => Some(0.001),
        Some("m" | "min") => Some(60.0),
        Some("h") => Some(3600.0),
        Some("d") => Some(86_400.0),
        _ => None,
    };
    let seconds = digits.parse::<f64>().ok().zip(seconds_per_unit).map(|(count, unit)| count * unit);
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(time)).ok_or_else(|| {
        let remedy = "give seconds, as in 15 or 0.5, or a unit: 500ms, 15s, 2m, 1h, 7d; from 1ms to a year";
        Invalid::new("time", text, remedy)
    })
}

/// The mechanism of this name, in any case.
pub(crate) fn mechanism_named(name: &str) -> Option<Mechanism> {
    Mechanism::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
}

/// Parses the name of a mechanism.
pub fn parse_mechanism(text: &str) -> Result<Mechanism, Invalid> {
    mechanism_named(text).ok_or_else(|| Invalid::new("mechanism", text, "write md5 or opaque"))
}

/// Parses an address with its port.
#[cfg(target_os = "linux")]
pub fn parse_address(text: &str) -> Result<SocketAddr, Invalid> {
    text.parse().map_err(|_| Invalid::new("address", text, address_remedy(text)))
}

/// What to write instead of something that is no address with a port.
#[cfg(target_os = "linux")]
fn address_remedy(text: &str) -> String {
    let is_ipv6 = |host: &str| host.parse::<Ipv6Addr>().is_ok();
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let is_in_brackets =
        |host: &str| host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).is_some_and(is_ipv6);
    if text.contains("//") {
        "write ADDRESS:PORT, without a scheme".to_owned()
    } else if text.contains('%') {
        "write the number of the interface, as in [fe80::1%2]:8591; ip link shows it".to_owned()
    } else if is_number(text) || (host.is_empty() && is_number(port)) {
        format!(
            "write 127.0.0.1:{0} for this machine, or 0.0.0.0:{0} for all interfaces",
            text.trim_start_matches(':')
        )
    } else if text.parse::<Ipv4Addr>().is_ok() || is_in_brackets(text) {
        format!("it has no port: write {text}:PORT")
    } else if is_ipv6(host) && port.parse::<u16>().is_ok_and(|port| port > 999) {
        format!("an IPv6 address goes in brackets: write [{host}]:{port}")
    } else if is_ipv6(text) {
        format!("it has no port: write [{text}]:PORT")
    } else if host.parse::<Ipv4Addr>().is_err() && !is_in_brackets(host) {
        "give an IP address, as in 127.0.0.1:8591; names are not looked up".to_owned()
    } else {
        "a port is a number up to 65535".to_owned()
    }
}

#[cfg(target_os = "linux")]
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_named_in_any_case() {
        assert_eq!(["md5", "OPAQUE"].map(mechanism_named), [Some(Mechanism::Md5), Some(Mechanism::Opaque)]);
        assert_eq!(["", "opaque ", "opaqe"].map(mechanism_named), [None; 3]);
    }
}

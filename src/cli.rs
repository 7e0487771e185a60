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

use std::env;
use std::error::Error as _;
use std::fmt::{self, Display};
use std::io::{self, Write};
#[cfg(target_os = "linux")]
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, FromArgMatches};

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

/// The statuses, for the end of help texts.
pub const STATUSES: &str = "\
Exit status: 0 welcome or done, 1 refused, 2 wrong command line or configuration, 3 no answer or network";

/// Parses the command line; `Err` is the status to end with, after everything has been said.
pub fn parse<A: FromArgMatches>(command: Command, example: &str) -> Result<A, ExitStatus> {
    try_parse(command).map_err(|error| {
        if !error.use_stderr() && env::args_os().len() > 2 {
            // Help was not all that was asked for. A script must not take what it gets for a welcome, least of
            // all when the help came from a password such as "-h3lpless".
            say(format_args!("{error}"));
            return ExitStatus::Usage;
        }
        tell(&error, example)
    })
}

/// The same for a program with commands, which have help texts of their own, and take no password as an argument.
#[cfg(target_os = "linux")]
pub fn parse_commands<A: FromArgMatches>(command: Command, example: &str) -> Result<A, ExitStatus> {
    try_parse(command).map_err(|error| tell(&error, example))
}

fn try_parse<A: FromArgMatches>(command: Command) -> Result<A, clap::Error> {
    command.try_get_matches().and_then(|matches| A::from_arg_matches(&matches))
}

/// Says what is wrong with the command line, or prints the help that it asks for.
fn tell(error: &clap::Error, example: &str) -> ExitStatus {
    if error.use_stderr() {
        return invalid(&reason(error), example);
    }
    // Nobody reads it any more if this fails.
    let _ = error.print();
    ExitStatus::Done
}

/// Says that a command line is wrong, why, and how a right one looks.
pub fn invalid(reason: &str, example: &str) -> ExitStatus {
    say(format_args!("Invalid input argument, please enter a correct format command."));
    say(format_args!("{reason}"));
    say(format_args!("Example: {example}"));
    ExitStatus::Usage
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

/// Says a line on standard error, if anybody listens: `eprintln!` would panic if nobody does.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The reason, without any word of the command line that may be a password.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    let shows_a_word = error.kind() == ErrorKind::UnknownArgument
        || matches!(error.get(ContextKind::InvalidValue), Some(ContextValue::String(word)) if !word.is_empty());
    if shows_a_word {
        return "there are too many words, or an unknown option (--help lists them all; -- goes before a word \
                that begins with a dash)"
            .to_owned();
    }
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
}

const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);
/// A year; beyond it, clocks overflow.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Parses a time in seconds.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|timeout| (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(timeout))
        .ok_or_else(|| format!("no timeout {text:?}: give seconds, as in 15 or 0.5"))
}

/// Parses an address with its port.
#[cfg(target_os = "linux")]
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("no address {text:?}: write ADDRESS:PORT or [IPV6-ADDRESS]:PORT, no name"))
}

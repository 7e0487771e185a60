//! `letmein`: one login.

mod mechanism;
mod output;
mod remembered;

use std::env;
use std::iter;
use std::mem;
use std::time::Duration;

use clap::{CommandFactory, Parser};

use crate::cli::argv;
use crate::cli::normal;
use crate::cli::password::{PasswordSource, has_outer_space};
use crate::cli::usage::{Usage, parse_telling};
use crate::cli::{ExitStatus, failed, parse_mechanism, parse_time, say};
use client::host_port::HostPort;
use client::login::{DEFAULT_PORT, Family, Login, LoginError, Progress};
use mechanism::Advice;
use output::OutputMode;
use proto::credentials::Username;
use proto::mechanism::Mechanism;
use proto::transport::Transport;
use proto::wire::Verdict;

const PROGRAM: &str = "letmein";
const EXAMPLE: &str = "letmein 127.0.0.1:8591 userone passwordone";

/// The code of `--json` for status 2.
const USAGE: &str = "usage";

/// Headings of `--help`.
const CONNECTION: &str = "Connection";
const OUTPUT: &str = "Output";

/// Log in, and print the server's verdict
#[derive(Parser)]
#[command(name = PROGRAM, version, after_help = SHORT_EXAMPLE, after_long_help = after_long_help())]
pub struct Args {
    /// Server, or several separated by commas [default port: 8591]
    ///
    /// An IPv6 address goes in brackets. Several servers must have the same users: each is asked as
    /// soon as those before it fail or are silent for half a second, and the first verdict counts.
    #[arg(value_name = "HOST[:PORT]", value_parser = parse_servers)]
    servers: Servers,
    /// User name
    #[arg(value_parser = parse_user)]
    user: Username,
    #[command(flatten)]
    password: PasswordSource,
    /// Log in over TCP instead of UDP
    #[arg(long, help_heading = CONNECTION)]
    tcp: bool,
    /// How to prove the password [default: md5]
    ///
    /// By opaque (RFC 9807) nobody who hears the login, or plays the server, can guess the password. The server needs a
    /// record of the user for it (letmein-users add --opaque). Without this option the mechanism is what --remember has
    /// written, or that of the variable LETMEIN_MECHANISM, which cannot turn off an opaque that is remembered.
    #[arg(long, help_heading = CONNECTION, value_name = "md5|opaque", value_parser = parse_mechanism)]
    mechanism: Option<Mechanism>,
    /// Remember that mechanism, once welcome
    ///
    /// For this user at this server, in ~/.config/letmein/servers.toml.
    #[arg(long, help_heading = CONNECTION)]
    remember: bool,
    /// Give up after this time [default: 15]
    ///
    /// With --wait the default is never. Seconds, or a number with a unit: 500ms, 15s, 2m, 1h.
    #[arg(long, help_heading = CONNECTION, value_name = "TIME", value_parser = parse_time,
          allow_negative_numbers = true)]
    timeout: Option<Duration>,
    /// Wait until the server is up
    #[arg(long, help_heading = CONNECTION)]
    wait: bool,
    /// Use IPv4 only
    #[arg(short = '4', help_heading = CONNECTION, hide_short_help = true, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 only
    #[arg(short = '6', help_heading = CONNECTION, hide_short_help = true)]
    ipv6: bool,
    /// Print no verdict, only set the exit status
    #[arg(short, long, help_heading = OUTPUT, conflicts_with = "json")]
    quiet: bool,
    /// Print one JSON object instead of the verdict
    ///
    /// Without a verdict it has a null "verdict", and an "error".
    #[arg(long, help_heading = OUTPUT)]
    json: bool,
    /// Print each step on standard error
    #[arg(short, long, help_heading = OUTPUT)]
    debug: bool,
}

const SHORT_EXAMPLE: &str = "Example: letmein gate.example alice --password-file secret";

fn after_long_help() -> String {
    format!(
        "The password is the argument, or else comes from --password-file, --password-stdin, the variable \
         LETMEIN_PASSWORD, or a prompt.\n\n\
         Examples:\n  \
         {EXAMPLE}\n  \
         letmein [::1]:8591 userone --password-file secret --tcp\n  \
         letmein --quiet --wait gate.example alice --password-file secret && ./deploy\n  \
         letmein gate1.example,gate2.example alice --password-file secret\n  \
         letmein gate.example alice --mechanism opaque --remember\n\n\
         Exit status: 0 welcome, 1 refused, 2 wrong command line or no password, 3 no verdict"
    )
}

pub fn run() -> Result<ExitStatus, ExitStatus> {
    let mut args: Args = parse_telling(Args::command(), &Usage::with_password(EXAMPLE), usage_in_json)?;
    let output = args.output();
    // In this order: a process whose memory is hidden cannot write to it, either.
    args.password.wipe();
    argv::hide_memory().map_err(|error| output.fail("system", error))?;
    let mechanism = mechanism::choose(args.mechanism, &args.servers, &args.user);
    let mechanism = mechanism.map_err(|error| output.no_mechanism(&error))?;
    let password = mem::take(&mut args.password).read(PROGRAM, &args.user);
    let password = password.map_err(|error| output.no_password(&error))?;
    if !args.quiet && has_outer_space(&password) {
        say(format_args!("{PROGRAM}: warning: the password begins or ends with a space"));
    }
    let mut watch = args.watch(output.advice(mechanism));
    let outcome = args.login(mechanism).run_watched(&args.user, &password, &mut watch);
    let outcome = outcome.map_err(|error| args.explain(&output, &error, mechanism))?;
    output.print(&outcome, mechanism).map_err(|error| failed(PROGRAM, error))?;
    Ok(args.conclude(&output, outcome.verdict, mechanism))
}

/// The object of `--json` for a command line that is wrong, in which only the word itself can be looked for.
fn usage_in_json(reason: &str) {
    if env::args_os().any(|argument| argument == "--json") {
        OutputMode::Json.print_failure(USAGE, reason);
    }
}

impl Args {
    fn login(&self, mechanism: Mechanism) -> Login {
        let transport = if self.tcp { Transport::Tcp } else { Transport::Udp };
        let family = match (self.ipv4, self.ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            (false, false) => Family::Any,
        };
        let Servers { first, others } = self.servers.clone();
        let login = others.into_iter().fold(Login::to(first), Login::or);
        let mut login = login.over(transport).family(family).mechanism(mechanism);
        if self.wait {
            login = login.wait();
        }
        match self.timeout {
            Some(timeout) => login.within(timeout),
            None => login,
        }
    }

    /// Says each step, as far as that is wanted.
    fn watch(&self, mut advice: Advice) -> impl FnMut(Progress<'_>) {
        let mut is_waiting = false;
        move |step| {
            if let Progress::Sending { server, .. } = step {
                advice.before_sending(server);
            }
            if let Progress::Waiting(error) = step {
                if !self.quiet && !mem::replace(&mut is_waiting, true) {
                    say(format_args!("{PROGRAM}: waiting for the server: {error}"));
                }
            } else if self.debug {
                say(format_args!("{step}"));
            }
        }
    }

    /// Says why there is no verdict.
    fn explain(&self, output: &OutputMode, error: &LoginError, mechanism: Mechanism) -> ExitStatus {
        let status = output.fail(error.code(), self.servers.explain(error));
        if mechanism::is_silence(error) {
            output.advice(mechanism).after_failure(&self.user);
        }
        status
    }

    /// Does what is left after a verdict, which alone decides the status.
    fn conclude(&self, output: &OutputMode, verdict: Verdict, mechanism: Mechanism) -> ExitStatus {
        match verdict {
            Verdict::Welcome => {
                if self.remember
                    && let Err(error) = remembered::remember(self.servers.all(), &self.user, mechanism)
                {
                    say(format_args!("{PROGRAM}: warning: not remembered: {error}"));
                }
                ExitStatus::Done
            }
            Verdict::Refused => {
                output.advice(mechanism).after_failure(&self.user);
                ExitStatus::Refused
            }
        }
    }

    fn output(&self) -> OutputMode {
        match (self.quiet, self.json) {
            (true, _) => OutputMode::Nothing,
            (_, true) => OutputMode::Json,
            (false, false) => OutputMode::Sentence,
        }
    }
}

/// The servers to ask, in this order.
#[derive(Clone)]
struct Servers {
    first: HostPort,
    others: Vec<HostPort>,
}

impl Servers {
    fn all(&self) -> impl Iterator<Item = &HostPort> {
        iter::once(&self.first).chain(&self.others)
    }

    /// Why none of them gave a verdict.
    fn explain(&self, error: &LoginError) -> String {
        if !self.others.is_empty() {
            let all: Vec<_> = self.all().map(HostPort::to_string).collect();
            return format!("no verdict from {}: {error}", all.join(", "));
        }
        let is_bare = self.first.port == DEFAULT_PORT && !self.first.host.contains('.');
        if is_bare && matches!(error, LoginError::Unresolved { .. }) {
            return format!("{error}; the server comes first: letmein HOST USER");
        }
        error.to_string()
    }
}

/// How several servers are written, for messages.
const SEVERAL: &str = "A:8591,B:8591";

fn parse_servers(text: &str) -> Result<Servers, String> {
    if text.ends_with(',') || text.contains(", ") {
        return Err(format!("nothing after the comma: write several servers as {SEVERAL}, without spaces"));
    }
    if text.contains([';', ' ']) {
        return Err(format!("invalid server: write HOST:PORT, or several as {SEVERAL}, without spaces"));
    }
    let parse = |server| HostPort::parse(server, Some(DEFAULT_PORT)).map_err(|error| error.to_string());
    let (first, others) = text.split_once(',').map_or((text, None), |(first, others)| (first, Some(others)));
    let others = others.into_iter().flat_map(|others| others.split(',')).map(parse);
    Ok(Servers { first: parse(first)?, others: others.collect::<Result<_, _>>()? })
}

fn parse_user(text: &str) -> Result<Username, String> {
    normal::name(text).parse().map_err(|error| {
        let is_server = text.parse::<HostPort>().is_ok();
        let remedy = if is_server { format!(": write several servers as {SEVERAL}") } else { String::new() };
        format!("the user name {error}{remedy}")
    })
}

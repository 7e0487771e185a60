//! What `letmein` prints: the verdict, or why there is none.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;

use serde::Serialize;

use super::mechanism::{Advice, NoMechanism};
use super::{EXAMPLE, PROGRAM, USAGE};
use crate::cli::password::NoPassword;
use crate::cli::usage::invalid;
use crate::cli::{ExitStatus, failed, say};
use client::login::Outcome;
use proto::mechanism::Mechanism;
use proto::wire::Verdict;

/// What goes to standard output.
pub(super) enum OutputMode {
    Sentence,
    Json,
    Nothing,
}

/// The object of `--json` where there is no verdict.
#[derive(Serialize)]
struct JsonFailure<'a> {
    verdict: Option<&'static str>,
    error: &'static str,
    message: &'a str,
}

/// The object of `--json`.
#[derive(Serialize)]
struct Json {
    verdict: &'static str,
    server: SocketAddr,
    transport: &'static str,
    mechanism: &'static str,
    sends: u32,
    milliseconds: f64,
}

impl OutputMode {
    pub(super) fn print(&self, outcome: &Outcome, mechanism: Mechanism) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match self {
            Self::Sentence => writeln!(stdout, "{}", outcome.verdict.sentence()),
            Self::Json => writeln!(stdout, "{}", serde_json::to_string(&Json::new(outcome, mechanism))?),
            Self::Nothing => Ok(()),
        }
    }

    /// What is said about a mechanism, where people read the verdict.
    pub(super) fn advice(&self, mechanism: Mechanism) -> Advice {
        match self {
            Self::Sentence => Advice::new(mechanism),
            Self::Json | Self::Nothing => Advice::none(),
        }
    }

    /// Says why there is no mechanism. The command line may be right.
    pub(super) fn no_mechanism(&self, error: &NoMechanism) -> ExitStatus {
        self.print_failure(USAGE, &error.to_string());
        say(format_args!("{PROGRAM}: {error}"));
        ExitStatus::Usage
    }

    /// Says why there is no password. The command line may be right.
    pub(super) fn no_password(&self, error: &NoPassword) -> ExitStatus {
        self.print_failure(USAGE, &error.to_string());
        match error {
            NoPassword::NoneGiven
            | NoPassword::Invalid(_)
            | NoPassword::ControlCharacter
            | NoPassword::Dash => invalid(&error.to_string(), EXAMPLE),
            NoPassword::Empty
            | NoPassword::EmptyLine(_)
            | NoPassword::Unreadable { .. }
            | NoPassword::NotUtf8(_)
            | NoPassword::VariableNotUtf8 => {
                say(format_args!("{PROGRAM}: {error}"));
                ExitStatus::Usage
            }
        }
    }

    /// Says why there is no verdict.
    pub(super) fn fail(&self, code: &'static str, reason: impl Display) -> ExitStatus {
        self.print_failure(code, &reason.to_string());
        failed(PROGRAM, reason)
    }

    /// Whoever reads the output learns from the status, too, that there is no verdict, so an error here is ignored.
    pub(super) fn print_failure(&self, code: &'static str, message: &str) {
        match self {
            Self::Sentence | Self::Nothing => {}
            Self::Json => {
                let failure = JsonFailure { verdict: None, error: code, message };
                let _ = serde_json::to_string(&failure).map(|object| writeln!(io::stdout(), "{object}"));
            }
        }
    }
}

impl Json {
    fn new(outcome: &Outcome, mechanism: Mechanism) -> Self {
        Self {
            verdict: match outcome.verdict {
                Verdict::Welcome => "welcome",
                Verdict::Refused => "refused",
            },
            server: outcome.server,
            transport: outcome.transport.name(),
            mechanism: mechanism.name(),
            sends: outcome.sends,
            milliseconds: outcome.elapsed.as_micros() as f64 / 1000.0,
        }
    }
}

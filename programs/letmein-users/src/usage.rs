//! What is wrong with a command line, and what was perhaps meant. No word of it is shown that may be a password.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::EXAMPLE;
use crate::command_line::Args;
use letmein::cli::{ExitStatus, invalid, parse_commands};

/// Parses the command line; `Err` is the status to end with, after everything has been said.
pub(crate) fn parse() -> Result<Args, ExitStatus> {
    let reason = Args::command().try_get_matches().err().and_then(|error| unknown(&error));
    match reason {
        Some(reason) => Err(invalid(&reason, EXAMPLE)),
        None => parse_commands(Args::command(), EXAMPLE),
    }
}

/// What to say where a command or an option is unknown, or there is no command.
fn unknown(error: &clap::Error) -> Option<String> {
    let or_nearest = |nearest: Option<String>| {
        nearest.map(|nearest| format!(": did you mean {nearest}?")).unwrap_or_default()
    };
    if error.kind() == ErrorKind::MissingSubcommand {
        Some("there is no command (--help lists all commands)".to_owned())
    } else if error.kind() == ErrorKind::InvalidSubcommand {
        let nearest = or_nearest(nearest_command(error));
        Some(format!("unknown command{nearest} (--help lists all commands)"))
    } else if error.kind() == ErrorKind::UnknownArgument {
        let nearest = or_nearest(nearest_option(error));
        Some(format!(
            "there are too many words, or an unknown option{nearest} (--help lists all options; -- goes before a word \
             that begins with a dash)"
        ))
    } else {
        None
    }
}

fn nearest_option(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(nearest)) = error.get(ContextKind::SuggestedArg) else { return None };
    Some(nearest.clone())
}

/// By its name, even if an alias is nearer.
fn nearest_command(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::Strings(alike)) = error.get(ContextKind::SuggestedSubcommand) else { return None };
    // The last is the most alike.
    let command = Args::command();
    command.find_subcommand(alike.last()?).map(|command| command.get_name().to_owned())
}

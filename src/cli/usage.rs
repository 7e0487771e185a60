//! Command lines: how one is parsed, and how help looks.

mod reason;

use std::env;

use clap::{Command, FromArgMatches};

use super::{ExitStatus, say};
use reason::reason;

/// Help has no longer lines, and none that is longer than the terminal is wide.
const HELP_WIDTH: usize = 80;

/// Whether an argument of a program may be a password. Messages repeat no argument that may be one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PasswordArgument {
    /// Nobody would give one.
    Never,
    /// The program takes none, but somebody may try to give one.
    Mistaken,
    /// The program takes one.
    Taken,
}

impl PasswordArgument {
    /// How many arguments there may be for help to be a success. A name or a password that begins with a dash may look
    /// like a request for help, and a script must not take the answer for a welcome.
    fn help_arguments_max(self) -> usize {
        match self {
            Self::Never => usize::MAX,
            // A command, and the request for its help.
            Self::Mistaken => 2,
            Self::Taken => 1,
        }
    }
}

/// Parses the command line; `Err` is the status to end with, after everything has been said.
pub fn parse<A: FromArgMatches>(
    command: Command,
    example: &str,
    password: PasswordArgument,
) -> Result<A, ExitStatus> {
    parse_telling(command, example, password, |_| {})
}

/// Parses the command line, and calls `tell` with what is wrong with it, if anything, before that is said.
pub fn parse_telling<A: FromArgMatches>(
    command: Command,
    example: &str,
    password: PasswordArgument,
    tell: impl FnOnce(&str),
) -> Result<A, ExitStatus> {
    let command = command.max_term_width(HELP_WIDTH);
    let mut parsing = if wants_short_help() { in_one_list(command.clone()) } else { command.clone() };
    let matches = parsing.try_get_matches_from_mut(env::args_os());
    matches.and_then(|matches| A::from_arg_matches(&matches)).map_err(|error| {
        if error.use_stderr() {
            let reason = reason(&error, &command, password);
            tell(&reason);
            return invalid(&reason, example);
        }
        if env::args_os().skip(1).count() > password.help_arguments_max() {
            tell("a request for help beside other arguments");
            say(format_args!("{error}"));
            return ExitStatus::Usage;
        }
        // Nobody reads it any more if this fails.
        let _ = error.print();
        ExitStatus::Done
    })
}

fn wants_short_help() -> bool {
    env::args_os().nth(1).is_some_and(|argument| argument == "-h")
}

/// The short help has no headings, so that it is one screen.
fn in_one_list(command: Command) -> Command {
    command.mut_args(|argument| argument.help_heading(None::<&str>))
}

/// Says that a command line is wrong, why, and how a right one looks.
pub fn invalid(reason: &str, example: &str) -> ExitStatus {
    say(format_args!("Invalid input argument, please enter a correct format command."));
    say(format_args!("{reason}"));
    say(format_args!("Example: {example}"));
    ExitStatus::Usage
}

//! Command lines: how one is parsed, and how help looks.

mod reason;

use std::env;
use std::ffi::OsString;

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

/// What a program says to somebody whose command line is wrong.
pub struct Usage<'a> {
    /// A right command line.
    pub example: &'a str,
    /// Whether an argument may be a password.
    pub password: PasswordArgument,
    /// What to do about too many arguments, where they are not shown.
    pub too_many: &'static str,
    /// What to do instead of a command that there is not, though its name is like that of another one.
    pub instead_of: fn(&str) -> Option<&'static str>,
}

impl<'a> Usage<'a> {
    /// For a program without commands and without a password among its arguments.
    #[must_use]
    pub const fn without_password(example: &'a str) -> Self {
        Self { example, password: PasswordArgument::Never, too_many: "", instead_of: |_| None }
    }

    /// For a program without commands that takes a password and the address of a server.
    #[must_use]
    pub const fn with_password(example: &'a str) -> Self {
        Self {
            password: PasswordArgument::Taken,
            too_many: "put quotes around one that has spaces; the port follows the host, as in HOST:PORT",
            ..Self::without_password(example)
        }
    }
}

/// A value that an option or an argument does not take. The text does not show it, since it may be a password.
#[derive(Debug, thiserror::Error)]
#[error("invalid {what}: {remedy}")]
pub struct Invalid {
    what: &'static str,
    value: String,
    remedy: String,
}

impl Invalid {
    /// What it should have been, in words, and what to write instead of this value.
    pub fn new(what: &'static str, value: &str, remedy: impl Into<String>) -> Self {
        Self { what, value: value.to_owned(), remedy: remedy.into() }
    }

    /// The text with the value.
    fn with_value(&self) -> String {
        let Self { what, value, remedy } = self;
        format!("invalid {what} {value:?}: {remedy}")
    }
}

/// Parses the command line; `Err` is the status to end with, after everything has been said.
pub fn parse<A: FromArgMatches>(command: Command, usage: &Usage<'_>) -> Result<A, ExitStatus> {
    parse_telling(command, usage, |_| {})
}

/// Parses the command line, and calls `tell` with what is wrong with it, if anything, before that is said.
pub fn parse_telling<A: FromArgMatches>(
    command: Command,
    usage: &Usage<'_>,
    tell: impl FnOnce(&str),
) -> Result<A, ExitStatus> {
    let mut command = command.max_term_width(HELP_WIDTH);
    let words = words(&command);
    if words.get(1).is_some_and(|word| word == "-h") {
        command = in_one_list(command);
    }
    let matches = command.try_get_matches_from_mut(words);
    matches.and_then(|matches| A::from_arg_matches(&matches)).map_err(|error| {
        if error.use_stderr() {
            let reason = reason(&error, &command, usage);
            tell(&reason);
            return invalid(&reason, usage.example);
        }
        if env::args_os().skip(1).count() > usage.password.help_arguments_max() {
            tell("a request for help beside other arguments");
            say(format_args!("{error}"));
            return ExitStatus::Usage;
        }
        // Nobody reads it any more if this fails.
        let _ = error.print();
        ExitStatus::Done
    })
}

/// The words of the command line, without a `help` that comes before `-h` or `--help`: the parser takes nothing but
/// commands after it.
fn words(command: &Command) -> Vec<OsString> {
    let mut words: Vec<_> = env::args_os().collect();
    let is_help = command.has_subcommands() && words.get(1).is_some_and(|word| word == "help");
    if is_help && words.iter().skip(2).any(|word| word == "-h" || word == "--help") {
        words.remove(1);
    }
    words
}

/// The short help has no headings, so that it is one screen. Beside commands it leaves out those words that are the
/// same in every program, and says at the top where they are.
fn in_one_list(command: Command) -> Command {
    let mut command = command.mut_args(|argument| argument.help_heading(None::<&str>));
    if !command.has_subcommands() {
        return command;
    }
    // They are there only now.
    command.build();
    let about = command.get_about().map(|about| format!("{about} (--help tells more)"));
    command
        .about(about.unwrap_or_default())
        .mut_subcommand("help", |help| help.hide(true))
        .mut_arg("help", |help| help.hide_short_help(true))
        .mut_arg("version", |version| version.hide_short_help(true))
}

/// Says that a command line is wrong, why, and how a right one looks.
pub fn invalid(reason: &str, example: &str) -> ExitStatus {
    say(format_args!("Invalid input argument, please enter a correct format command."));
    say(format_args!("{reason}"));
    say(format_args!("Example: {example}"));
    ExitStatus::Usage
}

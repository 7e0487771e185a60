//! What is wrong with a command line, and what was perhaps meant.

use std::env;
use std::error::Error;
use std::iter;
use std::num::{ParseFloatError, ParseIntError};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use super::{Invalid, PasswordArgument, Usage};

/// The reason in a sentence, without any argument that may be a password.
pub(super) fn reason(error: &clap::Error, command: &Command, usage: &Usage<'_>) -> String {
    let hides_arguments = usage.password != PasswordArgument::Never;
    if let Some(source) = error.source() {
        return of_value(error, source, hides_arguments);
    }
    if error.kind() == ErrorKind::MissingSubcommand {
        "no command given (--help lists all commands)".to_owned()
    } else if error.kind() == ErrorKind::InvalidSubcommand {
        of_command(error, command, usage)
    } else if error.kind() == ErrorKind::UnknownArgument {
        of_argument(text(error, ContextKind::InvalidArg).unwrap_or_default(), error, command, usage)
    } else if hides_arguments && text(error, ContextKind::InvalidValue).is_some() {
        "an option has a value that it does not take (--help lists all options)".to_owned()
    } else {
        let text = error.to_string();
        let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
        lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
    }
}

/// What the parser knows of an error, if it is a text.
fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// The reason for a value that an option or an argument does not take.
fn of_value(error: &clap::Error, source: &(dyn Error + 'static), hides_arguments: bool) -> String {
    if let Some(invalid) = source.downcast_ref::<Invalid>() {
        return if hides_arguments { invalid.to_string() } else { invalid.with_value() };
    }
    let Some(remedy) = number_remedy(source) else { return source.to_string() };
    let option = text(error, ContextKind::InvalidArg).and_then(|option| option.split(' ').next());
    let value = text(error, ContextKind::InvalidValue).filter(|_| !hides_arguments);
    let value = value.map(|value| format!(" {value:?}")).unwrap_or_default();
    format!("invalid value{value} for {}: {remedy}", option.unwrap_or_default())
}

/// The reason for a command that there is not.
fn of_command(error: &clap::Error, command: &Command, usage: &Usage<'_>) -> String {
    let given = text(error, ContextKind::InvalidSubcommand).unwrap_or_default();
    match (usage.instead_of)(given) {
        Some(advice) => advice.to_owned(),
        None => {
            let nearest = did_you_mean(nearest_command(given, error, command));
            format!("unknown command{nearest} (--help lists all commands)")
        }
    }
}

/// The reason for an argument or an option that there is not.
fn of_argument(given: &str, error: &clap::Error, command: &Command, usage: &Usage<'_>) -> String {
    let hides_arguments = usage.password != PasswordArgument::Never;
    match (given.starts_with('-'), hides_arguments) {
        (false, true) => format!("too many arguments: {} (--help lists what there is)", usage.too_many),
        (false, false) => format!("unexpected argument {given:?} (--help lists what there is)"),
        (true, true) => format!(
            "too many arguments, or an unknown option{} (--help lists all options; put -- before an argument that \
             begins with a dash)",
            instead_of_option(given, error, command, hides_arguments)
        ),
        (true, false) => format!(
            "unknown option {given}{} (--help lists all options)",
            instead_of_option(given, error, command, hides_arguments)
        ),
    }
}

/// What to do instead of giving an option that there is not, or the one that was perhaps meant.
fn instead_of_option(given: &str, error: &clap::Error, command: &Command, hides_arguments: bool) -> String {
    if let Some(option) = with_one_dash(given, command) {
        return did_you_mean(Some(&option));
    }
    if let Some(remedy) = option_remedy(given, command, hides_arguments) {
        return format!(": {remedy}");
    }
    let suggested = text(error, ContextKind::SuggestedArg).filter(|option| is_option_like(given, option));
    let suggested = suggested.map(str::to_owned).or_else(|| option_like(given, command));
    did_you_mean(suggested.as_deref())
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(": did you mean {nearest}?")).unwrap_or_default()
}

/// What to give instead of something that is no number, or none that is allowed.
fn number_remedy(source: &(dyn Error + 'static)) -> Option<String> {
    if source.is::<ParseIntError>() {
        return Some("give a whole number".to_owned());
    }
    if source.is::<ParseFloatError>() {
        return Some("give a number".to_owned());
    }
    // The parser's own words: "0 is not in 1..=1024".
    let text = source.to_string();
    let (min, max) = text.split_once(" is not in ")?.1.split_once("..=")?;
    Some(format!("give a number from {min} to {max}"))
}

/// What to do instead of giving an option that many programs have, and this one has not.
fn option_remedy(given: &str, command: &Command, hides_arguments: bool) -> Option<&'static str> {
    let has = |long| command.get_arguments().any(|argument| argument.get_long() == Some(long));
    let mut names =
        command.get_positionals().flat_map(|argument| argument.get_value_names().unwrap_or_default());
    match given {
        "--udp" if has("tcp") => Some("UDP is the default"),
        // Where a password is an argument, it may be meant for that.
        "-p" if hides_arguments => None,
        "--port" | "-p" | "--host" | "--bind" if names.any(|name| name.contains("PORT")) => {
            Some("the address is an argument, as in the example")
        }
        "--user" | "-u" if names.any(|name| name == "USER") => {
            Some("the user is an argument, as in the example")
        }
        _ => None,
    }
}

/// The nearest option; the similarity that the parser goes by does not see swapped letters.
fn option_like(given: &str, command: &Command) -> Option<String> {
    let options = command.get_arguments().filter_map(Arg::get_long).map(|option| format!("--{option}"));
    let options = options.filter(|option| is_option_like(given, option));
    options.min_by_key(|option| strsim::osa_distance(given, option))
}

/// The option that was given with one dash, as in -users, of which the parser reports a letter alone.
fn with_one_dash(given: &str, command: &Command) -> Option<String> {
    if given.starts_with("--") {
        return None;
    }
    let commands = || iter::once(command).chain(command.get_subcommands());
    let options = || commands().flat_map(Command::get_arguments).filter_map(Arg::get_long);
    let option_of = |word: &str| match word.strip_prefix('-')?.split('=').next()? {
        "v" | "version" => Some("--version".to_owned()),
        name => options().find(|option| *option == name).map(|option| format!("--{option}")),
    };
    env::args_os().skip(1).find_map(|word| word.to_str().and_then(option_of))
}

fn is_option_like(given: &str, option: &str) -> bool {
    let words = given.strip_prefix("--").zip(option.strip_prefix("--"));
    words.is_some_and(|(given, option)| is_like(given, option))
}

/// Whether a word was perhaps meant: what was given differs from it, or from its beginning, by a third of the letters
/// at most.
fn is_like(given: &str, word: &str) -> bool {
    let beginning = word.get(..given.len()).unwrap_or(word);
    [beginning, word].iter().any(|word| strsim::osa_distance(given, word) <= given.len() / 3)
}

/// The name of the command that is most alike, even if an alias is nearer.
fn nearest_command<'c>(given: &str, error: &clap::Error, command: &'c Command) -> Option<&'c str> {
    let Some(ContextValue::Strings(alike)) = error.get(ContextKind::SuggestedSubcommand) else { return None };
    // The last is the most alike.
    let nearest = alike.iter().rev().find(|name| is_like(given, name))?;
    command.find_subcommand(nearest).map(Command::get_name)
}

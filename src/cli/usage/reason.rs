//! What is wrong with a command line, and what was perhaps meant.

use std::error::Error;
use std::num::{ParseFloatError, ParseIntError};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use super::PasswordArgument;

/// The reason in a sentence, without any argument that may be a password.
pub(super) fn reason(error: &clap::Error, command: &Command, password: PasswordArgument) -> String {
    let hides_arguments = password != PasswordArgument::Never;
    let argument = |kind| match error.get(kind) {
        Some(ContextValue::String(argument)) if !argument.is_empty() => Some(&**argument),
        _ => None,
    };
    if let Some(source) = error.source() {
        let option = argument(ContextKind::InvalidArg).and_then(|option| option.split(' ').next());
        let option = option.unwrap_or_default();
        return match number_remedy(source) {
            Some(remedy) => {
                let value = argument(ContextKind::InvalidValue).filter(|_| !hides_arguments);
                let value = value.map(|value| format!(" {value:?}")).unwrap_or_default();
                format!("invalid value{value} for {option}: {remedy}")
            }
            None => match argument(ContextKind::InvalidValue).filter(|_| hides_arguments) {
                Some(value) => source.to_string().replace(&format!(" {value:?}"), ""),
                None => source.to_string(),
            },
        };
    }
    let nearest_option = || {
        let given = argument(ContextKind::InvalidArg).unwrap_or_default();
        if let Some(remedy) = option_remedy(given, command, hides_arguments) {
            return format!(": {remedy}");
        }
        let suggested = argument(ContextKind::SuggestedArg).filter(|option| is_like(given, option));
        did_you_mean(suggested.map(str::to_owned).or_else(|| option_like(given, command)).as_deref())
    };
    match (error.kind(), argument(ContextKind::InvalidArg)) {
        (ErrorKind::MissingSubcommand, _) => "no command given (--help lists all commands)".to_owned(),
        (ErrorKind::InvalidSubcommand, _) => {
            if let Some(advice) = argument(ContextKind::InvalidSubcommand).and_then(instead_of) {
                return advice.to_owned();
            }
            let nearest = did_you_mean(nearest_command(error, command));
            format!("unknown command{nearest} (--help lists all commands)")
        }
        (ErrorKind::UnknownArgument, Some(argument)) if hides_arguments && !argument.starts_with('-') => {
            let remedy = match password {
                PasswordArgument::Mistaken => {
                    "one user at a time; a password comes from --generate, --password-file, --password-stdin or the \
                     prompt"
                }
                PasswordArgument::Taken | PasswordArgument::Never => {
                    "the port follows the host, as in HOST:PORT"
                }
            };
            format!("too many arguments: {remedy} (--help lists what there is)")
        }
        (ErrorKind::UnknownArgument, _) if hides_arguments => format!(
            "too many arguments, or an unknown option{} (--help lists all options; put -- before an argument that \
             begins with a dash)",
            nearest_option()
        ),
        (ErrorKind::UnknownArgument, Some(option)) if option.starts_with('-') => {
            format!("unknown option {option}{} (--help lists all options)", nearest_option())
        }
        (ErrorKind::UnknownArgument, Some(argument)) => {
            format!("unexpected argument {argument:?} (--help lists what there is)")
        }
        _ if hides_arguments && argument(ContextKind::InvalidValue).is_some() => {
            "an option has a value that it does not take (--help lists all options)".to_owned()
        }
        _ => {
            let text = error.to_string();
            let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
            lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
        }
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(": did you mean {nearest}?")).unwrap_or_default()
}

/// What to do instead of a command that there is not, though its name is like that of another one or of its opposite.
fn instead_of(command: &str) -> Option<&'static str> {
    match command {
        "export" => Some("to copy the users, copy the file; list --json has all but the passwords"),
        "edit" => Some("change the file with any editor; check tells what is wrong in it"),
        "reload" => Some("the server reads the file again by itself"),
        "unblock" => Some("pkill -USR1 server-udp lifts all blocks"),
        _ => None,
    }
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
    options.filter(|option| is_like(given, option)).min_by_key(|option| strsim::osa_distance(given, option))
}

/// Whether an option was perhaps meant: what was given differs from it, or from its beginning, by a third of the
/// letters at most.
fn is_like(given: &str, option: &str) -> bool {
    let Some(word) = given.strip_prefix("--") else { return false };
    let beginning = option.get(..given.len()).unwrap_or(option);
    [beginning, option].iter().any(|option| strsim::osa_distance(given, option) <= word.len() / 3)
}

/// The name of the command that is most alike, even if an alias is nearer.
fn nearest_command<'c>(error: &clap::Error, command: &'c Command) -> Option<&'c str> {
    let Some(ContextValue::Strings(alike)) = error.get(ContextKind::SuggestedSubcommand) else { return None };
    // The last is the most alike.
    command.find_subcommand(alike.last()?).map(Command::get_name)
}

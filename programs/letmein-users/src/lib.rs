//! `letmein-users`: changes and checks users without an editor.

mod backend;
mod change;
mod check;
mod command_line;
mod conditions;
mod credential;
mod edit;
#[cfg(feature = "engine")]
mod engine;
mod entries;
mod export;
mod files;
mod import;
mod key;
mod keys;
mod list;
mod location;
mod migrate;
mod new_password;
mod normal_form;
mod plain;
mod progress;
mod registration;
mod strength;
mod verify;
mod write;

use std::env;
use std::ffi::OsString;
use std::fmt::Display;

use backend::Backend;
use change::{add, drop_old_password, passwd, remove, rename, set};
use check::check;
pub use command_line::Args;
use command_line::{
    AddedUser, ClusterKeys, Command, KeyCommand, KeysCommand, OldPassword, User, UserCommand, command,
};
use conditions::{Condition, Place, networks};
use export::{ExportFormat, export};
use files::Files;
use import::{ListFormat, import};
use key::{check_key, show_key};
use keys::{add_key, list_keys, list_keys_json};
use letmein::cli::usage::{PasswordArgument, Usage, invalid, parse};
use letmein::cli::{self, ExitStatus, say};
use list::{list, list_json, show, show_json, unix_s};
use migrate::migrate;
use plain::Plain;
use server::sandbox;
use users::day_of;
use verify::verify;

const PROGRAM: &str = "letmein-users";
const EXAMPLE: &str = "letmein-users --users users.toml add alice --generate";
#[cfg(feature = "engine")]
const ENGINE_EXAMPLE: &str = "letmein-users engine status --engine FILE";

pub fn run() -> Result<ExitStatus, ExitStatus> {
    let Args { location, command } = parse(command(), &usage())?;
    sandbox::hide_memory().map_err(|error| failed(&error))?;
    match command {
        Command::Users(command) => on_users(&location.backend()?, command),
        Command::Key { command: KeyCommand::Show } => show_key(&location.files()?),
        Command::Key { command: KeyCommand::Check } => check_key(&location.files()?),
        Command::Keys { command } => keys(&location.files()?, command),
        #[cfg(feature = "engine")]
        Command::Engine { command } => engine::set_up(&location.engine_file()?, &command),
        #[cfg(feature = "engine")]
        Command::History(history) => engine::history(&location.engine_file()?, &history),
        #[cfg(feature = "engine")]
        Command::Nodes { json } => engine::nodes(&location.engine_file()?, json),
    }
}

fn on_users(backend: &Backend, command: UserCommand) -> Result<ExitStatus, ExitStatus> {
    match command {
        UserCommand::Add { user: AddedUser { name }, expires, from, password, keeping } => {
            let conditions = [expires.into(), in_networks(from)?].into_iter().filter(Condition::limits);
            add(backend, name, conditions.collect(), &password, &keeping)
        }
        UserCommand::Passwd { user: User { name }, old: OldPassword { drop_old: true, .. }, .. } => {
            drop_old_password(backend, &name)
        }
        UserCommand::Passwd { user: User { name }, password, keeping, old } => {
            passwd(backend, &name, &password, &keeping, last_day(old))
        }
        UserCommand::Disable(User { name }) => set(backend, "disable", &name, &Condition::Disabled(true)),
        UserCommand::Enable(User { name }) => set(backend, "enable", &name, &Condition::Disabled(false)),
        UserCommand::Expire { user: User { name }, expiry } => set(backend, "expire", &name, &expiry.into()),
        UserCommand::From { user: User { name }, places } => {
            set(backend, "from", &name, &in_networks(places)?)
        }
        UserCommand::Rename { user: User { name }, new } => rename(backend, &name, &new),
        UserCommand::Remove { user: User { name }, yes } => remove(backend, &name, yes),
        UserCommand::List { json: false } => list(backend),
        UserCommand::List { json: true } => list_json(backend),
        UserCommand::Show { user: User { name }, json: false } => show(backend, &name),
        UserCommand::Show { user: User { name }, json: true } => show_json(backend, &name),
        UserCommand::Verify { user: User { name }, password } => verify(backend, &name, &password),
        UserCommand::Check => check(backend),
        UserCommand::Migrate { names, except, stretch } => migrate(backend, &names, &except, stretch),
        UserCommand::Import { list, csv, replace } => {
            import(backend, &list, if csv { ListFormat::Csv } else { ListFormat::Lines }, replace)
        }
        UserCommand::Export { toml, force, csv: _ } => {
            export(backend, if toml { ExportFormat::Toml } else { ExportFormat::Csv }, force)
        }
    }
}

fn keys(files: &Files, command: KeysCommand) -> Result<ExitStatus, ExitStatus> {
    match command {
        KeysCommand::Add { from, file: ClusterKeys { cluster_key } } => {
            add_key(files, cluster_key.as_deref(), from)
        }
        KeysCommand::List { json: false, file: ClusterKeys { cluster_key } } => {
            list_keys(files, cluster_key.as_deref())
        }
        KeysCommand::List { json: true, file: ClusterKeys { cluster_key } } => {
            list_keys_json(files, cluster_key.as_deref())
        }
    }
}

/// `verify` answers by its status, as a client does, so help for it is no success. `help verify` is.
fn usage() -> Usage<'static> {
    let command = command_word(env::args_os().skip(1)).unwrap_or_default();
    let command = command.to_str().unwrap_or_default();
    Usage {
        example: match command {
            #[cfg(feature = "engine")]
            "engine" | "history" | "nodes" => ENGINE_EXAMPLE,
            "keys" => "letmein-users keys add --from +1h",
            _ => EXAMPLE,
        },
        password: match command {
            "verify" | "test" => PasswordArgument::Taken,
            "engine" | "history" | "nodes" | "key" | "keys" => PasswordArgument::Never,
            _ => PasswordArgument::Mistaken,
        },
        too_many: match command {
            "check" | "lint" | "list" | "ls" => "name the users file with --users FILE",
            _ => {
                "one user at a time; a password comes from --generate, --password-file, --password-stdin or the prompt"
            }
        },
        instead_of,
    }
}

/// The command, behind the options that may be before it.
fn command_word(mut words: impl Iterator<Item = OsString>) -> Option<OsString> {
    loop {
        let word = words.next()?;
        match word.to_str() {
            Some("--users" | "--engine" | "--key-file") => drop(words.next()),
            Some(option) if option.starts_with('-') => {}
            Some(_) | None => return Some(word),
        }
    }
}

/// What to do instead of a command that there is not, though its name is like that of another one or of its opposite.
fn instead_of(command: &str) -> Option<&'static str> {
    match command {
        "deny" | "block" | "ban" | "revoke" | "suspend" => Some("to refuse a user from now on, use disable"),
        "allow" | "permit" => Some("to let a disabled user log in again, use enable"),
        "erase" | "drop" => Some("to remove a user, use remove"),
        "dump" => Some("to print all users with their passwords, use export"),
        "set" | "reset" | "change" | "modify" => {
            Some("passwd sets a password, expire the last day, from the networks")
        }
        "edit" => Some("change the file with any editor; check tells what is wrong in it"),
        "reload" => Some("the server reads the file again by itself"),
        #[cfg(not(feature = "engine"))]
        "engine" | "history" | "nodes" => {
            Some("users in PostgreSQL need a letmein-users that is built with --features engine")
        }
        "unblock" => Some("pkill -USR1 server-udp lifts all blocks"),
        _ => None,
    }
}

/// The last day of an old password, if it is kept for a time.
fn last_day(OldPassword { keep_old, old_until, .. }: OldPassword) -> Option<String> {
    keep_old.then(|| old_until.or_else(|| day_of(unix_s() + CHANGE_OVER_S))).flatten()
}

/// How long an old password is kept unless a day is given.
const CHANGE_OVER_S: u64 = 30 * 24 * 60 * 60;

fn in_networks(places: Vec<Place>) -> Result<Condition, ExitStatus> {
    networks(places).map_err(|reason| invalid(reason, EXAMPLE))
}

fn print(lines: impl IntoIterator<Item = String>) -> Result<ExitStatus, ExitStatus> {
    cli::print(PROGRAM, lines)
}

fn failed(error: &dyn Display) -> ExitStatus {
    cli::failed(PROGRAM, error)
}

/// Says what to know about a change that is made.
fn warn(what: impl Display) {
    say(format_args!("{PROGRAM}: warning: {what}"));
}

fn say_each_line(error: &dyn Display) {
    // They contain names.
    error.to_string().lines().for_each(|line| say(format_args!("{PROGRAM}: {}", Plain(line))));
}

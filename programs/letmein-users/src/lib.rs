//! `letmein-users`: changes and checks a users file without an editor.

mod change;
mod check;
mod command_line;
mod conditions;
mod credential;
mod edit;
#[cfg(feature = "engine")]
mod engine;
mod entries;
mod files;
mod import;
mod key;
mod keys;
mod list;
mod migrate;
mod new_password;
mod normal_form;
mod plain;
mod registration;
mod strength;
mod verify;
mod write;

use std::env;
use std::fmt::Display;

use clap::CommandFactory;

use change::{add, drop_old_password, expire, passwd, remove, rename, set, unset};
use check::check;
pub use command_line::Args;
use command_line::{AddedUser, ClusterKeys, Command, KeyCommand, KeysCommand, OldPassword, User};
use conditions::{Expiry, Place, places_in_toml};
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

pub fn run() -> Result<ExitStatus, ExitStatus> {
    let Args { users, key_file, command } = parse(Args::command(), &usage())?;
    let files = Files::new(users, key_file);
    sandbox::hide_memory().map_err(|error| failed(&error))?;
    match command {
        Command::Add { user: AddedUser { name }, expires, from, password, keeping } => {
            add(&files, name, &conditions(expires, &from)?, &password, &keeping)
        }
        Command::Passwd { user: User { name }, old: OldPassword { drop_old: true, .. }, .. } => {
            drop_old_password(&files, &name)
        }
        Command::Passwd { user: User { name }, password, keeping, old } => {
            passwd(&files, &name, &password, &keeping, last_day(old))
        }
        Command::Disable(User { name }) => set(&files, &name, "disabled", "true"),
        Command::Enable(User { name }) => unset(&files, &name, "disabled"),
        Command::Expire { user: User { name }, expiry: Expiry::After(day) } => expire(&files, &name, &day),
        Command::Expire { user: User { name }, expiry: Expiry::Never } => unset(&files, &name, "expires"),
        Command::From { user: User { name }, places } => match in_toml(&places)? {
            Some(networks) => set(&files, &name, "from", &networks),
            None => unset(&files, &name, "from"),
        },
        Command::Rename { user: User { name }, new } => rename(&files, &name, &new),
        Command::Remove { user: User { name }, yes } => remove(&files, &name, yes),
        Command::List { json: false } => list(&files),
        Command::List { json: true } => list_json(&files),
        Command::Show { user: User { name }, json: false } => show(&files, &name),
        Command::Show { user: User { name }, json: true } => show_json(&files, &name),
        Command::Verify { user: User { name }, password } => verify(&files, &name, &password),
        Command::Check => check(&files),
        Command::Migrate { names, except, stretch } => migrate(&files, &names, &except, stretch),
        Command::Key { command: KeyCommand::Show } => show_key(&files),
        Command::Key { command: KeyCommand::Check } => check_key(&files),
        Command::Keys { command } => keys(&files, command),
        Command::Import { list, csv, replace } => {
            import(&files, &list, if csv { ListFormat::Csv } else { ListFormat::Lines }, replace)
        }
        #[cfg(feature = "engine")]
        Command::Engine { command } => engine::run(&command),
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
    let command = env::args_os().nth(1).unwrap_or_default();
    let command = command.to_str().unwrap_or_default();
    Usage {
        example: match command {
            #[cfg(feature = "engine")]
            "engine" => "letmein-users engine status --engine FILE",
            "keys" => "letmein-users keys add --from +1h",
            _ => EXAMPLE,
        },
        password: match command {
            "verify" | "test" => PasswordArgument::Taken,
            "engine" | "key" | "keys" => PasswordArgument::Never,
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

/// What to do instead of a command that there is not, though its name is like that of another one or of its opposite.
fn instead_of(command: &str) -> Option<&'static str> {
    match command {
        "deny" | "block" | "ban" | "revoke" | "suspend" => Some("to refuse a user from now on, use disable"),
        "allow" | "permit" => Some("to let a disabled user log in again, use enable"),
        "erase" | "drop" => Some("to remove a user, use remove"),
        "set" | "reset" | "change" | "modify" => {
            Some("passwd sets a password, expire the last day, from the networks")
        }
        "export" => Some("to copy the users, copy the file; list --json has all but the passwords"),
        "edit" => Some("change the file with any editor; check tells what is wrong in it"),
        "reload" => Some("the server reads the file again by itself"),
        #[cfg(not(feature = "engine"))]
        "engine" => Some("users in PostgreSQL need a letmein-users that is built with --features engine"),
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

/// The conditions of a new user, as keys and values in TOML.
fn conditions(expires: Expiry, from: &[Place]) -> Result<Vec<(&'static str, String)>, ExitStatus> {
    let expires = match expires {
        Expiry::After(day) => Some(("expires", day)),
        Expiry::Never => None,
    };
    Ok(expires.into_iter().chain(in_toml(from)?.map(|networks| ("from", networks))).collect())
}

fn in_toml(places: &[Place]) -> Result<Option<String>, ExitStatus> {
    places_in_toml(places).map_err(|reason| invalid(reason, EXAMPLE))
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

//! `letmein-users`: changes and checks a users file without an editor.

mod change;
mod check;
mod command_line;
mod edit;
mod entries;
mod import;
mod list;
mod new_password;
mod normal_form;
mod plain;
mod strength;
mod write;

use std::fmt::Display;

use clap::CommandFactory;

use change::{add, change_user, confirm, import, passwd};
use check::check;
pub use command_line::Args;
use command_line::{AddedUser, Command, Expiry, User};
use import::ListFormat;
use letmein::cli::{self, ExitStatus, parse_commands, say};
use list::{list, list_json};
use plain::Plain;
use server::sandbox;

const PROGRAM: &str = "letmein-users";
const EXAMPLE: &str = "letmein-users --users users.toml add alice --generate";

pub fn run() -> Result<ExitStatus, ExitStatus> {
    let Args { users, command } = parse_commands(Args::command(), EXAMPLE)?;
    sandbox::hide_memory().map_err(|error| failed(&error))?;
    match command {
        Command::Add { user: AddedUser { name }, password } => add(&users, name, &password),
        Command::Passwd { user: User { name }, password } => passwd(&users, &name, &password),
        Command::Disable(User { name }) => change_user(&users, &name, |edit, name| {
            edit.set(name, "disabled", "true".into());
            Ok(())
        }),
        Command::Enable(User { name }) => {
            change_user(&users, &name, |edit, name| edit.unset(name, "disabled"))
        }
        Command::Expire { user: User { name }, expiry: Expiry::After(day) } => {
            change_user(&users, &name, |edit, name| {
                edit.set(name, "expires", day);
                Ok(())
            })
        }
        Command::Expire { user: User { name }, expiry: Expiry::Never } => {
            change_user(&users, &name, |edit, name| edit.unset(name, "expires"))
        }
        Command::Remove { user: User { name }, yes } => {
            if !yes {
                confirm(&name)?;
            }
            change_user(&users, &name, |edit, name| {
                edit.remove(name);
                Ok(())
            })
        }
        Command::List { json: false } => list(&users),
        Command::List { json: true } => list_json(&users),
        Command::Check => check(&users),
        Command::Import { list, csv, replace } => {
            import(&users, &list, if csv { ListFormat::Csv } else { ListFormat::Lines }, replace)
        }
    }
}

fn print(lines: impl IntoIterator<Item = String>) -> Result<ExitStatus, ExitStatus> {
    cli::print(PROGRAM, lines)
}

fn failed(error: &dyn Display) -> ExitStatus {
    cli::failed(PROGRAM, error)
}

fn say_each_line(error: &dyn Display) {
    // They contain names.
    error.to_string().lines().for_each(|line| say(format_args!("{PROGRAM}: {}", Plain(line))));
}

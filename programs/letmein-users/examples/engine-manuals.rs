//! Writes the man pages of letmein-users and its completions where it knows PostgreSQL, under the name that it has in
//! packages: `cargo run --package letmein-users --features engine --example engine-manuals FOLDER`.

#[path = "../../../examples/manuals/pages.rs"]
mod pages;

use std::io;

use clap::{Command, CommandFactory};
use letmein_users::Args;
use pages::{ADMINISTRATOR, Program};

const NAME: &str = "letmein-users";
/// Packages install it beside the one that knows no databases.
const NAME_IN_PACKAGES: &str = "letmein-users-engine";

fn main() -> io::Result<()> {
    let command = with_other_examples(Args::command()).name(NAME_IN_PACKAGES);
    let program = Program { command, section: ADMINISTRATOR, files: &[] };
    pages::write(vec![program], &["letmein-users(8)", "letmein-sync(8)"])
}

fn with_other_examples(command: Command) -> Command {
    let text = command.get_after_long_help().map(|text| text.to_string().replace(NAME, NAME_IN_PACKAGES));
    let commands: Vec<_> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    let command = commands.iter().fold(command, |it, name| it.mut_subcommand(name, with_other_examples));
    match text {
        Some(text) => command.after_long_help(text),
        None => command,
    }
}

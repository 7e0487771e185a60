//! The command line: commands, their options and their help. `-h` is one screen, `--help` is all.

#[cfg(feature = "engine")]
mod engine;
mod keys;
mod users;

use std::env;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use crate::PROGRAM;

#[cfg(feature = "engine")]
pub(crate) use engine::{EngineCommand, History};
pub(crate) use keys::{ClusterKeys, KeyCommand, KeysCommand};
pub(crate) use users::{AddedUser, OldPassword, User, UserCommand};

/// Change and check users
///
/// Comments, order and spaces of a users file stay as they are. A running server
/// learns of changes by itself.
#[derive(Parser)]
#[command(name = PROGRAM, version, after_long_help = EXAMPLES, arg_required_else_help = false)]
pub struct Args {
    #[command(flatten)]
    pub(crate) location: Location,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where users, and the key of their records, are.
#[derive(clap::Args)]
pub(crate) struct Location {
    /// The users file [default: users.toml]
    #[arg(long, global = true, value_name = "FILE", display_order = 100)]
    pub(crate) users: Option<PathBuf>,
    /// Use users in PostgreSQL; FILE says where that is
    ///
    /// docs/ENGINE.md and engine init --help tell what is in the file.
    #[cfg(feature = "engine")]
    #[arg(long, global = true, value_name = "FILE", display_order = 101)]
    pub(crate) engine: Option<PathBuf>,
    /// The key of the records [default: letmein.key beside the users file]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true, display_order = 102)]
    pub(crate) key_file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  letmein-users add alice --generate           prints her password
  letmein-users passwd alice                   asks for it, twice
  letmein-users disable alice
  letmein-users expire alice 2027-01-31
  letmein-users from alice 10.0.0.0/8
  letmein-users list --json
  letmein-users check
  letmein-users migrate --except old-printer
  letmein-users keys add --from +1h
  letmein-users --users /etc/letmein/users.toml import list.txt

Exit status: 0 done, 1 user not found, user already exists, or not confirmed,
2 wrong command line, list or users, 3 the system failed";

#[derive(Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Users(UserCommand),
    /// Show or check the key of the records
    #[command(arg_required_else_help = false)]
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Make or list the keys that servers of a cluster share
    ///
    /// Servers with the same keys accept each other's challenges, so a login over UDP
    /// may begin at one and end at another. Whoever has the keys can forge addresses,
    /// and with the key of the records, too, logins: they are as secret as the users
    /// file.
    #[command(
        arg_required_else_help = false,
        after_long_help = "Examples:\n  \
        letmein-users keys add                 the first key, active from now on\n  \
        letmein-users keys add --from +1h      another one; copy the file meanwhile\n  \
        letmein-users keys list"
    )]
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Set up users in PostgreSQL
    #[cfg(feature = "engine")]
    #[command(arg_required_else_help = false)]
    Engine {
        #[command(subcommand)]
        command: EngineCommand,
    },
    /// Show the changes of users in PostgreSQL
    #[cfg(feature = "engine")]
    #[command(after_long_help = "Examples:\n  \
        letmein-users --engine FILE history --limit 20\n  \
        letmein-users --engine FILE history alice")]
    History(History),
    /// Show how far the nodes are that read users from PostgreSQL
    #[cfg(feature = "engine")]
    Nodes {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
}

/// The command line, which leaves out what is seldom needed if only its short help is asked for.
pub(crate) fn command() -> clap::Command {
    let is_short = env::args_os().nth(1).is_some_and(|word| word == "-h");
    let seldom = if is_short { SELDOM } else { &[] };
    seldom.iter().fold(Args::command(), |command, name| command.mut_subcommand(name, |it| it.hide(true)))
}

/// So that the short help is one screen.
#[cfg(not(feature = "engine"))]
const SELDOM: &[&str] = &["key"];
#[cfg(feature = "engine")]
const SELDOM: &[&str] = &["key", "keys", "export", "history", "nodes"];

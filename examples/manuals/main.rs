//! Writes the man pages of the programs and their completions for bash, zsh and fish: `cargo run --example manuals
//! FOLDER`. FOLDER is laid out as /usr/share is, or /usr/local/share.
//!
//! It is an example because examples have the dev-dependencies, which the programs do without. A new program is a
//! line of [`programs`]. Those for users in PostgreSQL have examples of their own, in their packages, so that whoever
//! does without builds none of them.

mod pages;

use std::io;

use clap::CommandFactory;
use letmein::cli;
use pages::{ADMINISTRATOR, Program};
use proto::transport::Transport;

/// The section for those who log in.
const USER: &str = "1";

const USERS: (&str, &str) = (
    "/etc/letmein/users.toml",
    "Who may log in, where the Debian package is installed: give it with --users.",
);
const KEY: (&str, &str) =
    ("/etc/letmein/letmein.key", "The key of the records in that file: the first record makes it.");
const SERVERS: (&str, &str) = (
    "~/.config/letmein/servers.toml",
    "By which mechanism each user logs in at each server; --remember writes it.",
);
const UDP: (&str, &str) =
    ("/etc/default/letmein-auth-udp", "Address and options of the service of the Debian package.");
const TCP: (&str, &str) =
    ("/etc/default/letmein-auth-tcp", "Address and options of the service of the Debian package.");

const HTTP: (&str, &str) =
    ("/etc/default/letmein-auth-http", "Address and options of the gateway of the Debian package.");

fn programs() -> Vec<Program> {
    let program = |command, section, files| Program { command, section, files };
    vec![
        program(cli::letmein::Args::command(), USER, &[SERVERS]),
        program(cli::exchange::Args::command(), USER, &[]),
        program(cli::http::Args::command(), USER, &[HTTP]),
        program(letmein_bench::Args::command(), USER, &[USERS]),
        program(letmein_users::Args::command(), ADMINISTRATOR, &[USERS, KEY]),
        program(cli::server::command(Transport::Udp), ADMINISTRATOR, &[USERS, KEY, UDP]),
        program(cli::server::command(Transport::Tcp), ADMINISTRATOR, &[USERS, KEY, TCP]),
    ]
}

fn main() -> io::Result<()> {
    pages::write(programs(), &["letmein-sync(8)"])
}

//! Writes the man page of letmein-sync and its completions: `cargo run --package letmein-sync --example
//! manuals FOLDER`.

#[path = "../../../examples/manuals/pages.rs"]
mod pages;

use std::io;

use clap::CommandFactory;
use letmein_sync::Args;
use pages::{ADMINISTRATOR, Program};

const FILES: [(&str, &str); 3] = [
    (
        "/etc/letmein/database",
        "Where the database is, for the service: letmein-sync owns it, and it has mode 600.",
    ),
    ("/etc/default/letmein-sync", "More options of the service."),
    ("/var/lib/letmein-sync", "The users, as the service keeps them for server-udp and server-tcp."),
];

fn main() -> io::Result<()> {
    let program = Program { command: Args::command(), section: ADMINISTRATOR, files: &FILES };
    pages::write(vec![program], &["letmein-users-engine(8)", "server-udp(8)", "server-tcp(8)"])
}

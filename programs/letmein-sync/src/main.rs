//! What keeps users as a database has them; all of it is in the library.

use std::process::ExitCode;

use letmein::cli;

fn main() -> ExitCode {
    cli::exit_code(letmein_sync::run())
}

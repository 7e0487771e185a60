//! The client of the small services; all of it is in the library.

use std::process::ExitCode;

use letmein::cli;

fn main() -> ExitCode {
    cli::exit_code(cli::exchange::run())
}

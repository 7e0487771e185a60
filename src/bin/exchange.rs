//! The client of the small services; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    letmein::cli::exchange::main()
}

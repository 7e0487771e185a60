//! The gateway for web servers; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    letmein::cli::http::main()
}

//! The gateway for web servers; all of it is in the library.

#[cfg(not(target_os = "linux"))]
compile_error!("servers run on Linux alone; elsewhere build --bin letmein");

use std::process::ExitCode;

use letmein::cli;

fn main() -> ExitCode {
    cli::exit_code(cli::http::run())
}

//! The client; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    letmein::cli::letmein::main()
}

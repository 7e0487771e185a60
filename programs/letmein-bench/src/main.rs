//! The load generator; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    letmein_bench::main()
}

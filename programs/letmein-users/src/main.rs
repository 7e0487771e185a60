//! The administrator's tool for users files; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    letmein_users::main()
}

//! The authentication service over TCP; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    letmein::cli::server::main(proto::transport::Transport::Tcp)
}

//! The authentication service over UDP; all of it is in the library.

#[cfg(not(target_os = "linux"))]
compile_error!("servers run on Linux alone; elsewhere build --bin letmein");

use std::process::ExitCode;

fn main() -> ExitCode {
    letmein::cli::server::main(proto::transport::Transport::Udp)
}

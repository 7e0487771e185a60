//! The programs as people and scripts meet them: processes, command lines, users files, and bytes on loopback.
#![expect(
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests play the other end of the network, and a helper that fails is a test that fails"
)]

mod attacks;
mod audits;
mod bench;
mod bridges;
mod command_lines;
mod datagrams;
mod dist_files;
mod exchanges;
mod framed;
mod gateway;
mod lifecycle;
mod log_lines;
mod logins;
mod passwords;
mod peers;
mod penalties;
mod relay;
mod reloads;
mod running;
mod sandbox;
mod streams;
mod users_files;
mod users_program;

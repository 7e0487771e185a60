//! `server-udp` and `server-tcp`: one program over two transports.

use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing::level_filters::LevelFilter;

use crate::cli::{STATUSES, Status, parse, say};
use crate::daemon::{self, Config, SampleUsers, ServerError};
use crate::net::Transport;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Tell whether somebody knows their password, without the password crossing the network
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where to listen; a port alone means this machine only
    #[arg(value_name = "[ADDR:]PORT", default_value = "127.0.0.1:8591", value_parser = parse_address)]
    address: SocketAddr,
    /// Who may log in
    #[arg(long, value_name = "FILE", default_value = "users.toml")]
    users: PathBuf,
    /// Serve other machines even with the shipped sample passwords in the users file
    #[arg(long)]
    allow_sample_users: bool,
    /// Log each message on standard error
    #[arg(short, long)]
    debug: bool,
}

fn after_help(program: &str) -> String {
    format!(
        "Examples:\n  \
         {program} 8591                      this machine only\n  \
         {program} 0.0.0.0:8591              all of IPv4\n  \
         {program} [::]:8591                 all of IPv6, and of IPv4\n  \
         {program} --users /etc/users.toml   another users file\n\n\
         The first line on standard output says where it listens, once it does; port 0 is any that is free.\n\
         SIGINT and SIGTERM stop it, after logins in progress have ended.\n\n\
         {STATUSES}"
    )
}

/// The program.
#[must_use]
pub fn main(transport: Transport) -> ExitCode {
    run(transport).unwrap_or_else(|status| status).into()
}

fn run(transport: Transport) -> Result<Status, Status> {
    let program = transport.server();
    let command = Args::command().name(program).after_help(after_help(program));
    let args: Args = parse(command, &format!("{program} 127.0.0.1:8591 --users users.toml"))?;
    log_to_stderr(if args.debug { LevelFilter::DEBUG } else { LevelFilter::INFO });
    let config = Config {
        transport,
        address: args.address,
        users: args.users,
        sample_users: if args.allow_sample_users { SampleUsers::Allowed } else { SampleUsers::Local },
    };
    daemon::run(&config).map(|()| Status::Done).map_err(|error| {
        say(format_args!("{program}: {error}"));
        match error {
            ServerError::Users(_) | ServerError::SampleUser { .. } => Status::Usage,
            ServerError::Bind { .. } | ServerError::System(_) => Status::Failed,
        }
    })
}

fn log_to_stderr(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // It would panic where standard error is gone.
        .log_internal_errors(false)
        .with_max_level(level)
        .init();
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = text.parse().map_err(|_| format!("no port {text:?}: a port is a number up to 65535"))?;
        return Ok(SocketAddr::new(HOST, port));
    }
    Err(format!("no address {text:?}: write PORT, ADDRESS:PORT or [IPV6-ADDRESS]:PORT"))
}

//! `letmein-http`: the gateway for web servers.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use hyper::header::HeaderName;
use tracing::level_filters::LevelFilter;

use crate::cli::server::{ModeName, parse_log_format, parse_mode};
use crate::cli::{ExitStatus, STATUSES, failed, invalid, parse, parse_address, parse_seconds};
use crate::gateway::{self, GatewayConfig, GatewayError, Host, Listening};
use proto::transport::Transport;
use server::log::{LogFormat, log_to_stderr};

const PROGRAM: &str = "letmein-http";
const EXAMPLE: &str = "letmein-http 127.0.0.1:8592 127.0.0.1:8591";

/// Tell a web server whether the service welcomes whoever sends a request
#[derive(Parser)]
#[command(name = PROGRAM, version, after_help = after_help())]
pub struct Args {
    /// Where to listen for HTTP; port 0 is any that is free
    #[arg(value_name = "ADDR:PORT", value_parser = parse_address)]
    address: SocketAddr,
    /// Where the service is
    #[arg(value_name = "SERVICE-ADDR:PORT", value_parser = parse_service)]
    service: SocketAddr,
    /// Log in over TCP, as by default where the service is on another machine
    #[arg(long)]
    tcp: bool,
    /// Log in over UDP, as by default on this machine; elsewhere anybody who can forge its replies can let users in
    #[arg(long, conflicts_with = "tcp")]
    udp: bool,
    /// How long to wait for a turn to log in; the login then takes at most 1.5 s
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_timeout)]
    timeout: Duration,
    /// What people are asked the password for
    #[arg(long, value_name = "NAME", default_value = "letmein", value_parser = parse_realm)]
    realm: String,
    /// Answer requests for this host, too: what the web server sends as Host, without a port; may be repeated
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<Host>,
    /// Give each visitor a share of the logins, by the address in this header, which the web server must set itself
    #[arg(long, value_name = "HEADER", value_parser = parse_header)]
    visitor_header: Option<HeaderName>,
    /// Listen on an address that other machines reach, to which they send passwords in plain
    #[arg(long)]
    insecure_listen: bool,
    /// Refuse what a gateway does not need (on), let the kernel log it (log), or neither (off)
    #[arg(long, value_name = "MODE", default_value = "on", value_parser = parse_mode)]
    sandbox: ModeName,
    /// Lines of the log, on standard error: text, or a JSON object each (json)
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = parse_log_format)]
    log_format: LogFormat,
    /// Log each login, without its name
    #[arg(short, long)]
    debug: bool,
}

/// A minute: a browser waits no longer, and each request holds one of the places.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

fn after_help() -> String {
    format!(
        "A GET or HEAD with `Authorization: Basic` is answered with 204 if the service welcomes the user, 401\n\
         if not, 503 if it does not answer, and 421 if Host is neither this machine nor a --host.\n\
         Passwords come in plain, so keep it on this machine, behind TLS.\n\n\
         Example:\n  {EXAMPLE}\n\n{STATUSES}"
    )
}

pub fn run() -> Result<ExitStatus, ExitStatus> {
    let args: Args = parse(Args::command(), EXAMPLE)?;
    log_to_stderr(args.log_format, if args.debug { LevelFilter::DEBUG } else { LevelFilter::INFO });
    gateway::run(&args.config()).map(|()| ExitStatus::Done).map_err(|error| match error {
        GatewayError::Open(_) => invalid(&error.to_string(), EXAMPLE),
        GatewayError::Bind { .. } | GatewayError::System(_) => failed(PROGRAM, error),
    })
}

impl Args {
    /// TCP to other machines: there, only an attacker who can read the network can forge a verdict.
    fn transport(&self) -> Transport {
        let is_here = self.service.ip().to_canonical().is_loopback();
        if self.udp || (is_here && !self.tcp) { Transport::Udp } else { Transport::Tcp }
    }

    fn config(self) -> GatewayConfig {
        GatewayConfig {
            address: self.address,
            service: self.service,
            transport: self.transport(),
            timeout: self.timeout,
            realm: self.realm,
            hosts: self.hosts,
            visitor_header: self.visitor_header,
            listening: if self.insecure_listen { Listening::Insecure } else { Listening::Local },
            sandbox: self.sandbox.into(),
        }
    }
}

fn parse_header(text: &str) -> Result<HeaderName, String> {
    text.parse().map_err(|_| format!("no header {text:?}: give a name, as in X-Real-IP"))
}

/// A scope would have to be looked up, which the sandbox prevents.
fn parse_service(text: &str) -> Result<SocketAddr, String> {
    let address = parse_address(text)?;
    let has_scope = matches!(address, SocketAddr::V6(address) if address.scope_id() != 0);
    if address.port() == 0 || has_scope {
        return Err(format!(
            "no service {text:?}: give an address without a scope, and a port from 1 to 65535"
        ));
    }
    Ok(address)
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    parse_seconds(text).and_then(|time| {
        if time <= TIMEOUT_MAX {
            Ok(time)
        } else {
            Err(format!("no timeout {text:?}: give up to 60 seconds"))
        }
    })
}

fn parse_realm(text: &str) -> Result<String, String> {
    let is_plain = |byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if text.len() <= 128 && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("the realm is up to 128 characters of ASCII, without quotes and backslashes".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(service: &str, more: &[&str]) -> Transport {
        let args = [&["letmein-http", "127.0.0.1:8592", service], more].concat();
        Args::try_parse_from(args).unwrap().transport()
    }

    #[test]
    fn logins_leave_this_machine_over_tcp_unless_somebody_insists_on_udp() {
        for here in ["127.0.0.1:8591", "127.9.9.9:8591", "[::1]:8591", "[::ffff:127.0.0.1]:8591"] {
            assert_eq!(transport(here, &[]), Transport::Udp, "{here}");
            assert_eq!(transport(here, &["--tcp"]), Transport::Tcp, "{here}");
        }
        for elsewhere in ["192.0.2.7:8591", "[2001:db8::7]:8591", "[::ffff:192.0.2.7]:8591"] {
            assert_eq!(transport(elsewhere, &[]), Transport::Tcp, "{elsewhere}");
            assert_eq!(transport(elsewhere, &["--udp"]), Transport::Udp, "{elsewhere}");
        }
    }
}

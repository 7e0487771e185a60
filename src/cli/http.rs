//! `letmein-http`: the gateway for web servers.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use hyper::header::{AUTHORIZATION, HOST, HeaderName};
use tracing::level_filters::LevelFilter;

use crate::cli::server::{ModeName, parse_log_format, parse_mode};
use crate::cli::usage::{Invalid, Usage, invalid, parse};
use crate::cli::{ExitStatus, failed, parse_address, parse_mechanism, parse_time};
use crate::gateway::{self, GatewayConfig, GatewayError, Host, Listening, NoHost};
use client::host_port::HostPortError;
use proto::mechanism::Mechanism;
use proto::transport::Transport;
use server::log::{LogFormat, log_to_stderr};

const PROGRAM: &str = "letmein-http";
const EXAMPLE: &str = "letmein-http 127.0.0.1:8592 127.0.0.1:8591";

/// Headings of `--help`.
const SERVICE: &str = "Service";
const REQUESTS: &str = "Requests";
const SANDBOX: &str = "Sandbox and log";

/// Check HTTP logins for a web server
///
/// The web server asks this gateway about each request (nginx: auth_request), and the gateway asks the service. A GET
/// or HEAD with `Authorization: Basic` is answered with 204 if the user is welcome, 401 if not, 503 if the service does
/// not answer, and 421 if Host is neither this machine nor a --host.
#[derive(Parser)]
#[command(name = PROGRAM, version, after_help = SHORT_EXAMPLE, after_long_help = AFTER_LONG_HELP)]
pub struct Args {
    /// Address to listen on for HTTP
    ///
    /// Port 0 is any free port; the first line on standard output says which.
    #[arg(value_name = "ADDR:PORT", value_parser = parse_address)]
    address: SocketAddr,
    /// Address of the service
    #[arg(value_name = "SERVICE-ADDR:PORT", value_parser = parse_service)]
    service: SocketAddr,
    /// Log in over TCP [default to another machine]
    #[arg(long, help_heading = SERVICE)]
    tcp: bool,
    /// Log in over UDP [default to this machine]
    ///
    /// To another machine, UDP lets anyone in who can forge its replies, unless logins are by opaque.
    #[arg(long, help_heading = SERVICE, conflicts_with = "tcp")]
    udp: bool,
    /// How to prove passwords
    ///
    /// By opaque (RFC 9807) nobody who hears a login, or plays the service, can guess the password. The service needs
    /// records of the users for it (letmein-users add --opaque). No more passwords are stretched at once than there are
    /// processors.
    #[arg(long, help_heading = SERVICE, value_name = "md5|opaque", default_value = "md5", value_parser = parse_mechanism)]
    mechanism: Mechanism,
    /// Longest wait for a turn to log in
    ///
    /// Up to 60 s. The login itself then takes 1.5 s at most, or 3 s by opaque.
    #[arg(long, help_heading = SERVICE, value_name = "TIME", default_value = "5", value_parser = parse_timeout)]
    timeout: Duration,
    /// Name shown by the password prompt
    #[arg(long, help_heading = REQUESTS, value_name = "NAME", default_value = "letmein", value_parser = parse_realm)]
    realm: String,
    /// Also answer this host; repeatable
    ///
    /// It is the Host header that the web server sends, without a port.
    #[arg(long = "host", help_heading = REQUESTS, value_name = "NAME", value_parser = parse_host)]
    hosts: Vec<Host>,
    /// Header with the visitor's address
    ///
    /// Each visitor gets a fair share of the logins. The web server must set the header itself.
    #[arg(long, help_heading = REQUESTS, value_name = "NAME", value_parser = parse_header)]
    visitor_header: Option<HeaderName>,
    /// Listen even where other machines send passwords in plain text
    #[arg(long, help_heading = REQUESTS, hide_short_help = true)]
    insecure_listen: bool,
    /// What happens to system calls that a gateway does not need: on, log or off
    ///
    /// on: refused; log: allowed, but logged by the kernel; off: no sandbox.
    #[arg(long, help_heading = SANDBOX, hide_short_help = true, value_name = "MODE", default_value = "on",
          value_parser = parse_mode)]
    sandbox: ModeName,
    /// Format of the log on standard error: text or json
    #[arg(long, help_heading = SANDBOX, hide_short_help = true, value_name = "FORMAT", default_value = "text",
          value_parser = parse_log_format)]
    log_format: LogFormat,
    /// Log each login, without its name
    #[arg(short, long, help_heading = SANDBOX)]
    debug: bool,
}

/// A minute: a browser waits no longer, and each request holds one of the places.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

const SHORT_EXAMPLE: &str = "Example: letmein-http 127.0.0.1:8592 127.0.0.1:8591";

const AFTER_LONG_HELP: &str = "\
Browsers send passwords in plain text, so keep the gateway on this machine, behind a web server with TLS.

Examples:
  letmein-http 127.0.0.1:8592 127.0.0.1:8591
  letmein-http 127.0.0.1:8592 192.0.2.7:8591 --visitor-header X-Real-IP

Exit status: 0 stopped by a signal, 2 wrong command line, 3 the system failed";

pub fn run() -> Result<ExitStatus, ExitStatus> {
    let args: Args = parse(Args::command(), &Usage::without_password(EXAMPLE))?;
    if args.address == args.service {
        return Err(invalid("the address of the service is the gateway's own", EXAMPLE));
    }
    log_to_stderr(args.log_format, if args.debug { LevelFilter::DEBUG } else { LevelFilter::INFO });
    gateway::run(&args.config()).map(|()| ExitStatus::Done).map_err(|error| match error {
        GatewayError::Open(_) => invalid(&error.to_string(), EXAMPLE),
        GatewayError::Bind { .. } | GatewayError::System(_) => failed(PROGRAM, error),
    })
}

impl Args {
    /// TCP to other machines: there, only an attacker who can read the network can forge a verdict.
    fn transport(&self) -> Transport {
        let is_here = gateway::is_here(self.service);
        if self.udp || (is_here && !self.tcp) { Transport::Udp } else { Transport::Tcp }
    }

    fn config(self) -> GatewayConfig {
        GatewayConfig {
            address: self.address,
            service: self.service,
            transport: self.transport(),
            mechanism: self.mechanism,
            timeout: self.timeout,
            realm: self.realm,
            hosts: self.hosts,
            visitor_header: self.visitor_header,
            listening: if self.insecure_listen { Listening::Insecure } else { Listening::Local },
            sandbox: self.sandbox.into(),
        }
    }
}

fn parse_host(text: &str) -> Result<Host, Invalid> {
    text.parse().map_err(|NoHost| {
        Invalid::new("host", text, "give a name or an address, without scheme, port or wildcard")
    })
}

/// Headers with another meaning hold no visitor.
fn parse_header(text: &str) -> Result<HeaderName, Invalid> {
    let header = text.parse().ok().filter(|header| ![HOST, AUTHORIZATION].contains(header));
    header.ok_or_else(|| Invalid::new("header", text, "give one with the visitor's address, as in X-Real-IP"))
}

/// A scope would have to be looked up, which the sandbox prevents.
fn parse_service(text: &str) -> Result<SocketAddr, Box<dyn Error + Send + Sync>> {
    let remedy = "give an address without a scope, and a port from 1 to 65535";
    let invalid = || Err(Invalid::new("service address", text, remedy).into());
    if text.contains('%') {
        return invalid();
    }
    let address = parse_address(text)?;
    if address.ip().is_unspecified() {
        return Err(HostPortError::Unspecified(address.ip()).into());
    }
    if address.port() == 0 { invalid() } else { Ok(address) }
}

fn parse_timeout(text: &str) -> Result<Duration, Invalid> {
    parse_time(text).and_then(|time| {
        if time <= TIMEOUT_MAX { Ok(time) } else { Err(Invalid::new("time", text, "give up to 60 seconds")) }
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

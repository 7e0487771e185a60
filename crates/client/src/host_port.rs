//! Parses and resolves `HOST:PORT`, where the host is a name, an IPv4 address, or an IPv6 address in brackets.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A host and a port, not resolved yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address without brackets, not empty.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

/// Why a text is not a `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostPortError {
    /// There is no port in this text.
    NoPort(String),
    /// This port is not a number from 1 to 65535.
    BadPort(String),
    /// There is no host in this text.
    NoHost(String),
    /// There is a port in this text, and nothing else.
    PortAlone(u16),
    /// This is an IPv6 address without brackets, whose end could be a port.
    NoBrackets(String),
    /// There is no `]` after the IPv6 address.
    Unclosed,
    /// There are more colons than the one before the port.
    Colons,
    /// A server can listen at this address, and no client can reach it.
    Unspecified(IpAddr),
    /// Many hosts listen at this address.
    Many(IpAddr),
    /// The host in this text has a character that no host has.
    BadHost(String),
}

/// The texts are not shown where they may hold a password, as in `USER:PASSWORD@HOST` or `HOST:PASSWORD`.
impl fmt::Display for HostPortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPort(it) if it.ends_with(':') => f.write_str("no port after the colon: write HOST:PORT"),
            Self::NoPort(_) => f.write_str("no port: write HOST:PORT"),
            Self::PortAlone(it) => write!(f, "\"{it}\" is a port: write HOST:{it}"),
            Self::BadPort(_) => f.write_str("invalid port: a port is a number from 1 to 65535"),
            Self::NoHost(_) => f.write_str("the host is missing: write HOST:PORT"),
            Self::NoBrackets(it) => {
                let (host, port) = without_brackets(it).unwrap_or(("ADDRESS", "PORT"));
                write!(f, "an IPv6 address goes in brackets: write [{host}]:{port}")
            }
            Self::Unclosed => f.write_str("the ] after the IPv6 address is missing: write [ADDRESS]:PORT"),
            Self::Colons => f.write_str("more than one colon in the server: write HOST:PORT"),
            Self::Unspecified(it) => {
                let loopback = match it {
                    IpAddr::V4(_) => "127.0.0.1",
                    IpAddr::V6(_) => "[::1]",
                };
                write!(
                    f,
                    "{it} is only for listening: give the server's address, or {loopback} for this machine"
                )
            }
            Self::Many(it) => write!(f, "{it} is not the address of one server"),
            Self::BadHost(it) if it.contains('@') => {
                f.write_str("invalid server: write HOST:PORT, without a user or a password")
            }
            Self::BadHost(it) if it.contains("://") => {
                f.write_str("invalid server: write HOST:PORT, without a scheme or a path")
            }
            Self::BadHost(_) => f.write_str(
                "invalid server: write HOST:PORT or [IPV6-ADDRESS]:PORT, without spaces or a path",
            ),
        }
    }
}

impl std::error::Error for HostPortError {}

/// The text has to have a port.
impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        Self::parse(text, None)
    }
}

impl HostPort {
    /// Parses `HOST:PORT`, or `HOST` alone where there is a default port.
    ///
    /// # Errors
    /// [`HostPortError`] says what is wrong, and how to write it.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, HostPortError> {
        if text.contains(['/', '@', ' ']) {
            return Err(HostPortError::BadHost(text.into()));
        }
        let (host, port) = split(text)?;
        if port.is_none() && !host.is_empty() && is_digits(host) {
            return Err(HostPortError::PortAlone(parse_port(host)?));
        }
        if host.is_empty() {
            return Err(HostPortError::NoHost(text.into()));
        }
        if let Some(address) = host.parse::<IpAddr>().ok().filter(IpAddr::is_unspecified) {
            return Err(HostPortError::Unspecified(address));
        }
        if let Some(address) = host.parse::<IpAddr>().ok().filter(is_of_many) {
            return Err(HostPortError::Many(address));
        }
        let port = match port {
            Some("") => return Err(HostPortError::NoPort(text.into())),
            Some(port) => parse_port(port)?,
            None => default_port.ok_or_else(|| HostPortError::NoPort(text.into()))?,
        };
        Ok(Self { host: host.into(), port })
    }

    /// Resolves the addresses. The system's resolver has no timeout, so it runs in a thread that is abandoned after
    /// `timeout`.
    ///
    /// # Errors
    /// The resolver's, or one of ours if it does not answer in time.
    pub fn resolve(&self, timeout: Duration) -> io::Result<Vec<SocketAddr>> {
        let (sender, receiver) = mpsc::channel();
        let Self { host, port } = self.clone();
        let is_address = host.parse::<IpAddr>().is_ok();
        let resolve = move || {
            // The receiver is gone after the timeout.
            let _ = sender.send((host.as_str(), port).to_socket_addrs().map(Vec::from_iter));
        };
        if is_address {
            resolve();
        } else {
            thread::Builder::new().spawn(resolve)?;
        }
        let unanswered = |_| Err(io::Error::other("the resolver does not answer"));
        receiver.recv_timeout(timeout).unwrap_or_else(unanswered)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The host, without brackets, and the port, if there is one.
fn split(text: &str) -> Result<(&str, Option<&str>), HostPortError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(HostPortError::Unclosed)?;
        return match (rest, rest.strip_prefix(':')) {
            ("", _) => Ok((host, None)),
            (_, Some(port)) => Ok((host, Some(port))),
            (_, None) => Err(HostPortError::BadHost(text.into())),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((_, rest)) if without_brackets(text).is_some() || rest.contains("::") => {
            Err(HostPortError::NoBrackets(text.into()))
        }
        Some((_, rest)) if rest.contains(':') => Err(HostPortError::Colons),
        Some((host, port)) => Ok((host, Some(port))),
    }
}

/// The address in a text without brackets, and the port, or a word for it.
fn without_brackets(text: &str) -> Option<(&str, &str)> {
    let is_ipv6 = |host: &str| host.parse::<Ipv6Addr>().is_ok();
    let with_port = text.rsplit_once(':').filter(|(host, port)| is_ipv6(host) && parse_port(port).is_ok());
    with_port.or_else(|| is_ipv6(text).then_some((text, "PORT")))
}

fn parse_port(text: &str) -> Result<u16, HostPortError> {
    match text.parse() {
        Ok(port) if port > 0 && is_digits(text) => Ok(port),
        Ok(_) | Err(_) => Err(HostPortError::BadPort(text.into())),
    }
}

fn is_of_many(address: &IpAddr) -> bool {
    address.is_multicast() || *address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_is_written_as_it_was_read() {
        for (text, host, port) in [
            ("127.0.0.1:8591", "127.0.0.1", 8591),
            ("localhost:1", "localhost", 1),
            ("[::1]:65535", "::1", 65535),
            ("[fe80::1%eth0]:8591", "fe80::1%eth0", 8591),
        ] {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!(parsed, HostPort { host: host.into(), port });
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn a_port_that_is_left_out_is_the_default_if_there_is_one() {
        for (text, host) in [("localhost", "localhost"), ("192.0.2.7", "192.0.2.7"), ("[::1]", "::1")] {
            assert_eq!(HostPort::parse(text, Some(8591)), Ok(HostPort { host: host.into(), port: 8591 }));
            assert_eq!(HostPort::parse(text, None), Err(HostPortError::NoPort(text.into())));
        }
        assert_eq!(HostPort::parse("localhost:1", Some(8591)).unwrap().port, 1);
    }

    #[test]
    fn each_mistake_has_its_own_reason() {
        let no_port = |text: &str| HostPortError::NoPort(text.into());
        let bad_port = |port: &str| HostPortError::BadPort(port.into());
        let bad_host = |text: &str| HostPortError::BadHost(text.into());
        for (text, reason) in [
            ("127.0.0.1", no_port("127.0.0.1")),
            ("127.0.0.1:", no_port("127.0.0.1:")),
            ("[::1]", no_port("[::1]")),
            ("", HostPortError::NoHost(String::new())),
            (":8591", HostPortError::NoHost(":8591".into())),
            ("[]:8591", HostPortError::NoHost("[]:8591".into())),
            ("localhost:0", bad_port("0")),
            ("localhost:65536", bad_port("65536")),
            ("localhost:+1", bad_port("+1")),
            ("localhost:http", bad_port("http")),
            ("::1:8591", HostPortError::NoBrackets("::1:8591".into())),
            ("2001:db8::1", HostPortError::NoBrackets("2001:db8::1".into())),
            ("0.0.0.0:8591", HostPortError::Unspecified(Ipv4Addr::UNSPECIFIED.into())),
            ("[::]:8591", HostPortError::Unspecified(Ipv6Addr::UNSPECIFIED.into())),
            ("http://127.0.0.1:8591", bad_host("http://127.0.0.1:8591")),
            ("alice@gate.example:8591", bad_host("alice@gate.example:8591")),
            ("localhost:8591:", HostPortError::Colons),
            ("[::1", HostPortError::Unclosed),
            ("8591", HostPortError::PortAlone(8591)),
            ("123456", bad_port("123456")),
            ("[::1]8591", bad_host("[::1]8591")),
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(reason), "{text:?}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_what_to_write() {
        for (text, remedy) in [
            ("18591", "\"18591\" is a port: write HOST:18591"),
            ("[::1]:", "no port after the colon: write HOST:PORT"),
            ("::1:18591", "an IPv6 address goes in brackets: write [::1]:18591"),
            ("224.0.0.1:1", "224.0.0.1 is not the address of one server"),
            ("2001:db8::1", "an IPv6 address goes in brackets: write [2001:db8::1]:PORT"),
            (
                "0.0.0.0:1",
                "0.0.0.0 is only for listening: give the server's address, or 127.0.0.1 for this machine",
            ),
        ] {
            assert_eq!(text.parse::<HostPort>().unwrap_err().to_string(), remedy);
        }
    }

    #[test]
    fn nothing_is_shown_that_may_be_a_password() {
        for text in [
            "alice:hunter2:x",
            "alice::hunter2",
            "[hunter2",
            "gate:hunter2",
            ":hunter2",
            "http://alice:hunter2",
            "gate:hunter2/x",
            "hunter2@gate",
        ] {
            let reason = text.parse::<HostPort>().unwrap_err().to_string();
            assert!(!reason.contains("hunter2"), "{text}: {reason}");
        }
    }
}

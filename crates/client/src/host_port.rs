//! Parses and resolves `HOST:PORT`, where the host is a name, an IPv4 address, or an IPv6 address in brackets.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
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
pub enum HostPortError {
    /// There is no port in this text.
    NoPort(String),
    /// This port is not a number from 1 to 65535.
    BadPort(String),
    /// There is no host in this text.
    NoHost(String),
    /// This is an IPv6 address without brackets, whose end could be a port.
    NoBrackets(String),
}

impl fmt::Display for HostPortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPort(it) => write!(f, "no port in {it:?}: write HOST:PORT"),
            Self::BadPort(it) => write!(f, "no port {it:?}: a port is a number from 1 to 65535"),
            Self::NoHost(it) => write!(f, "no host in {it:?}: write HOST:PORT"),
            Self::NoBrackets(it) => {
                write!(f, "{it:?} is an IPv6 address without brackets: write [ADDRESS]:PORT")
            }
        }
    }
}

impl std::error::Error for HostPortError {}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").ok_or_else(|| HostPortError::NoPort(text.into()))?,
            None => text.rsplit_once(':').ok_or_else(|| HostPortError::NoPort(text.into()))?,
        };
        if host.contains(':') && !text.starts_with('[') {
            return Err(HostPortError::NoBrackets(text.into()));
        }
        if host.is_empty() {
            return Err(HostPortError::NoHost(text.into()));
        }
        if port.is_empty() {
            return Err(HostPortError::NoPort(text.into()));
        }
        Ok(Self { host: host.into(), port: parse_port(port)? })
    }
}

impl HostPort {
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

fn parse_port(text: &str) -> Result<u16, HostPortError> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if port > 0 && digits_only => Ok(port),
        Ok(_) | Err(_) => Err(HostPortError::BadPort(text.into())),
    }
}

#[cfg(test)]
mod tests {
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
    fn each_mistake_has_its_own_reason() {
        let no_port = |text: &str| HostPortError::NoPort(text.into());
        let bad_port = |port: &str| HostPortError::BadPort(port.into());
        for (text, reason) in [
            ("127.0.0.1", no_port("127.0.0.1")),
            ("127.0.0.1:", no_port("127.0.0.1:")),
            ("[::1]", no_port("[::1]")),
            ("", no_port("")),
            (":8591", HostPortError::NoHost(":8591".into())),
            ("[]:8591", HostPortError::NoHost("[]:8591".into())),
            ("localhost:0", bad_port("0")),
            ("localhost:65536", bad_port("65536")),
            ("localhost:+1", bad_port("+1")),
            ("localhost:http", bad_port("http")),
            ("::1:8591", HostPortError::NoBrackets("::1:8591".into())),
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(reason), "{text:?}");
        }
    }
}

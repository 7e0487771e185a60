//! The names by which a gateway may be asked. A page in somebody's browser can give a name of its own this machine's
//! address (DNS rebinding), but it cannot choose what the browser sends as `Host`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hyper::Version;
use hyper::header::{HOST, HeaderMap};
use hyper::http::uri::Authority;

/// The longest name that the DNS has, in bytes.
const NAME_MAX: usize = 253;

/// A name or an address, without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// In lower case, without a final dot.
    Name(String),
    /// IPv4 written as IPv6 is IPv4.
    Address(IpAddr),
}

/// The text is neither a name nor an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHost;

impl FromStr for Host {
    type Err = NoHost;

    /// An address of IPv6 may have brackets.
    fn from_str(text: &str) -> Result<Self, NoHost> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_plain) {
            Ok(Self::Name(name.to_ascii_lowercase()))
        } else {
            Err(NoHost)
        }
    }
}

/// The hosts that a gateway answers for.
pub(super) struct Hosts(Vec<Host>);

impl Hosts {
    /// This machine, the address that the gateway listens at, and what the operator adds.
    pub(super) fn new(listening: IpAddr, more: &[Host]) -> Self {
        let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), listening.to_canonical()];
        let own = addresses.into_iter().map(Host::Address);
        Self(
            [Host::Name("localhost".to_owned())].into_iter().chain(own).chain(more.iter().cloned()).collect(),
        )
    }

    /// Whether a request is for one of them, at any port. HTTP/1.0 knows no `Host`, and no browser speaks it.
    pub(super) fn include(&self, version: Version, headers: &HeaderMap) -> bool {
        let mut all = headers.get_all(HOST).iter();
        match (all.next(), all.next()) {
            (None, _) => version == Version::HTTP_10,
            (Some(only), None) => {
                let authority = Authority::try_from(only.as_bytes()).ok();
                let host = authority.and_then(|authority| authority.host().parse().ok());
                host.is_some_and(|host| self.0.contains(&host))
            }
            (Some(_), Some(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn included(hosts: &Hosts, values: &[&str]) -> bool {
        let values = values.iter().map(|value| (HOST, value.parse().unwrap()));
        hosts.include(Version::HTTP_11, &values.collect())
    }

    #[test]
    fn this_machine_and_the_listed_hosts_are_included_at_any_port() {
        let more = ["Auth.Internal", "2001:db8::1"].map(|host| host.parse().unwrap());
        let hosts = Hosts::new("127.0.0.7".parse().unwrap(), &more);
        for host in [
            "localhost",
            "LOCALHOST:80",
            "localhost.",
            "127.0.0.1:8592",
            "[::1]:8592",
            "[0:0::1]",
            "127.0.0.7",
            "auth.internal.",
            "auth.internal:1",
            "[2001:db8:0::1]:8592",
        ] {
            assert!(included(&hosts, &[host]), "{host}");
        }
    }

    #[test]
    fn any_other_host_is_not_included() {
        let hosts = Hosts::new([127, 0, 0, 1].into(), &[]);
        for host in [
            "",
            "rebound.example",
            "rebound.example:8592",
            "localhost.rebound.example",
            "127.0.0.1.rebound.example",
            "notlocalhost",
            "192.0.2.1",
            "[2001:db8::1]",
            "127.0.0.1 rebound.example",
            "localhost,rebound.example",
            "localhost\u{e9}",
        ] {
            assert!(!included(&hosts, &[host]), "{host}");
        }
        assert!(!included(&hosts, &["localhost", "localhost"]));
    }

    #[test]
    fn only_http_1_0_may_go_without_a_host() {
        let (hosts, headers) = (Hosts::new([127, 0, 0, 1].into(), &[]), HeaderMap::new());
        assert!(hosts.include(Version::HTTP_10, &headers));
        assert!(!hosts.include(Version::HTTP_11, &headers));
    }

    #[test]
    fn a_host_has_no_port_and_no_strange_characters() {
        for text in [
            "",
            ".",
            "*",
            "a,b",
            "http://x",
            "a:80",
            "[::1]:80",
            "a/b",
            "a b",
            "zoë",
            "user@a",
            &"a".repeat(254),
        ] {
            assert_eq!(text.parse::<Host>(), Err(NoHost), "{text}");
        }
    }
}

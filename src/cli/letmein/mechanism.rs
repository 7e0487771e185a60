//! By which mechanism `letmein` logs in, and what it says about that.

use std::env;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;

use super::remembered::{self, Unusable};
use super::{PROGRAM, Servers};
use crate::cli::{mechanism_named, say};
use client::login::LoginError;
use proto::credentials::Username;
use proto::mechanism::Mechanism;

const VARIABLE: &str = "LETMEIN_MECHANISM";

/// Why it is not known by which mechanism to log in.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoMechanism {
    #[error("the variable {VARIABLE} is neither md5 nor opaque: set one of them, or none")]
    Variable,
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

/// The mechanism of the option; else what is remembered; else that of the variable; else MD5, as ever. What is
/// remembered is in front of the variable for OPAQUE alone, since nothing but an option is to turn that off. Where a
/// login may be at any of several servers, one that is remembered with OPAQUE is enough.
pub(super) fn choose(
    option: Option<Mechanism>,
    servers: &Servers,
    user: &Username,
) -> Result<Mechanism, NoMechanism> {
    if let Some(mechanism) = option {
        return Ok(mechanism);
    }
    let remembered = remembered::load()?;
    let remembered: Vec<_> = servers.all().filter_map(|server| remembered.mechanism(server, user)).collect();
    if remembered.contains(&Mechanism::Opaque) {
        return Ok(Mechanism::Opaque);
    }
    let variable = match env::var_os(VARIABLE) {
        Some(name) => Some(name.to_str().and_then(mechanism_named).ok_or(NoMechanism::Variable)?),
        None => None,
    };
    Ok(variable.or(remembered.first().copied()).unwrap_or(Mechanism::Md5))
}

/// What is said about a login by MD5 to somebody at a terminal: nobody reads the rest.
pub(super) struct Advice {
    is_wanted: bool,
}

impl Advice {
    pub(super) fn new(mechanism: Mechanism) -> Self {
        Self { is_wanted: mechanism == Mechanism::Md5 && io::stderr().is_terminal() }
    }

    /// Nothing is said about a login of which even the verdict is not read by people.
    pub(super) fn none() -> Self {
        Self { is_wanted: false }
    }

    /// What else may be the reason for a refusal, or for the silence of a server whose users all have records.
    pub(super) fn after_failure(&self, user: &Username) {
        if self.is_wanted {
            say(format_args!("{PROGRAM}: if {user} logs in by OPAQUE there, add --mechanism opaque"));
        }
    }

    /// Before a message to a server; it is said once, and not of one on this machine.
    pub(super) fn before_sending(&mut self, server: SocketAddr) {
        if self.is_wanted && can_be_heard(server) {
            self.is_wanted = false;
            say(format_args!(
                "{PROGRAM}: warning: whoever hears this login by MD5 can try passwords on it until one fits; OPAQUE \
                 prevents that (--mechanism opaque)"
            ));
        }
    }
}

/// Whether a server may be one that does not speak MD5: it ignores requests, or closes the connection.
pub(super) fn is_silence(error: &LoginError) -> bool {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    if let LoginError::Unreachable { error, .. } = error {
        matches!(error.kind(), ConnectionReset | UnexpectedEof)
    } else {
        matches!(error, LoginError::NoAnswer { .. })
    }
}

/// Whether messages to a server leave this machine.
fn can_be_heard(server: SocketAddr) -> bool {
    !server.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_on_this_machine_is_heard_by_nobody() {
        let heard = |address: &str| can_be_heard(address.parse().unwrap());
        for this in ["127.0.0.1:8591", "127.8.8.8:8591", "[::1]:8591", "[::ffff:127.0.0.1]:8591"] {
            assert!(!heard(this), "{this}");
        }
        assert!(heard("192.0.2.7:8591") && heard("[2001:db8::1]:8591"));
    }
}

//! Tries, inside the sandbox, what a server must not be able to do.
#![expect(clippy::disallowed_types, reason = "it tries to open sockets")]

use std::fmt;
use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use nix::sys::ptrace;

/// An act, and what came of it.
pub(crate) struct Attempt {
    act: &'static str,
    outcome: io::Result<()>,
}

impl Attempt {
    /// Whether it was kept from happening.
    pub(crate) fn is_refused(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, Unsupported};
        self.outcome.as_ref().is_err_and(|error| matches!(error.kind(), PermissionDenied | Unsupported))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(()) => write!(f, "{}: NOT REFUSED", self.act),
            Err(error) if self.is_refused() => write!(f, "{}: refused ({error})", self.act),
            Err(error) => write!(f, "{}: NOT REFUSED, but failed ({error})", self.act),
        }
    }
}

/// Tries them all.
pub(crate) fn run() -> Vec<Attempt> {
    let own = std::env::temp_dir().join(format!("letmein-self-test-{}", std::process::id()));
    let attempts: [(_, io::Result<()>); 8] = [
        ("write a file", fs::write(&own, "x")),
        ("read a file", fs::read("/etc/passwd").map(drop)),
        ("remove a file", fs::remove_file(&own)),
        ("connect out", TcpStream::connect(("127.0.0.1", 9)).map(drop)),
        ("listen", TcpListener::bind(("127.0.0.1", 0)).map(drop)),
        ("open a socket for datagrams", UdpSocket::bind(("127.0.0.1", 0)).map(drop)),
        ("run a program", Command::new("/bin/true").status().map(drop)),
        ("be traced", ptrace::traceme().map_err(io::Error::from)),
    ];
    attempts.map(|(act, outcome)| Attempt { act, outcome }).into()
}

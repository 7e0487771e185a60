//! Whole logins over the loopback of any system, at a server made of the protocol.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

mod md5;
#[cfg(feature = "opaque")]
mod opaque;
#[cfg_attr(not(feature = "opaque"), expect(dead_code, reason = "only OPAQUE needs all of it"))]
mod server;

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use letmein_auth_client::HostPort;

/// Longer than any login takes, however busy the machine is.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where nobody listens, and nobody will, as long as the connection is there.
fn nobody() -> (TcpStream, HostPort) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let address = taken.local_addr().unwrap().to_string().parse().unwrap();
    (taken, address)
}

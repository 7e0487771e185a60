//! Tries all addresses of a server, one after the other.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::channel::is_timeout;
use crate::host_port::HostPort;

/// Acts on each address of a server until one succeeds, and gives the last failure if none does. Each address has an
/// equal share of the time that is left.
pub(crate) fn at_any_address<T>(
    server: &HostPort,
    timeout: Duration,
    mut act: impl FnMut(SocketAddr, Duration) -> io::Result<T>,
) -> io::Result<T> {
    let (started, timeout) = (Instant::now(), clamped(timeout));
    let addresses = server.resolve(timeout)?;
    let mut result = Err(io::Error::other("the server has no address"));
    for (index, address) in addresses.iter().enumerate() {
        let left = timeout.saturating_sub(started.elapsed());
        let share = clamped(left / (addresses.len() - index) as u32);
        let acted = act(*address, share);
        result = acted.map_err(|error| if is_timeout(&error) { no_answer(timeout) } else { error });
        if result.is_ok() || started.elapsed() >= timeout {
            break;
        }
    }
    result
}

/// A timeout that sockets and clocks accept: neither zero nor longer than a year.
pub(crate) fn clamped(timeout: Duration) -> Duration {
    timeout.clamp(Duration::from_millis(1), Duration::from_secs(365 * 24 * 60 * 60))
}

/// Says that there was no answer, with the time to the millisecond.
pub(crate) fn no_answer(timeout: Duration) -> io::Error {
    let seconds = (timeout.as_secs_f64() * 1e3).round() / 1e3;
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {seconds} s"))
}

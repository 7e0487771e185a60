//! A client's TCP stream with a deadline for each answer, which a trickle of bytes does not extend.

use std::io::{self, Read, Write};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::any_address::{at_any_address, clamped};
use crate::host_port::HostPort;

pub(crate) struct TimedStream {
    stream: TcpStream,
    timeout: Duration,
    /// The time for the next answer. For the first, the time of connecting has been taken off.
    allowance: Duration,
    deadline: Instant,
}

impl TimedStream {
    /// Connects to any of a server's addresses, within `timeout`.
    ///
    /// # Errors
    /// `TimedOut` for a server that does not answer; else the system's error at the last address.
    pub(crate) fn connect(server: &HostPort, timeout: Duration) -> io::Result<Self> {
        let timeout = clamped(timeout);
        let deadline = Instant::now() + timeout;
        let connect = |address, share| TcpStream::connect_timeout(&address, share);
        let stream = at_any_address(server, timeout, connect)?;
        stream.set_nodelay(true)?;
        let allowance = deadline.saturating_duration_since(Instant::now());
        Ok(Self { stream, timeout, allowance, deadline })
    }

    /// Starts the time for the next answer, and for all reads and writes until then.
    pub(crate) fn begin(&mut self) {
        self.deadline = Instant::now() + mem::replace(&mut self.allowance, self.timeout);
    }

    /// Another handle of the stream, with deadlines of its own.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, ..*self })
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown(how)
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            Some(_) | None => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Read for TimedStream {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(room)
    }
}

impl Write for TimedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_time_of_connecting_is_taken_off_the_first_answer_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = HostPort { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
        let timeout = Duration::from_secs(60);
        let started = Instant::now();
        let mut stream = TimedStream::connect(&server, timeout).unwrap();
        stream.allowance = Duration::from_secs(50);
        stream.begin();
        assert!(stream.deadline < started + timeout);
        stream.begin();
        assert!(stream.deadline >= started + timeout);
    }

    #[test]
    fn nothing_is_read_or_written_after_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = HostPort { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
        let mut stream = TimedStream::connect(&server, Duration::from_secs(60)).unwrap();
        listener.accept().unwrap().0.write_all(b"late").unwrap();
        stream.deadline = Instant::now();
        assert_eq!(stream.read(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(stream.write(b"late").unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}

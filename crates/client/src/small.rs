//! Clients of the small services.

mod framed;

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::TryRng;
use rand::rngs::SysRng;

use crate::any_address::{at_any_address, no_answer};
use crate::channel::{Channel, is_timeout};
use crate::host_port::HostPort;
use crate::timed_stream::TimedStream;
use proto::backoff::Backoff;
use proto::small::{DATAGRAM_MAX, DatagramService};
use proto::small::{guard, md5};
use proto::transport::Transport;

pub use framed::{FramedClient, FramedError};

/// Sends a message over UDP until it is answered, and gives the answer. Each message has a socket of its own, so that a
/// late answer is not mistaken for that of another message.
///
/// # Errors
/// `InvalidInput` for a message that every server ignores; `TimedOut` after `timeout`, which covers the look-up and all
/// addresses of the server; else the system's error at the last address.
pub fn ask(
    service: DatagramService,
    server: &HostPort,
    message: &[u8],
    timeout: Duration,
) -> io::Result<Vec<u8>> {
    if let Err(reason) = guard::check(service, message) {
        return Err(invalid(format!("no server answers this message: {reason}")));
    }
    at_any_address(server, timeout, |address, share| ask_at(service, address, message, share))
}

fn ask_at(
    service: DatagramService,
    server: SocketAddr,
    message: &[u8],
    timeout: Duration,
) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + timeout;
    let mut channel = Channel::open(Transport::Udp, server, timeout)?;
    let mut backoff = Backoff::new(SysRng.try_next_u64()?);
    let mut room = vec![0; DATAGRAM_MAX + 1];
    while Instant::now() < deadline {
        channel.send(message)?;
        let resend = Instant::now() + backoff.wait();
        while let Some(wait) = resend.min(deadline).checked_duration_since(Instant::now()) {
            match channel.receive(&mut room, wait) {
                Ok(len) if service.is_answer(message, room.get(..len).unwrap_or_default()) => {
                    room.truncate(len);
                    return Ok(room);
                }
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// A connection to an MD5 server. It cannot be used after an error.
pub struct Md5Client {
    stream: TimedStream,
    timeout: Duration,
}

impl Md5Client {
    /// Connects. `timeout` is that of each answer; for the first, it includes connecting.
    ///
    /// # Errors
    /// The system's error at the last of the server's addresses.
    pub fn connect(server: &HostPort, timeout: Duration) -> io::Result<Self> {
        Ok(Self { stream: TimedStream::connect(server, timeout)?, timeout })
    }

    /// Sends a message, and gives the digits of its MD5.
    ///
    /// # Errors
    /// `InvalidInput` for an empty message, or one of more than [`md5::STREAM_MESSAGE_MAX`] bytes. `TimedOut` if no
    /// answer comes; `UnexpectedEof` if the server closes the connection before its answer; `InvalidData` if the answer
    /// is not the MD5 of the message, which happens if the message does not arrive in one piece. Else the system's.
    pub fn ask(&mut self, message: &[u8]) -> io::Result<String> {
        if message.is_empty() {
            return Err(invalid(
                "an empty message cannot be sent over TCP, where nothing would tell of it".into(),
            ));
        }
        if message.len() > md5::STREAM_MESSAGE_MAX {
            return Err(invalid(format!("the message is longer than {} bytes", md5::STREAM_MESSAGE_MAX)));
        }
        let mut answer = [0; md5::ANSWER_LEN];
        self.stream.begin();
        let exchanged = self.stream.write_all(message).and_then(|()| self.stream.read_exact(&mut answer));
        exchanged.map_err(|error| self.explained(error))?;
        if !md5::is_answer(&answer) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "what the server says is no digest"));
        }
        if answer != md5::answer(message) {
            let reason = "the server answered the digest of something else, as it does if a message does not arrive in one piece";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn explained(&self, error: io::Error) -> io::Error {
        if is_timeout(&error) {
            no_answer(self.timeout)
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            io::Error::new(error.kind(), "the server closed the connection before its answer")
        } else {
            error
        }
    }
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

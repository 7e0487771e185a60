//! The client's side of the small services that need no more than a question and an answer.

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

/// Sends a message over UDP until it is answered, and gives the answer. Each message has a socket of its own, so that
/// no late answer is taken for that of another message.
///
/// # Errors
/// `InvalidInput` for a message that every server ignores; `TimedOut` after `timeout`, which is for the
/// look-up of the server and all its addresses together; else the system's, of the last of the addresses.
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

/// A connection to an MD5 server. After an error it is of no more use.
pub struct Md5Client {
    stream: TimedStream,
    timeout: Duration,
}

impl Md5Client {
    /// Connects. Each answer will have `timeout`; the first has what connecting left of it.
    ///
    /// # Errors
    /// The system's, of the last of the server's addresses.
    pub fn connect(server: &HostPort, timeout: Duration) -> io::Result<Self> {
        Ok(Self { stream: TimedStream::connect(server, timeout)?, timeout })
    }

    /// Sends a message, and gives the digits of its MD5.
    ///
    /// # Errors
    /// `InvalidInput` for a message that no server could see whole: an empty one, or one of more than
    /// [`md5::STREAM_MESSAGE_MAX`] bytes. `TimedOut` if no answer comes; `UnexpectedEof` if the server closes before
    /// it has answered; `InvalidData` if it answers anything but the MD5 of the message, as it does with one that
    /// did not arrive in one piece. Else the system's.
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
            no_answer("", self.timeout)
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

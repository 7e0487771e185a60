//! The client's side of the small services that need no more than a question and an answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rand::TryRng;
use rand::rngs::SysRng;

use crate::backoff::Backoff;
use crate::exchange::{DATAGRAM_MAX, DatagramService, md5};
use crate::net::Transport;
use crate::net::channel::{Channel, is_timeout};
use crate::net::host_port::HostPort;

/// Sends a message over UDP until it is answered, and gives the answer. Each message has a socket of its own, so that
/// no late answer is taken for that of another message.
///
/// # Errors
/// `TimedOut` after `timeout`; else the system's, of the last of the server's addresses.
pub fn ask(
    service: DatagramService,
    server: &HostPort,
    message: &[u8],
    timeout: Duration,
) -> io::Result<Vec<u8>> {
    let addresses = server.resolve(timeout)?;
    first_of(&addresses, |address| ask_at(service, address, message, timeout))
}

/// The first success, or the last failure.
fn first_of<T>(addresses: &[SocketAddr], mut act: impl FnMut(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let mut result = Err(io::Error::other("the server has no address"));
    for address in addresses {
        result = act(*address);
        if result.is_ok() {
            break;
        }
    }
    result
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
    loop {
        channel.send(message)?;
        let resend = Instant::now() + backoff.wait();
        while let Some(wait) = resend.min(deadline).checked_duration_since(Instant::now()) {
            match channel.receive(&mut room, wait) {
                Ok(len) if is_answer(service, room.get(..len).unwrap_or_default()) => {
                    room.truncate(len);
                    return Ok(room);
                }
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if Instant::now() >= deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer from {server} in {timeout:?}"),
            ));
        }
    }
}

fn is_answer(service: DatagramService, datagram: &[u8]) -> bool {
    match service {
        DatagramService::Md5 => md5::is_answer(datagram),
        DatagramService::Hello => !datagram.is_empty(),
    }
}

/// A connection to an MD5 server.
pub struct Md5Client(TcpStream);

impl Md5Client {
    /// Connects.
    ///
    /// # Errors
    /// The system's, of the last of the server's addresses.
    pub fn connect(server: &HostPort, timeout: Duration) -> io::Result<Self> {
        connect(server, timeout).map(Self)
    }

    /// Sends a message, and gives the digits of its MD5.
    ///
    /// # Errors
    /// The system's; `InvalidInput` for an empty message, which no server could see; `UnexpectedEof` if the server closes before it has answered; `InvalidData` if what it answers
    /// is no digest.
    pub fn ask(&mut self, message: &[u8]) -> io::Result<String> {
        if message.is_empty() {
            let reason = "an empty message cannot be sent over TCP, where nothing would tell of it";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        self.0.write_all(message)?;
        let mut answer = [0; md5::ANSWER_LEN];
        self.0.read_exact(&mut answer).map_err(|error| {
            let is_end = error.kind() == io::ErrorKind::UnexpectedEof;
            if is_end {
                io::Error::new(error.kind(), "the server closed the connection before its answer")
            } else {
                error
            }
        })?;
        if !md5::is_answer(&answer) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "what the server says is no digest"));
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

pub(crate) fn connect(server: &HostPort, timeout: Duration) -> io::Result<TcpStream> {
    let addresses = server.resolve(timeout)?;
    let stream = first_of(&addresses, |address| TcpStream::connect_timeout(&address, timeout))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

//! A client's socket, over UDP or TCP, and its receive buffer.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use proto::transport::Transport;

/// The shortest timeout of a socket: zero is not allowed.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Two ticks of a kernel with 100 Hz.
const TICKS: Duration = Duration::from_millis(20);
/// Less than a datagram takes between two machines.
const NAP: Duration = Duration::from_micros(100);

/// A socket connected to the server.
pub(crate) enum Channel {
    Udp { socket: UdpSocket, server: SocketAddr },
    Tcp(TcpStream),
}

impl Channel {
    pub(crate) fn open(transport: Transport, server: SocketAddr, timeout: Duration) -> io::Result<Self> {
        match transport {
            Transport::Udp => {
                let any: IpAddr = match server {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let socket = UdpSocket::bind((any, 0))?;
                socket.connect(server)?;
                refuse_own(socket.local_addr()?, server)?;
                Ok(Self::Udp { socket, server })
            }
            Transport::Tcp => {
                let stream = TcpStream::connect_timeout(&server, timeout.max(SHORTEST_WAIT))?;
                refuse_own(stream.local_addr()?, server)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp { socket, .. } => socket.send(bytes).map(drop).map_err(without_connection),
            Self::Tcp(stream) => stream.write_all(bytes),
        }
    }

    pub(crate) fn receive(&mut self, room: &mut [u8], wait: Duration) -> io::Result<usize> {
        let wait = wait.max(SHORTEST_WAIT);
        match self {
            Self::Udp { socket, server } => {
                match receive_datagram(socket, room, wait) {
                    Ok((len, source)) if is_same(source, *server) => Ok(len),
                    // Datagrams from other addresses, sent between bind and connect, are still in the queue.
                    Ok(_) => Ok(0),
                    Err(error) if is_too_long(&error) => Ok(0),
                    Err(error) => Err(without_connection(error)),
                }
            }
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(wait))?;
                stream.read(room)
            }
        }
    }
}

/// Refuses a socket that is connected to itself: where nobody listens, the system may have drawn the server's port for
/// it.
fn refuse_own(own: SocketAddr, server: SocketAddr) -> io::Result<()> {
    if is_same(own, server) { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
}

/// Whether these are the same, wherever a system names an interface.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}

/// Waits for a datagram. The timeout of a socket is rounded up to ticks of the system, so a wait that is hardly longer
/// than these naps between looks. A datagram ends it at once: behind a forged one, the next may contradict a verdict.
fn receive_datagram(socket: &UdpSocket, room: &mut [u8], wait: Duration) -> io::Result<(usize, SocketAddr)> {
    if wait > TICKS {
        socket.set_read_timeout(Some(wait))?;
        return socket.recv_from(room);
    }
    let deadline = Instant::now() + wait;
    socket.set_nonblocking(true)?;
    let received = loop {
        match socket.recv_from(room) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break Err(error);
                }
                thread::sleep(left.min(NAP));
            }
            received => break received,
        }
    };
    socket.set_nonblocking(false)?;
    received
}

/// Windows' number for a datagram that is longer than the room for it, for which std has no kind.
const WSAEMSGSIZE: i32 = 10040;

/// Whether a datagram was longer than the room for it. Systems other than Windows cut it instead. No message is that
/// long, and one forged datagram must not end a login.
fn is_too_long(error: &io::Error) -> bool {
    cfg!(windows) && error.raw_os_error() == Some(WSAEMSGSIZE)
}

/// The error of a UDP socket, in the words of all systems but one: if nobody listens at the port, Windows says that a
/// connection was reset, as it does if a server ends a TCP connection.
fn without_connection(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::ConnectionReset {
        io::ErrorKind::ConnectionRefused.into()
    } else {
        error
    }
}

/// Bytes from the server that are not a whole message yet.
pub(crate) struct Inbox {
    /// One byte longer than any message, so that a longer one is not cut to a valid length.
    bytes: Vec<u8>,
    len: usize,
}

impl Inbox {
    /// For messages of up to this many bytes.
    pub(crate) fn new(message_max: usize) -> Self {
        Self { bytes: vec![0; message_max + 1], len: 0 }
    }

    /// Waits for bytes, and gives a datagram or all bytes of a stream since the last [`clear`](Self::clear). `None` if
    /// none came in time.
    ///
    /// # Errors
    /// `UnexpectedEof` if the stream has ended, `InvalidData` if there is more than any message has; else the system's.
    pub(crate) fn fill(&mut self, channel: &mut Channel, wait: Duration) -> io::Result<Option<&[u8]>> {
        let start = match channel {
            Channel::Udp { .. } => 0,
            Channel::Tcp(_) => self.len,
        };
        let room = self.bytes.get_mut(start..).unwrap_or_default();
        let is_full = room.is_empty();
        match (channel.receive(room, wait), &channel) {
            (Ok(0), Channel::Tcp(_)) if is_full => Err(io::ErrorKind::InvalidData.into()),
            (Ok(0), Channel::Tcp(_)) => Err(io::ErrorKind::UnexpectedEof.into()),
            (Ok(len), _) => {
                self.len = start + len;
                Ok(self.bytes.get(..self.len))
            }
            (Err(error), _) if is_timeout(&error) => Ok(None),
            (Err(error), _) => Err(error),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// Whether the other side, or something on the way, broke a stream. Windows says that this side aborted it where other
/// systems speak of a broken pipe.
pub(crate) fn is_broken(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::hint;

    use super::*;

    #[test]
    fn a_datagram_from_another_address_before_connect_is_ignored() {
        let (server, stranger) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let (server_addr, client) = (server.local_addr().unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        stranger.send_to(b"Welcome to our service.", client.local_addr().unwrap()).unwrap();
        client.connect(server_addr).unwrap();
        server.send_to(b"0123456789abcdef", client.local_addr().unwrap()).unwrap();
        let mut channel = Channel::Udp { socket: client, server: server_addr };
        let mut inbox = Inbox::new(64);
        let mut next = || inbox.fill(&mut channel, Duration::from_secs(10)).unwrap().unwrap().to_vec();
        assert_eq!([next(), next()], [b"".to_vec(), b"0123456789abcdef".to_vec()]);
    }

    #[test]
    fn a_port_where_nobody_listens_refuses_datagrams_in_every_systems_words() {
        for word in [io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionReset] {
            assert_eq!(without_connection(word.into()).kind(), io::ErrorKind::ConnectionRefused);
        }
    }

    /// The fastest of many trials, since a busy machine may keep any of them waiting.
    #[test]
    fn a_short_wait_ends_with_the_first_datagram_and_not_with_its_time() {
        let [receiver, sender] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let address = receiver.local_addr().unwrap();
        let trial = |_| {
            let start = Instant::now();
            thread::scope(|scope| {
                scope.spawn(|| {
                    while start.elapsed() < TICKS / 10 {
                        hint::spin_loop();
                    }
                    sender.send_to(b"x", address).unwrap();
                });
                let received = receive_datagram(&receiver, &mut [0; 2], TICKS);
                received.is_ok().then(|| start.elapsed())
            })
        };
        let fastest = (0..50).filter_map(trial).min().unwrap();
        assert!(fastest < TICKS / 2, "{fastest:?}");
    }
}

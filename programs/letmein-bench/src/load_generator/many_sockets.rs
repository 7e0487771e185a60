//! A socket for each login, as real clients have: over TCP, and over UDP to other machines.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Protocol, Socket, Type};

use super::clients::{Channels, Clients};
use super::virtual_client::Heard;
use super::{FIRST_SOURCE, LONGEST_REPLY, Plan};
use proto::transport::Transport;

pub(super) struct ManySockets {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    server: SocketAddr,
    transport: Transport,
    sockets: Vec<ClientSocket>,
    sources: Sources,
}

impl ManySockets {
    pub(super) fn new(plan: &Plan) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(256),
            server: plan.server,
            transport: plan.transport,
            sockets: (0..plan.pace.clients()).map(|_| ClientSocket::new(plan.transport)).collect(),
            sources: Sources { next: 0, number: plan.sources },
        })
    }
}

impl Channels for ManySockets {
    fn open(&mut self, client: usize) -> io::Result<()> {
        let socket = open(self.transport, self.server, self.sources.next())?;
        let all = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(client as u64), all)?;
        if let Some(channel) = self.sockets.get_mut(client) {
            channel.received.clear();
            channel.is_refused = false;
            channel.socket = Some(socket);
        }
        Ok(())
    }

    fn send(&mut self, client: usize, message: &[u8]) {
        if let Some(channel) = self.sockets.get_mut(client) {
            channel.speak(message);
        }
    }

    fn close(&mut self, client: usize) {
        if let Some(channel) = self.sockets.get_mut(client) {
            channel.socket = None;
        }
    }

    fn receive(&mut self, clients: &mut Clients<'_, '_>, rest: Duration) -> io::Result<()> {
        let rest = Timespec::try_from(rest).map_err(io::Error::other)?;
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&rest)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let now = Instant::now();
        for event in &self.events {
            let client = event.data.u64() as usize;
            if let Some(channel) = self.sockets.get_mut(client) {
                channel.attend(client, clients, now);
            }
        }
        Ok(())
    }
}

/// The socket of a client, while a login is under way.
struct ClientSocket {
    socket: Option<Socket>,
    transport: Transport,
    /// Bytes of a stream that are not a whole message yet.
    received: Vec<u8>,
    /// Whether the client's message is still to be sent.
    is_speaking: bool,
    /// Whether nobody listens there: the system says so once, to a write or a read.
    is_refused: bool,
}

impl ClientSocket {
    fn new(transport: Transport) -> Self {
        let received = Vec::with_capacity(LONGEST_REPLY);
        Self { socket: None, transport, received, is_speaking: false, is_refused: false }
    }

    fn speak(&mut self, message: &[u8]) {
        if let Some(socket) = &mut self.socket {
            // The next read reports any other failure again.
            let written = socket.write_all(message);
            self.is_speaking = written.is_err();
            self.is_refused |= written.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        }
    }

    /// Something has happened to the socket.
    fn attend(&mut self, client: usize, clients: &mut Clients<'_, '_>, now: Instant) {
        if self.is_speaking {
            self.speak(clients.message(client));
        }
        match (self.listen(client, clients, now), self.transport) {
            // A port that nobody listens at may be a server that is restarting: the message is sent again.
            (Ok(()), _) | (Err(_), Transport::Udp) => {}
            (Err(error), Transport::Tcp) => {
                self.socket = None;
                clients.fail(client, &error);
            }
        }
    }

    /// Gives the client what has arrived, until there is no more, or the verdict.
    fn listen(&mut self, client: usize, clients: &mut Clients<'_, '_>, now: Instant) -> io::Result<()> {
        let mut room = [0; LONGEST_REPLY + 1];
        while let Some(socket) = &mut self.socket {
            let len = match socket.read(&mut room) {
                Ok(0) if self.transport == Transport::Tcp && self.is_refused => {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                Ok(0) if self.transport == Transport::Tcp => {
                    return Err(io::Error::other("the server closed the connection without a verdict"));
                }
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if self.transport == Transport::Udp {
                self.received.clear();
            }
            self.received.extend_from_slice(room.get(..len).unwrap_or_default());
            match clients.hear(client, now, &self.received) {
                Heard::Other if self.received.len() > LONGEST_REPLY && self.transport == Transport::Tcp => {
                    return Err(io::Error::other("what the server says is no letmein protocol"));
                }
                Heard::Nothing | Heard::Other => {}
                Heard::Verdict { .. } => self.socket = None,
                Heard::Challenge => {
                    self.received.clear();
                    self.speak(clients.message(client));
                }
            }
        }
        Ok(())
    }
}

fn open(transport: Transport, server: SocketAddr, source: Ipv4Addr) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(server), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if let IpAddr::V4(address) = server.ip()
        && address.is_loopback()
    {
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    match socket.connect(&server.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        Ok(()) | Err(_) => Ok(socket),
    }
}

/// Addresses of this machine, one after the other, so that ports do not run out.
struct Sources {
    next: u32,
    number: u32,
}

impl Sources {
    fn next(&mut self) -> Ipv4Addr {
        let address = Ipv4Addr::from(FIRST_SOURCE + self.next);
        self.next = (self.next + 1) % self.number;
        address
    }
}

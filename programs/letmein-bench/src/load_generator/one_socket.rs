//! One socket for all clients, over UDP to a server on this machine: each login comes from an address of 127.0.0.0/8 of
//! its own, so that the generator has batches as large as the server's.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::clients::{Channels, Clients};
use super::datagrams::MultihomedBatch;
use super::virtual_client::Heard;
use super::{FIRST_SOURCE, Plan};
use server::net::batch::request_destinations;

/// The kernel queues replies while the generator is busy; it caps this at net.core.rmem_max.
const RECEIVE_BUFFER: usize = 8 << 20;

pub(super) struct OneSocket {
    server: SocketAddrV4,
    socket: UdpSocket,
    received: MultihomedBatch,
    outgoing: MultihomedBatch,
    addresses: Addresses,
}

impl OneSocket {
    pub(super) fn bind(server: SocketAddrV4, plan: &Plan) -> io::Result<Self> {
        Ok(Self {
            server,
            socket: bind()?,
            received: MultihomedBatch::new(),
            outgoing: MultihomedBatch::new(),
            addresses: Addresses::new(plan.pace.clients() as u32, plan.sources),
        })
    }

    fn wait(&self, rest: Duration) -> io::Result<()> {
        let rest = Timespec::try_from(rest).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&rest)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Channels for OneSocket {
    fn open(&mut self, client: usize) -> io::Result<()> {
        self.addresses.change(client);
        Ok(())
    }

    fn send(&mut self, client: usize, message: &[u8]) {
        if let Some(local) = self.addresses.of(client) {
            self.outgoing.push(local, self.server, message);
        }
        if self.outgoing.is_full() {
            self.outgoing.send(&self.socket);
        }
    }

    fn close(&mut self, _: usize) {}

    fn receive(&mut self, clients: &mut Clients<'_, '_>, rest: Duration) -> io::Result<()> {
        self.outgoing.send(&self.socket);
        match self.received.receive(&self.socket) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.wait(rest),
            Err(error) => return Err(error),
        }
        let now = Instant::now();
        for (source, local, datagram) in self.received.datagrams() {
            if source == self.server
                && let Some(client) = self.addresses.client(local)
                && clients.hear(client, now, datagram) == Heard::Challenge
            {
                self.outgoing.push(local, self.server, clients.message(client));
            }
        }
        self.outgoing.send(&self.socket);
        Ok(())
    }
}

fn bind() -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from(socket);
    request_destinations(&socket)?;
    Ok(socket)
}

/// The addresses of all clients: each has a fixed number of them, which its logins come from by turns.
struct Addresses {
    /// The turn of each client's login.
    turns: Vec<u32>,
    turns_each: u32,
}

impl Addresses {
    fn new(clients: u32, sources: u32) -> Self {
        Self { turns: vec![0; clients as usize], turns_each: (sources / clients).max(1) }
    }

    /// Goes on to the client's next address.
    fn change(&mut self, client: usize) {
        if let Some(turn) = self.turns.get_mut(client) {
            *turn = (*turn + 1) % self.turns_each;
        }
    }

    fn of(&self, client: usize) -> Option<Ipv4Addr> {
        let turn = self.turns.get(client)?;
        Some(Ipv4Addr::from(FIRST_SOURCE + turn * self.turns.len() as u32 + client as u32))
    }

    /// The client whose login comes from this address.
    fn client(&self, local: Ipv4Addr) -> Option<usize> {
        let number = u32::from(local).checked_sub(FIRST_SOURCE)?;
        let client = (number % self.turns.len() as u32) as usize;
        (self.of(client) == Some(local)).then_some(client)
    }
}

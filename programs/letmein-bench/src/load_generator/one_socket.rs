//! UDP clients of a server on this machine. One socket stands in for all of them: each login comes from an address of
//! 127.0.0.0/8 of its own, so that the generator has batches as large as the server's.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::datagrams::MultihomedBatch;
use super::load::{Heard, Silence, VirtualClient};
use super::meter::Meter;
use super::{Crew, FIRST_SOURCE, LOOK, Load, Pacer, Plan};
use server::net::batch::request_destinations;

/// The kernel queues replies while the generator is busy; it caps this at net.core.rmem_max.
const RECEIVE_BUFFER: usize = 8 << 20;

pub(super) fn run(
    plan: &mut Plan,
    server: SocketAddrV4,
    pacer: &mut Pacer,
    meter: &mut Meter<'_>,
) -> io::Result<()> {
    let socket = bind()?;
    let mut crowd = Crowd::new(server, plan.pace.clients() as u32, plan.sources);
    let (mut received, mut outgoing) = (MultihomedBatch::new(), MultihomedBatch::new());
    let mut looked = Instant::now();
    loop {
        let now = Instant::now();
        if now - looked >= LOOK {
            looked = now;
            meter.tick(now);
            crowd.look(plan.patience, now, meter);
        }
        crowd.begin_due(&mut plan.load, pacer, now);
        crowd.speak(&mut outgoing, &socket);
        if pacer.is_over(now) && crowd.is_idle() {
            return Ok(());
        }
        match received.receive(&socket) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(&socket, pacer.rest(now, Crew::of(crowd.idle.len())))?;
                continue;
            }
            Err(error) => return Err(error),
        }
        let now = Instant::now();
        for (source, local, datagram) in received.datagrams() {
            if source == server {
                crowd.hear(&plan.load, now, local, datagram, &mut outgoing, meter);
            }
        }
        outgoing.send(&socket);
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

fn wait(socket: &UdpSocket, rest: Duration) -> io::Result<()> {
    let rest = Timespec { tv_sec: rest.as_secs() as _, tv_nsec: rest.subsec_nanos().into() };
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&rest)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// All clients. The address of a login tells its client.
struct Crowd {
    server: SocketAddrV4,
    places: Vec<Place>,
    /// The longest idle first, so that all addresses are used by turns.
    idle: VecDeque<u32>,
    /// Addresses whose clients have something to send that is not a reply.
    speaking: Vec<Ipv4Addr>,
    turns: u32,
}

struct Place {
    client: VirtualClient,
    turn: u32,
    is_idle: bool,
}

impl Crowd {
    fn new(server: SocketAddrV4, clients: u32, sources: u32) -> Self {
        let places = (0..clients)
            .map(|seed| Place { client: VirtualClient::new(seed.into()), turn: 0, is_idle: true })
            .collect();
        Self {
            server,
            places,
            idle: (0..clients).collect(),
            speaking: Vec::new(),
            turns: (sources / clients).max(1),
        }
    }

    fn is_idle(&self) -> bool {
        self.idle.len() == self.places.len()
    }

    fn address(&self, index: u32, turn: u32) -> Ipv4Addr {
        Ipv4Addr::from(FIRST_SOURCE + turn * self.places.len() as u32 + index)
    }

    /// Begins the logins that are due, as far as there are clients that are idle.
    fn begin_due(&mut self, load: &mut Load, pacer: &mut Pacer, now: Instant) {
        while !self.idle.is_empty()
            && let Some(intended) = pacer.next(now)
            && let Some(index) = self.idle.pop_front()
        {
            let turns = self.turns;
            let Some(place) = self.places.get_mut(index as usize) else { continue };
            place.turn = (place.turn + 1) % turns;
            place.is_idle = false;
            place.client.begin(load, now, intended);
            let turn = place.turn;
            self.speaking.push(self.address(index, turn));
        }
    }

    /// Sends the messages that are not replies.
    fn speak(&mut self, outgoing: &mut MultihomedBatch, socket: &UdpSocket) {
        let server = self.server;
        let mut speaking = std::mem::take(&mut self.speaking);
        for local in speaking.drain(..) {
            if let Some((_, place)) = self.place(local) {
                outgoing.push(local, server, place.client.message());
            }
            if outgoing.is_full() {
                outgoing.send(socket);
            }
        }
        outgoing.send(socket);
        self.speaking = speaking;
    }

    /// The client whose login comes from this address, if it is the one under way.
    fn place(&mut self, local: Ipv4Addr) -> Option<(u32, &mut Place)> {
        let clients = self.places.len() as u32;
        let number = u32::from(local).checked_sub(FIRST_SOURCE)?;
        let place = self.places.get_mut((number % clients) as usize)?;
        (!place.is_idle && place.turn == number / clients).then_some((number % clients, place))
    }

    fn hear(
        &mut self,
        load: &Load,
        now: Instant,
        local: Ipv4Addr,
        datagram: &[u8],
        outgoing: &mut MultihomedBatch,
        meter: &mut Meter<'_>,
    ) {
        let server = self.server;
        let Some((index, place)) = self.place(local) else { return };
        match place.client.hear(load, now, datagram) {
            Heard::Challenge => outgoing.push(local, server, place.client.message()),
            Heard::Verdict { is_right } => {
                meter.verdict(now, place.client.age(now), is_right);
                place.is_idle = true;
                self.idle.push_back(index);
            }
            Heard::Nothing => {}
        }
    }

    /// Finds the clients that have waited long enough.
    fn look(&mut self, patience: Duration, now: Instant, meter: &mut Meter<'_>) {
        for index in 0..self.places.len() as u32 {
            let Some(place) = self.places.get_mut(index as usize).filter(|place| !place.is_idle) else {
                continue;
            };
            match place.client.silence(patience, now) {
                Silence::Waits => {}
                Silence::SendsAgain => {
                    meter.resent(1);
                    let turn = place.turn;
                    self.speaking.push(self.address(index, turn));
                }
                Silence::GivesUp => {
                    meter.lost(1);
                    place.is_idle = true;
                    self.idle.push_back(index);
                }
            }
        }
    }
}

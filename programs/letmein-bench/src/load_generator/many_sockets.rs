//! Clients with a socket a login, as real ones have: over TCP, and over UDP to other machines.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Protocol, Socket, Type};

use super::load::{Heard, Load, Silence, VirtualClient};
use super::meter::Meter;
use super::{Crew, FIRST_SOURCE, LOOK, Pacer, Plan};
use proto::transport::Transport;
use proto::wire::REPLY_MAX;

pub(super) fn run(plan: &mut Plan, pacer: &mut Pacer, meter: &mut Meter<'_>) -> io::Result<()> {
    let mut crowd = Crowd::new(plan)?;
    let mut events = Vec::with_capacity(256);
    let mut looked = Instant::now();
    loop {
        let now = Instant::now();
        if now - looked >= LOOK {
            looked = now;
            meter.tick(now);
            crowd.look(plan, now, meter);
        }
        while !crowd.idle.is_empty()
            && let Some(intended) = pacer.next(now)
        {
            crowd.begin(plan, now, intended, meter);
        }
        if pacer.is_over(now) && crowd.idle.len() == crowd.places.len() {
            return Ok(());
        }
        let rest = pacer.rest(now, Crew::of(crowd.idle.len()));
        let rest = Timespec { tv_sec: rest.as_secs() as _, tv_nsec: rest.subsec_nanos().into() };
        events.clear();
        match epoll::wait(&crowd.epoll, spare_capacity(&mut events), Some(&rest)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let now = Instant::now();
        for event in &events {
            crowd.attend(plan, now, event.data.u64() as usize, meter);
        }
    }
}

struct Crowd {
    epoll: OwnedFd,
    places: Vec<Place>,
    idle: VecDeque<usize>,
    /// Clients whose login failed as it began, and which wait for the next look.
    resting: Vec<usize>,
    sources: Sources,
}

struct Place {
    client: VirtualClient,
    /// There is one while a login is under way.
    socket: Option<Socket>,
    /// Bytes of a stream that are not a whole message yet.
    received: Vec<u8>,
    /// Whether the client's message is still to be sent.
    is_speaking: bool,
}

impl Crowd {
    fn new(plan: &Plan) -> io::Result<Self> {
        let clients = plan.pace.clients();
        let place = |seed| {
            let client = VirtualClient::new(seed as u64);
            Place { client, socket: None, received: Vec::with_capacity(REPLY_MAX), is_speaking: false }
        };
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            places: (0..clients).map(place).collect(),
            idle: (0..clients).collect(),
            resting: Vec::new(),
            sources: Sources { next: 0, number: plan.sources },
        })
    }

    fn begin(&mut self, plan: &mut Plan, now: Instant, intended: Instant, meter: &mut Meter<'_>) {
        let Some(index) = self.idle.pop_front() else { return };
        let Some(place) = self.places.get_mut(index) else { return };
        let opened = open(plan.transport, plan.server, self.sources.next()).and_then(|socket| {
            let data = epoll::EventData::new_u64(index as u64);
            let all = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&self.epoll, &socket, data, all)?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => place.begin(socket, &mut plan.load, now, intended),
            Err(error) => {
                meter.broken(&error);
                self.resting.push(index);
            }
        }
    }

    /// Something has happened to a client's socket.
    fn attend(&mut self, plan: &Plan, now: Instant, index: usize, meter: &mut Meter<'_>) {
        let Some(place) = self.places.get_mut(index) else { return };
        place.speak();
        match (place.listen(plan, now), plan.transport) {
            (Ok(None), _) => {}
            (Ok(Some(is_right)), _) => {
                meter.verdict(now, place.client.age(now), is_right);
                place.socket = None;
                self.idle.push_back(index);
            }
            // A port that nobody listens at may be a server that is restarting: the message is sent again.
            (Err(_), Transport::Udp) => {}
            (Err(error), Transport::Tcp) => {
                meter.broken(&error);
                place.socket = None;
                self.resting.push(index);
            }
        }
    }

    fn look(&mut self, plan: &Plan, now: Instant, meter: &mut Meter<'_>) {
        self.idle.extend(self.resting.drain(..));
        for (index, place) in self.places.iter_mut().enumerate().filter(|(_, place)| place.socket.is_some()) {
            match (place.client.silence(plan.patience, now), plan.transport) {
                (Silence::Waits, _) | (Silence::SendsAgain, Transport::Tcp) => {}
                (Silence::SendsAgain, Transport::Udp) => {
                    meter.resent(1);
                    place.is_speaking = true;
                    place.speak();
                }
                (Silence::GivesUp, _) => {
                    meter.lost(1);
                    place.socket = None;
                    self.idle.push_back(index);
                }
            }
        }
    }
}

impl Place {
    fn begin(&mut self, socket: Socket, load: &mut Load, now: Instant, intended: Instant) {
        self.client.begin(load, now, intended);
        self.received.clear();
        self.socket = Some(socket);
        self.is_speaking = true;
        self.speak();
    }

    fn speak(&mut self) {
        if self.is_speaking
            && let Some(socket) = &mut self.socket
        {
            // The next read reports a failure again.
            self.is_speaking = socket.write_all(self.client.message()).is_err();
        }
    }

    /// Reads what has arrived. Returns whether the verdict was right, if there is one.
    fn listen(&mut self, plan: &Plan, now: Instant) -> io::Result<Option<bool>> {
        let mut room = [0; REPLY_MAX + 1];
        loop {
            let Some(socket) = &mut self.socket else { return Ok(None) };
            let len = match socket.read(&mut room) {
                Ok(0) if plan.transport == Transport::Tcp => {
                    return Err(io::Error::other("the server closed the connection without a verdict"));
                }
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            };
            if plan.transport == Transport::Udp {
                self.received.clear();
            }
            self.received.extend_from_slice(room.get(..len).unwrap_or_default());
            match self.client.hear(&plan.load, now, &self.received) {
                Heard::Nothing if self.received.len() > REPLY_MAX && plan.transport == Transport::Tcp => {
                    return Err(io::Error::other("what the server says is no letmein protocol"));
                }
                Heard::Nothing => {}
                Heard::Verdict { is_right } => return Ok(Some(is_right)),
                Heard::Challenge => {
                    self.received.clear();
                    self.is_speaking = true;
                    self.speak();
                }
            }
        }
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

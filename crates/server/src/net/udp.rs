//! The UDP worker: receives batches of datagrams and sends the replies, until it is requested to stop.

use std::io;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, SockRef, Socket};

use crate::counters::Counters;
use crate::log::{self, Buffers};
use crate::net::address::SocketKind;
use crate::net::batch::{self, Batch, Route, Shape, Unsent, Waiting};
use crate::net::clock::{Clock, Stop};
use proto::{Now, Peer};

/// A service over UDP, for one worker.
pub(crate) trait UdpService {
    /// The sizes of its messages.
    fn shape(&self) -> Shape;

    /// Brings the records for these datagrams into the cache; [`Self::react`] follows for each.
    fn prefetch<'d>(&self, _datagrams: impl Iterator<Item = &'d [u8]>) {}

    /// Reacts to a datagram from `peer`. `reply` is empty; bytes put into it are sent back. Gives the place, below
    /// [`PLACES`](Self::PLACES), at which the datagram waits for a reply that takes long.
    fn react(&mut self, now: Now, peer: Peer, datagram: &[u8], reply: &mut Vec<u8>) -> Option<usize>;

    /// Places at which datagrams may wait.
    const PLACES: usize = 0;

    /// Whether a datagram waits for its reply.
    fn has_waiting(&self) -> bool {
        false
    }

    /// Replies to the datagram whose turn it is, and gives its place. `reply` is empty, and may stay so.
    fn reply_to_waiting(&mut self, _now: Now, _reply: &mut Vec<u8>) -> Option<usize> {
        None
    }

    /// Whether the worker may stop serving.
    fn is_done(&self) -> bool {
        false
    }
}

/// An idle worker checks this often whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(100);
/// The pause after an error of the socket, so that a lasting one does not keep a core busy.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Bytes that the kernel queues while a worker is busy, at most: some 10,000 small datagrams.
pub(crate) const BUFFER_LEN: usize = 8 << 20;

/// Sets up a bound socket for a worker.
///
/// # Errors
/// The system refuses an option.
pub fn prepare(socket: Socket) -> io::Result<UdpSocket> {
    // The kernel caps the size without an error, and a service manager may have been allowed more.
    if socket.recv_buffer_size()? / 2 < BUFFER_LEN {
        socket.set_recv_buffer_size(BUFFER_LEN)?;
    }
    if socket.send_buffer_size()? / 2 < BUFFER_LEN {
        socket.set_send_buffer_size(BUFFER_LEN)?;
    }
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(STOP_CHECK))?;
    if socket.local_addr()?.ip().to_canonical().is_unspecified() {
        batch::request_destinations(&socket)?;
    }
    Ok(socket)
}

/// Has the kernel send without looking up the path's MTU, which would cost a login of short datagrams some 7 %. No
/// datagram of a login is longer than the shortest MTU there is.
pub(crate) fn ignore_path_mtu(socket: &Socket) -> io::Result<()> {
    if socket.domain()? == Domain::IPV6 {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)?;
    }
    // A socket of both families has an option for each.
    Ok(set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE)?)
}

/// The buffer sizes that the kernel has granted.
pub(crate) fn buffers(socket: &UdpSocket) -> io::Result<Buffers> {
    // The kernel reports twice the size, since it adds its own bookkeeping.
    let receive_len = SockRef::from(socket).recv_buffer_size()? / 2;
    Ok(Buffers { receive_len, asked_len: BUFFER_LEN })
}

/// Serves until a stop is requested, or the service is done.
pub(crate) fn serve(
    socket: &UdpSocket,
    service: &mut impl UdpService,
    clock: Clock,
    stop: &Stop,
    counters: &Counters,
) {
    let mut batch = Batch::new(service.shape());
    let mut later = Later::new(service);
    while !service.is_done() && !stop.is_requested() {
        counters.iterations.add(1);
        if let Err(error) = receive_batch(&mut batch, &mut later, socket, service, clock, counters) {
            log::socket_error(SocketKind::Udp, &error);
            thread::sleep(ERROR_PAUSE);
        }
    }
}

/// Replies that take long. One is made after each batch, and never does a worker spend more than half of its time on
/// them while other datagrams arrive.
struct Later {
    /// Of the datagrams that wait, by place.
    routes: Vec<Option<Route>>,
    reply: Vec<u8>,
    /// The time that other datagrams are still owed for the last such reply.
    owed: Duration,
}

impl Later {
    fn new(service: &impl UdpService) -> Self {
        fn places<S: UdpService>(_: &S) -> usize {
            S::PLACES
        }
        let reply = Vec::with_capacity(service.shape().reply_len);
        Self { routes: vec![None; places(service)], reply, owed: Duration::ZERO }
    }

    fn keep(&mut self, place: usize, route: Route) {
        if let Some(slot) = self.routes.get_mut(place) {
            *slot = Some(route);
        }
    }

    /// Makes a reply, unless the time of the batch, which began then, does not make up for the last one.
    fn reply(
        &mut self,
        batch_began: Duration,
        socket: &UdpSocket,
        service: &mut impl UdpService,
        clock: Clock,
        counters: &Counters,
    ) {
        let now = clock.now();
        self.owed = self.owed.saturating_sub(now.uptime.saturating_sub(batch_began));
        if !self.owed.is_zero() {
            return;
        }
        self.reply.clear();
        let place = service.reply_to_waiting(now, &mut self.reply);
        let route = place.and_then(|place| self.routes.get_mut(place)?.take());
        if let Some(route) = route.filter(|_| !self.reply.is_empty())
            && let Err(error) = route.send(socket, &mut self.reply)
        {
            counters.unsent.add(1);
            log::unsent(1, &error);
        }
        self.owed = clock.now().uptime.saturating_sub(now.uptime);
    }
}

/// Receives one batch, and sends the replies to it; then a reply that takes long, if one is due. Returns at the read
/// timeout if nothing comes and nothing is due.
fn receive_batch(
    batch: &mut Batch,
    later: &mut Later,
    socket: &UdpSocket,
    service: &mut impl UdpService,
    clock: Clock,
    counters: &Counters,
) -> io::Result<()> {
    let waiting = if service.has_waiting() { Waiting::No } else { Waiting::ForOne };
    match batch.receive(socket, waiting) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            if service.has_waiting() {
                later.owed = Duration::ZERO;
                later.reply(clock.now().uptime, socket, service, clock, counters);
            }
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let now = clock.now();
    counters.batch(batch.datagrams().len());
    service.prefetch(batch.datagrams());
    batch.react(|envelope, datagram, reply| {
        if let Some(peer) = envelope.source()
            && let Some(place) = service.react(now, peer.into(), datagram, reply)
        {
            later.keep(place, envelope.route());
        }
    });
    if let Err(Unsent { replies, error }) = batch.send(socket) {
        counters.unsent.add(replies);
        log::unsent(replies, &error);
    }
    if service.has_waiting() {
        later.reply(now.uptime, socket, service, clock, counters);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::{ip_mtu_discover, ipv6_mtu_discover};
    use socket2::Type;

    use super::*;

    #[test]
    fn sockets_of_logins_ignore_the_mtu_of_the_path_in_both_families() {
        for domain in [Domain::IPV4, Domain::IPV6] {
            let socket = Socket::new(domain, Type::DGRAM, None).unwrap();
            ignore_path_mtu(&socket).unwrap();
            assert_eq!(ip_mtu_discover(&socket), Ok(Ipv4PathMtuDiscovery::PROBE));
            if domain == Domain::IPV6 {
                assert_eq!(ipv6_mtu_discover(&socket), Ok(Ipv6PathMtuDiscovery::PROBE));
            }
        }
    }
}

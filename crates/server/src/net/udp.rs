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
use crate::net::batch::{self, Batch, Shape, Unsent};
use crate::net::clock::{Clock, Stop};
use crate::net::late::{self, LateReplies, LateThread, Routes};
use proto::server::opaque::Place;
use proto::{Now, Peer};

/// A service over UDP, for one worker.
pub(crate) trait UdpService {
    /// The sizes of its messages.
    fn shape(&self) -> Shape;

    /// Brings the records for these datagrams into the cache; [`Self::react`] follows for each.
    fn prefetch<'d>(&self, _datagrams: impl Iterator<Item = &'d [u8]>) {}

    /// Reacts to a datagram from `peer`. `reply` is empty; bytes put into it are sent back. Gives the place at which
    /// the datagram waits for a late reply.
    fn react(&mut self, now: Now, peer: Peer, datagram: &[u8], reply: &mut Vec<u8>) -> Option<Place>;

    /// What makes the late replies, if there are any.
    fn late_replies(&mut self) -> Option<Box<dyn LateReplies>> {
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
///
/// # Errors
/// The system has no thread for late replies, or that thread has panicked.
pub(crate) fn serve(
    socket: &UdpSocket,
    service: &mut impl UdpService,
    clock: Clock,
    stop: &Stop,
    counters: &Counters,
) -> io::Result<()> {
    let mut batch = Batch::new(service.shape());
    let late = service.late_replies();
    let routes = Routes::new(late.as_ref().map_or(0, |late| late.places()));
    thread::scope(|scope| {
        let late = late.map(|late| late::start(scope, late, &routes, socket, clock, counters)).transpose()?;
        while !service.is_done() && !stop.is_requested() && !late.as_ref().is_some_and(LateThread::has_ended)
        {
            counters.iterations.add(1);
            if let Err(error) = receive_batch(&mut batch, late.as_ref(), socket, service, clock, counters) {
                log::socket_error(SocketKind::Udp, &error);
                thread::sleep(ERROR_PAUSE);
            }
        }
        late.map_or(Ok(()), LateThread::end)
    })
}

/// Receives one batch, and sends the replies to it. Returns at the read timeout if nothing comes.
fn receive_batch(
    batch: &mut Batch,
    late: Option<&LateThread<'_>>,
    socket: &UdpSocket,
    service: &mut impl UdpService,
    clock: Clock,
    counters: &Counters,
) -> io::Result<()> {
    match batch.receive(socket) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
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
            && let Some(late) = late
        {
            late.wait(place, envelope.route());
        }
    });
    if let Err(Unsent { replies, error }) = batch.send(socket) {
        counters.unsent.add(replies);
        log::unsent(replies, &error);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::{ip_mtu_discover, ipv6_mtu_discover};
    use socket2::Type;

    use super::*;

    /// Each datagram waits, and the thread that should reply panics.
    struct Panicking;

    impl UdpService for Panicking {
        fn shape(&self) -> Shape {
            Shape { datagrams: 1, datagram_len: 1, reply_len: 1 }
        }

        fn react(&mut self, _: Now, _: Peer, _: &[u8], _: &mut Vec<u8>) -> Option<Place> {
            Some(Place { index: 0, number: 1 })
        }

        fn late_replies(&mut self) -> Option<Box<dyn LateReplies>> {
            Some(Box::new(Self))
        }
    }

    impl LateReplies for Panicking {
        fn places(&self) -> usize {
            1
        }

        fn next(&mut self, _: Now) -> Option<Place> {
            panic!("on purpose")
        }

        fn reply(&mut self, _: Now, _: &mut Vec<u8>) {}

        fn leave(&mut self) {}
    }

    #[test]
    fn a_worker_ends_with_an_error_when_its_thread_for_late_replies_panics() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(STOP_CHECK)).unwrap();
        socket.send_to(b"?", socket.local_addr().unwrap()).unwrap();
        let ((_sender, stop), counters) = (Stop::new(), Counters::default());
        let error = serve(&socket, &mut Panicking, Clock::start(), &stop, &counters).unwrap_err();
        assert_eq!(error.to_string(), "the thread that makes late replies panicked");
    }

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

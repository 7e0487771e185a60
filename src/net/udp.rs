//! The UDP worker: receives a batch, reacts, sends the replies, until told to stop.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::auth::server::Server;
use crate::auth::wire::{MESSAGE_MAX, REPLY_MAX};
use crate::net::batch::{self, Batch, Shape};
use crate::net::{Clock, DRAIN, Stop, Transport};
use crate::report;
use crate::users::Users;

const SHAPE: Shape = Shape { datagrams: 64, datagram_len: MESSAGE_MAX + 1, reply_len: REPLY_MAX };

/// How soon an idle worker sees that it is to stop.
const STOP_CHECK: Duration = Duration::from_millis(100);
/// The pause after an error of the socket, so that a lasting one does not keep a core busy.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Binds the socket of a worker.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(STOP_CHECK))?;
    if address.ip().is_unspecified() {
        batch::request_destinations(&socket)?;
    }
    Ok(socket)
}

/// Serves until told to stop, and then until no login is in progress.
pub(crate) fn serve(socket: &UdpSocket, server: &mut Server, users: &Users, clock: Clock, stop: &Stop) {
    let mut batch = Batch::new(SHAPE);
    let mut last_moment = None;
    loop {
        if stop.is_requested() {
            let uptime = clock.now().uptime;
            let last_moment = *last_moment.get_or_insert(uptime + DRAIN);
            if uptime >= last_moment || !server.logins_in_progress(uptime) {
                return;
            }
        }
        if let Err(error) = exchange(&mut batch, socket, server, users, clock) {
            report::socket_error(Transport::Udp, &error);
            thread::sleep(ERROR_PAUSE);
        }
    }
}

fn exchange(
    batch: &mut Batch,
    socket: &UdpSocket,
    server: &mut Server,
    users: &Users,
    clock: Clock,
) -> io::Result<()> {
    match batch.receive(socket) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let now = clock.now();
    batch.react(|peer, datagram| {
        let reaction = server.datagram(users, now, peer, datagram);
        report::event(Transport::Udp, peer, &reaction.event);
        reaction.reply
    });
    if let Err(error) = batch.send(socket) {
        report::unsent(&error);
    }
    Ok(())
}

//! Sockets that a service manager has bound, and keeps while servers come and go (LISTEN_FDS, sd_listen_fds(3)).

use std::io;
use std::net::SocketAddr;

use listenfd::ListenFd;
use socket2::Socket;

use crate::net::bind::Bound;
use proto::transport::Transport;

/// Why a server cannot use the sockets that it was passed.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// A socket is not of the transport that the server needs.
    #[error(
        "the service manager passed no {transport} socket ({error}): its .socket unit needs {} for each worker, and nothing else; \
         --also serves another transport without one",
        line(*transport)
    )]
    WrongKind {
        /// The transport of the server.
        transport: Transport,
        /// The error that the check of the socket has found.
        error: io::Error,
    },
    /// A TCP socket does not listen; it may be a connection.
    #[error(
        "the service manager passed a TCP socket that does not listen: its .socket unit needs ListenStream= and Accept=no"
    )]
    NotListening,
    /// The sockets have different addresses.
    #[error(
        "the service manager passed sockets at {0} and at {1}: leave one of them out, and serve it by --also or by another server"
    )]
    TwoAddresses(SocketAddr, SocketAddr),
    /// A system call has failed.
    #[error("the service manager passed a socket that cannot be had: {0}")]
    System(#[from] io::Error),
}

/// The line of a .socket unit that asks for a socket of this transport.
fn line(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "a line ListenDatagram=",
        Transport::Tcp => "a line ListenStream=",
    }
}

/// Takes the sockets that were passed to this process, if any were. It changes the environment, so it must be called
/// before any thread is started.
///
/// # Errors
/// The server cannot use the sockets.
pub fn take(transport: Transport) -> Result<Option<Bound>, PassedError> {
    let mut passed = ListenFd::from_env();
    let sockets = (0..passed.len()).filter_map(|index| take_one(&mut passed, index, transport).transpose());
    let sockets: Vec<_> = sockets.collect::<Result<_, _>>()?;
    let mut address = None;
    for socket in &sockets {
        let own = socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("it has no address"))?;
        let first = *address.get_or_insert(own);
        if own != first {
            return Err(PassedError::TwoAddresses(first, own));
        }
    }
    Ok(address.map(|address| Bound { address: address.into(), sockets }))
}

fn take_one(
    passed: &mut ListenFd,
    index: usize,
    transport: Transport,
) -> Result<Option<Socket>, PassedError> {
    let socket = match transport {
        Transport::Udp => passed.take_udp_socket(index).map(|socket| socket.map(Socket::from)),
        Transport::Tcp => passed.take_tcp_listener(index).map(|socket| socket.map(Socket::from)),
    };
    let Some(socket) = socket.map_err(|error| PassedError::WrongKind { transport, error })? else {
        return Ok(None);
    };
    match transport {
        Transport::Udp => socket.set_nonblocking(false)?,
        Transport::Tcp => {
            if !socket.is_listener()? {
                return Err(PassedError::NotListening);
            }
            // The same options as for a socket that the server binds itself.
            socket.set_tcp_nodelay(true)?;
            socket.set_nonblocking(true)?;
        }
    }
    Ok(Some(socket))
}

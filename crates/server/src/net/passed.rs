//! Sockets that a service manager has bound, and keeps while servers come and go (LISTEN_FDS, sd_listen_fds(3)).

use std::io;
use std::net::SocketAddr;

use listenfd::ListenFd;
use socket2::Socket;

use crate::net::bind::Bound;
use proto::transport::Transport;

/// Why sockets that were passed are of no use.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// One is for something else.
    #[error(
        "the service manager passed no {transport} socket ({error}): its .socket unit needs {} for each worker, and nothing else",
        line(*transport)
    )]
    WrongKind {
        /// What the server is for.
        transport: Transport,
        /// What is wrong.
        error: io::Error,
    },
    /// One is a connection already.
    #[error(
        "the service manager passed a TCP socket that does not listen: its .socket unit needs ListenStream= and Accept=no"
    )]
    NotListening,
    /// They are not at one address.
    #[error(
        "the service manager passed sockets at {0} and at {1}: a server has one address, so start another for the other"
    )]
    TwoAddresses(SocketAddr, SocketAddr),
    /// The system lacks something.
    #[error("the service manager passed a socket that cannot be had: {0}")]
    System(#[from] io::Error),
}

/// How a .socket unit asks for such a socket.
fn line(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "a line ListenDatagram=",
        Transport::Tcp => "a line ListenStream=",
    }
}

/// Takes the sockets that were passed to this process, if any were. It changes the environment, so it comes before any
/// thread.
///
/// # Errors
/// What makes them useless for this server.
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
    Ok(address.map(|address| Bound { address, sockets }))
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
            // As if bound here.
            socket.set_tcp_nodelay(true)?;
            socket.set_nonblocking(true)?;
        }
    }
    Ok(Some(socket))
}

//! Sockets and clocks: everything that touches the network, and decides nothing.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this subtree is where sockets and clocks belong"
)]

pub(crate) mod batch;
pub(crate) mod channel;
pub(crate) mod connections;
pub mod host_port;
pub mod login;
mod services;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::auth::Now;
use crate::auth::server::{Keys, Server};
use crate::net::services::{Login, Logins};
use crate::users::Users;

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A message a datagram, resent when lost.
    Udp,
    /// A login a connection.
    Tcp,
}

impl Transport {
    /// The name of the server's program.
    #[must_use]
    pub fn server(self) -> &'static str {
        match self {
            Self::Udp => "server-udp",
            Self::Tcp => "server-tcp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// A server's socket, bound, and the loop that serves it.
pub(crate) enum Worker {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

impl Worker {
    pub(crate) fn bind(transport: Transport, address: SocketAddr) -> io::Result<Self> {
        match transport {
            Transport::Udp => udp::bind(address).map(Self::Udp),
            Transport::Tcp => tcp::bind(address).map(Self::Tcp),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp(listener) => listener.local_addr(),
        }
    }

    /// Serves logins until told to stop, and until those in progress have ended.
    pub(crate) fn serve(self, users: Arc<Users>, keys: &Keys, clock: Clock, stop: Stop) -> io::Result<()> {
        match self {
            Self::Udp(socket) => {
                udp::serve(&socket, &mut Logins { server: Server::new(keys), users }, clock, &stop);
                Ok(())
            }
            Self::Tcp(listener) => {
                let open = move |peer| Login::open(users.clone(), peer);
                tcp::serve(listener, Login::READING, open, clock, stop)
            }
        }
    }
}

/// How long logins in progress may take to end, once a server is to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// The clock of a server: the exchange itself reads none.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        // A wall clock before 1970 expires nobody.
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Now { uptime: self.started.elapsed(), unix_s }
    }
}

/// Tells the workers to stop, when it is dropped.
pub(crate) type StopSender = watch::Sender<()>;

/// A worker's view of it.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<()>);

impl Stop {
    pub(crate) fn new() -> (StopSender, Self) {
        let (sender, receiver) = watch::channel(());
        (sender, Self(receiver))
    }

    /// Without a lock: to be asked for every batch.
    pub(crate) fn is_requested(&self) -> bool {
        self.0.has_changed().is_err()
    }

    pub(crate) async fn requested(&mut self) {
        // Nothing is ever sent: the only change is the end of the sender.
        let _ = self.0.changed().await;
    }
}

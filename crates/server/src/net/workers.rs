//! The loops of a server: one for each socket, whatever the service.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::descriptors;
use crate::net::bind::Bound;
use crate::net::clock::{Clock, Stop};
use crate::net::connections::Connections;
use crate::net::link::{Conversation, Reading};
use crate::net::services::exchanges::{Datagrams, Exchange, FramedStream, Md5Stream, shared_lines};
use crate::net::services::logins::{Login, Logins};
use crate::net::{connections, tcp, udp};
use crate::report::{self, Reporter, Verbosity};
use crate::tally::Tally;
use proto::Now;
use proto::server::penalty::{Penalties, Policy};
use proto::server::{Keys, Server};
use proto::transport::Transport;
use proto::users::Users;

/// A server's sockets, each with the loop that serves it.
pub(crate) struct Workers {
    /// Where they listen, but for one that may be at the other loopback address.
    pub(crate) address: SocketAddr,
    /// To be called by a thread each, which serves until told to stop, and until nobody is waiting any more.
    pub(crate) work: Vec<Work>,
    /// The numbers of each.
    pub(crate) tallies: Vec<Arc<Tally>>,
    /// Who is out of favour; over both transports, for logins.
    pub(crate) penalties: Option<Arc<Penalties>>,
    /// TCP: who is connected.
    pub(crate) connections: Option<Connections>,
}

/// The loop of one worker.
pub(crate) type Work = Box<dyn FnOnce(Clock, Stop) -> io::Result<()> + Send>;

impl Workers {
    /// Workers for logins. Those at one address share its peers, and the kernel sends all datagrams of a peer to the
    /// same one.
    pub(crate) fn logins(
        transport: Transport,
        bound: Bound,
        users: &Arc<ArcSwap<Users>>,
        keys: &Keys,
        limits: &Policy,
        reporter: Reporter,
    ) -> io::Result<Self> {
        let penalties = Arc::new(Penalties::new(&keys.sources, limits.clone()));
        let workers = match transport {
            Transport::Udp => {
                for socket in &bound.sockets {
                    // A system without this serves all the same.
                    let _ = udp::ignore_path_mtu(socket);
                }
                Self::udp(bound, |_, tally| {
                    let (server, users) = (Server::new(keys, penalties.clone()), users.clone());
                    let logins = Logins { server, reporter: reporter.of_worker(tally), users };
                    || logins
                })
            }
            Transport::Tcp => Self::tcp(bound, Login::READING, |tally| {
                let (users, penalties) = (users.clone(), penalties.clone());
                let reporter = Arc::new(reporter.of_worker(tally));
                move || {
                    move |peer, now| {
                        Login::open(users.clone(), penalties.clone(), reporter.clone(), now, peer)
                    }
                }
            }),
        };
        workers.map(|workers| Self { penalties: Some(penalties), ..workers })
    }

    /// A worker for a small service.
    pub(crate) fn exchange(
        service: Exchange,
        verbosity: Verbosity,
        bound: Bound,
        keys: &Keys,
    ) -> io::Result<Self> {
        match service {
            Exchange::Datagrams(service, serving) => {
                let key = keys.sources;
                Self::udp(bound, |own, _| move || Datagrams::new(service, own, &key, serving, verbosity))
            }
            Exchange::Md5Stream => Self::tcp(bound, Md5Stream::READING, |_| {
                move || {
                    let lines = shared_lines(verbosity);
                    move |peer, _| Ok(Md5Stream { peer, lines: lines.clone() })
                }
            }),
            Exchange::FramedStream { buffer_len, message_max } => {
                Self::tcp(bound, FramedStream::reading(buffer_len, message_max), |_| {
                    move || {
                        let lines = shared_lines(verbosity);
                        move |peer, _| Ok(FramedStream { peer, message_max, lines: lines.clone() })
                    }
                })
            }
        }
    }

    /// What `service` gives is called by the worker's thread, as it may start another.
    fn udp<S: udp::Service, M: FnOnce() -> S + Send + 'static>(
        Bound { address, sockets }: Bound,
        service: impl Fn(SocketAddr, &Arc<Tally>) -> M,
    ) -> io::Result<Self> {
        let sockets = sockets.into_iter().map(udp::prepare).collect::<io::Result<Vec<_>>>()?;
        if let Some(socket) = sockets.first() {
            report::buffers(&udp::buffers(socket)?, sockets.len());
        }
        let tallies = tallies(sockets.len());
        let work = sockets.into_iter().zip(tallies.clone()).map(|(socket, tally)| -> io::Result<Work> {
            let service = service(socket.local_addr()?, &tally);
            Ok(Box::new(move |clock, stop| {
                udp::serve(&socket, &mut service(), clock, &stop, &tally);
                Ok(())
            }))
        });
        let work = work.collect::<io::Result<_>>()?;
        Ok(Self { address, work, tallies, penalties: None, connections: None })
    }

    /// What `service` gives is called by the worker's thread, and gives what opens a conversation.
    fn tcp<C, O, S>(
        Bound { address, sockets }: Bound,
        reading: Reading,
        service: impl Fn(&Arc<Tally>) -> S,
    ) -> io::Result<Self>
    where
        C: Conversation + 'static,
        O: Fn(SocketAddr, Now) -> io::Result<C> + 'static,
        S: FnOnce() -> O + Send + 'static,
    {
        let places = connections::places(descriptors::limit(), sockets.len());
        let connections = Connections::new(places, reading.memory_max);
        let tallies = tallies(sockets.len());
        let work = sockets.into_iter().zip(tallies.clone()).map(|(socket, tally)| -> Work {
            let (service, connections) = (service(&tally), connections.clone());
            Box::new(move |clock, stop| {
                tcp::serve(socket.into(), reading, connections, service(), clock, &stop, &tally)
            })
        });
        let work = work.collect();
        Ok(Self { address, work, tallies, penalties: None, connections: Some(connections) })
    }
}

fn tallies(workers: usize) -> Vec<Arc<Tally>> {
    (0..workers).map(|_| Arc::default()).collect()
}

//! The workers of a server, one for each socket.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::counters::Counters;
use crate::directory::Directory;
use crate::log::{Buffers, EventLog, Verbosity};
use crate::net::address::{Address, Listener, SocketKind};
use crate::net::bind::Bound;
use crate::net::clock::{Clock, Stop, StopSender};
use crate::net::connections::Connections;
use crate::net::services::logins::{LoginConnection, LoginDatagrams, LoginOffers, WorkerLogins};
use crate::net::services::small::{Datagrams, FramedStream, Md5Stream, SmallService, shared_lines};
use crate::net::stream_service::{Reading, StreamService};
use crate::net::{tcp, udp};
use proto::server::{Keys, Seed, Server};
use proto::transport::Transport;
use proto::{Now, Peer};

/// The workers of all doors.
#[derive(Default)]
pub(crate) struct Workers {
    /// The doors, with their addresses. A socket at the other loopback address is not among them.
    pub(crate) doors: Vec<(SocketKind, Address)>,
    /// To be called by a thread each, which serves until told to stop, and over TCP until the connections have ended.
    pub(crate) work: Vec<Work>,
    /// The counters of each worker.
    pub(crate) counters: Vec<Arc<Counters>>,
    /// What the kernel queues for a UDP socket, if there is one.
    pub(crate) buffers: Option<Buffers>,
}

/// The loop of one worker.
pub(crate) type Work = Box<dyn FnOnce(Clock, Stop) -> io::Result<()> + Send>;

impl Workers {
    /// Adds the workers of a door for logins. Those at one address share its peers, and the kernel sends all datagrams
    /// of a peer to one of the server's addresses to the same one. Each door has challenges of its own, so that an
    /// answer is good at one of them, unless servers share keys.
    pub(crate) fn add_logins(
        &mut self,
        kind: SocketKind,
        bound: Bound,
        directory: &Arc<Directory>,
        log: &EventLog,
    ) -> io::Result<()> {
        match kind.transport() {
            Transport::Udp => {
                for socket in &bound.sockets {
                    // A system without this option serves all the same.
                    let _ = udp::ignore_path_mtu(socket);
                }
                let mut keys = directory.keys.clone();
                SysRng.try_fill_bytes(&mut keys.challenges)?;
                SysRng.try_fill_bytes(&mut keys.states)?;
                self.add_udp(bound, Some(&directory.connections), |_, counters| {
                    let server =
                        Server::new(&keys, seed()?, directory.penalties.clone(), directory.mechanisms);
                    let maker = server.offer_maker(seed()?);
                    let log = || log.of_worker(kind, counters);
                    let offers = LoginOffers { maker, taken: None, log: log(), directory: directory.clone() };
                    let offers = directory.mechanisms.is_none_or(|it| it.opaque).then_some(offers);
                    let logins = LoginDatagrams { server, log: log(), directory: directory.clone(), offers };
                    Ok(|| logins)
                })
            }
            Transport::Tcp => {
                self.add_tcp(kind, bound, LoginConnection::READING, &directory.connections, |counters| {
                    let log = log.of_worker(kind, counters);
                    let logins = WorkerLogins::new(log, directory.clone(), seed()?);
                    Ok(move || {
                        let logins = Rc::new(logins);
                        move |peer, now| LoginConnection::open(logins.clone(), now, peer)
                    })
                })
            }
        }
    }

    /// The workers of a small service.
    pub(crate) fn small(
        service: SmallService,
        verbosity: Verbosity,
        kind: SocketKind,
        bound: Bound,
        keys: &Keys,
    ) -> io::Result<Self> {
        let mut workers = Self::default();
        let connections = |memory_max| Connections::for_threads(bound.sockets.len(), memory_max);
        match service {
            SmallService::Datagrams(service, serving) => {
                let key = keys.sources;
                let serve = |own, _: &Arc<Counters>| {
                    Ok(move || Datagrams::new(service, own, &key, serving, verbosity))
                };
                workers.add_udp(bound, None, serve)?;
            }
            SmallService::Md5Stream => {
                let connections = connections(Md5Stream::READING.memory_max);
                workers.add_tcp(kind, bound, Md5Stream::READING, &connections, |_| {
                    Ok(move || {
                        let lines = shared_lines(verbosity);
                        move |peer, _| Ok(Md5Stream { peer, lines: lines.clone() })
                    })
                })?;
            }
            SmallService::FramedStream { buffer_len, message_max } => {
                let reading = FramedStream::reading(buffer_len, message_max);
                let connections = connections(reading.memory_max);
                workers.add_tcp(kind, bound, reading, &connections, |_| {
                    Ok(move || {
                        let lines = shared_lines(verbosity);
                        move |peer, _| Ok(FramedStream { peer, message_max, lines: lines.clone() })
                    })
                })?;
            }
        }
        Ok(workers)
    }

    /// `service` returns a constructor, which runs on the worker's thread, because it may start threads of its own.
    fn add_udp<S: udp::UdpService, M: FnOnce() -> S + Send + 'static>(
        &mut self,
        Bound { address, sockets }: Bound,
        connections: Option<&Connections>,
        service: impl Fn(SocketAddr, &Arc<Counters>) -> io::Result<M>,
    ) -> io::Result<()> {
        let sockets = sockets.into_iter().map(udp::prepare).collect::<io::Result<Vec<_>>>()?;
        if let Some(socket) = sockets.first() {
            self.buffers = Some(udp::buffers(socket)?);
        }
        self.doors.push((SocketKind::Udp, address));
        for socket in sockets {
            let counters = self.add_counters();
            let service = service(socket.local_addr()?, &counters)?;
            let connections = connections.cloned();
            self.work.push(Box::new(move |clock, stop: Stop| {
                let stop = match connections {
                    Some(connections) => stop.after(connections),
                    None => stop,
                };
                udp::serve(&socket, &mut service(), clock, &stop, &counters)
            }));
        }
        Ok(())
    }

    /// `service` returns a constructor, which runs on the worker's thread and returns the `open` of [`tcp::serve`].
    fn add_tcp<C, O, S>(
        &mut self,
        kind: SocketKind,
        Bound { address, sockets }: Bound,
        reading: Reading,
        connections: &Connections,
        service: impl Fn(&Arc<Counters>) -> io::Result<S>,
    ) -> io::Result<()>
    where
        C: StreamService + 'static,
        O: Fn(Peer, Now) -> io::Result<C> + 'static,
        S: FnOnce() -> O + Send + 'static,
    {
        self.doors.push((kind, address));
        for socket in sockets {
            let counters = self.add_counters();
            let (service, connections) = (service(&counters)?, connections.clone());
            self.work.push(Box::new(move |clock, stop| {
                tcp::serve(
                    Listener { socket, kind },
                    reading,
                    connections,
                    service(),
                    clock,
                    &stop,
                    &counters,
                )
            }));
        }
        Ok(())
    }

    fn add_counters(&mut self) -> Arc<Counters> {
        let counters = Arc::<Counters>::default();
        self.counters.push(counters.clone());
        counters
    }
}

/// A seed for one worker.
fn seed() -> io::Result<Seed> {
    let mut seed = Seed([0; 32]);
    SysRng.try_fill_bytes(&mut seed.0)?;
    Ok(seed)
}

/// The threads of all workers.
pub(crate) struct Running {
    threads: JoinSet<io::Result<()>>,
    stop: StopSender,
}

impl Running {
    /// Workers have this long to stop, more than [`DRAIN`](crate::net::clock::DRAIN) gives to logins in progress.
    pub(crate) const STOP_MAX: Duration = Duration::from_secs(3);

    /// Starts a thread for each worker. Must be called in a runtime.
    pub(crate) fn start(workers: Vec<Work>, clock: Clock) -> io::Result<Self> {
        let (mut threads, (stop, asked)) = (JoinSet::new(), Stop::new());
        for (number, work) in workers.into_iter().enumerate() {
            let (asked, (sender, receiver)) = (asked.clone(), oneshot::channel());
            thread::Builder::new().name(format!("worker {number}")).spawn(move || {
                // The receiver is gone if the server ends for another reason first.
                let _ = sender.send(work(clock, asked));
            })?;
            threads.spawn(async {
                receiver.await.unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))
            });
        }
        Ok(Self { threads, stop })
    }

    /// Waits for the last worker to end, or for the first to fail.
    pub(crate) async fn ended(&mut self) -> io::Result<()> {
        all_ended(&mut self.threads).await
    }

    /// Has all workers end the logins in progress, and stop. One that blocks on standard output because nobody reads it
    /// is not waited for.
    pub(crate) async fn stop(self) -> io::Result<()> {
        let Self { mut threads, stop } = self;
        drop(stop);
        timeout(Self::STOP_MAX, all_ended(&mut threads)).await.unwrap_or(Ok(()))
    }
}

async fn all_ended(threads: &mut JoinSet<io::Result<()>>) -> io::Result<()> {
    while let Some(ended) = threads.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    Ok(())
}

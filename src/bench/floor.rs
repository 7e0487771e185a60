//! The least that a server can do: it says something of the right size to whoever says anything.
//!
//! What it costs is what the kernel takes for the messages of a login, so a server cannot cost less.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::thread::{gettid, sched_setaffinity};

use super::process::Process;
use crate::auth::wire::{MESSAGE_MAX, REPLY_MAX, REQUEST_LEN};
use crate::net::batch::{Batch, Shape};
use crate::net::bind::{self, Sharing};
use crate::net::{Transport, udp};

/// A floor under way.
pub(super) struct Floor {
    pub(super) address: SocketAddr,
    pub(super) process: Process,
    _thread: Running,
}

/// A thread that ends with this.
struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers all that comes until it is told to stop.
type Echo = Box<dyn FnOnce(&AtomicBool) + Send>;

const CHALLENGE: &[u8] = b"0123456789abcdef";
const VERDICT: &[u8] = b"Welcome to our service.";

impl Floor {
    /// Starts one, on the processors of another process.
    pub(super) fn start(
        transport: Transport,
        address: SocketAddr,
        like: Option<&Process>,
    ) -> io::Result<Self> {
        let processors = like.map(Process::processors).transpose()?;
        let (address, echo): (_, Echo) = match transport {
            Transport::Udp => {
                let socket = udp::prepare(bind::udp(address, Sharing::Nobody)?)?;
                (socket.local_addr()?, Box::new(move |stop| echo_datagrams(&socket, stop)))
            }
            Transport::Tcp => {
                let listener = TcpListener::from(bind::tcp(address, Sharing::Nobody)?);
                (listener.local_addr()?, Box::new(move |stop| drop(echo_connections(&listener, stop))))
            }
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, id) = mpsc::channel();
        let seen = stop.clone();
        let thread = thread::spawn(move || {
            // A floor on other processors is a floor all the same.
            let _ = processors.map(|processors| sched_setaffinity(None, &processors));
            let _ = sender.send(gettid());
            echo(&seen);
        });
        let process = Process::thread(id.recv().map_err(io::Error::other)?);
        Ok(Self { address, process, _thread: Running { stop, thread: Some(thread) } })
    }
}

fn reply_to(message: &[u8]) -> &'static [u8] {
    if message.len() == REQUEST_LEN { CHALLENGE } else { VERDICT }
}

fn echo_datagrams(socket: &UdpSocket, stop: &AtomicBool) {
    let mut batch = Batch::new(Shape { datagrams: 64, datagram_len: MESSAGE_MAX + 1, reply_len: REPLY_MAX });
    while !stop.load(Ordering::Relaxed) {
        if batch.receive(socket).is_ok() {
            batch.react(|_, message, reply| reply.extend_from_slice(reply_to(message)));
            let _ = batch.send(socket);
        }
    }
}

/// Connections are numbered by their descriptors, of which there are few.
fn echo_connections(listener: &TcpListener, stop: &AtomicBool) -> io::Result<()> {
    const LISTENER: u64 = u64::MAX;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let mut events = Vec::with_capacity(256);
    let pause = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while !stop.load(Ordering::Relaxed) {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&pause))?;
        for event in &events {
            if event.data.u64() == LISTENER {
                accept_all(listener, &epoll, &mut streams);
            } else if let Some(place) = streams.get_mut(event.data.u64() as usize)
                && let Some(stream) = place
                && echo(stream).is_err()
            {
                *place = None;
            }
        }
    }
    Ok(())
}

fn accept_all(listener: &TcpListener, epoll: impl AsFd, streams: &mut Vec<Option<TcpStream>>) {
    while let Ok((stream, _)) = listener.accept() {
        let place = streams.iter().position(Option::is_none).unwrap_or(streams.len());
        let data = epoll::EventData::new_u64(place as u64);
        if stream.set_nonblocking(true).is_ok()
            && epoll::add(&epoll, &stream, data, epoll::EventFlags::IN).is_ok()
        {
            if place == streams.len() {
                streams.push(None);
            }
            if let Some(free) = streams.get_mut(place) {
                *free = Some(stream);
            }
        }
    }
}

/// Answers what has come. The end comes with the verdict.
fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let mut message = [0; MESSAGE_MAX];
    let len = stream.read(&mut message)?;
    let reply = reply_to(message.get(..len).unwrap_or_default());
    stream.write_all(reply)?;
    if reply == VERDICT { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

//! The least that a server can do: an echo, which answers each message with one of the right size.
//!
//! It costs what the kernel takes for the messages of a login, so a server cannot cost less.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::thread::{gettid, sched_setaffinity};
use slab::Slab;

use super::process::Process;
use proto::dialect::REQUEST_LEN;
use proto::transport::Transport;
use proto::wire::{MESSAGE_MAX, REPLY_MAX};
use server::net::batch::{Batch, Shape};
use server::net::bind::{self, Sharing};
use server::net::udp;

/// A running floor.
pub(super) struct Floor {
    pub(super) address: SocketAddr,
    pub(super) process: Process,
    _thread: EchoThread,
}

/// A thread that ends when this is dropped.
struct EchoThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for EchoThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers all that comes until it is told to stop.
type EchoLoop = Box<dyn FnOnce(&AtomicBool) + Send>;

/// How often it checks whether it is to stop.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
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
        let (address, echo): (_, EchoLoop) = match transport {
            Transport::Udp => {
                let socket = udp::prepare(bind::udp(address, Sharing::Exclusive)?)?;
                (socket.local_addr()?, Box::new(move |stop| echo_datagrams(&socket, stop)))
            }
            Transport::Tcp => {
                let listener = TcpListener::from(bind::tcp(address, Sharing::Exclusive)?);
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
        Ok(Self { address, process, _thread: EchoThread { stop, thread: Some(thread) } })
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

/// Accepts one connection in each round: to accept until none is left would cost one more system call each time.
fn echo_connections(listener: &TcpListener, stop: &AtomicBool) -> io::Result<()> {
    const LISTENER: u64 = u64::MAX;
    let (epoll, mut events, mut streams) =
        (epoll::create(CreateFlags::CLOEXEC)?, Vec::<Event>::with_capacity(256), Slab::new());
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    while !stop.load(Ordering::Relaxed) {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&PAUSE))?;
        for event in &events {
            match event.data.u64() {
                LISTENER => {
                    if let Ok((stream, _)) = listener.accept() {
                        let entry = streams.vacant_entry();
                        let data = EventData::new_u64(entry.key() as u64);
                        epoll::add(&epoll, &stream, data, EventFlags::IN | EventFlags::ET)?;
                        entry.insert(stream);
                    }
                }
                key => {
                    let key = key as usize;
                    if streams.get_mut(key).is_some_and(|stream| echo(stream).is_err()) {
                        streams.remove(key);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Answers what has come. The end comes with the verdict.
fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let mut message = [0; MESSAGE_MAX];
    let len = stream.read(&mut message)?;
    let reply = reply_to(message.get(..len).unwrap_or_default());
    stream.write_all(reply)?;
    if reply == VERDICT { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

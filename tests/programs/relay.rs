//! A network with bad weather between the real client and a real server: a relay that loses, doubles and delays
//! datagrams, and thereby reorders them.

#![expect(clippy::disallowed_methods, reason = "the delay of a real network passes in real time")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter;
use std::net::{SocketAddr, UdpSocket};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proto::transport::Transport;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::flood;
use crate::running::{Ended, SAMPLES, Server, letmein};

const LOSS: f64 = 0.3;
const DUPLICATION: f64 = 0.05;
/// So much on average, and so much the more or less that datagrams overtake each other.
const DELAY_MS: std::ops::Range<u64> = 100..300;

/// Logins at a time, by default.
const CLIENTS: u32 = 200;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Destination {
    Client,
    Server,
}

/// One client's way to the server and back.
pub(crate) struct Relay {
    client_side: UdpSocket,
    server_side: UdpSocket,
    client: Option<SocketAddr>,
    in_flight: BinaryHeap<Reverse<(Instant, Destination, Vec<u8>)>>,
    random: SmallRng,
}

impl Relay {
    pub(crate) fn to(server: SocketAddr, seed: u32) -> Self {
        let bound = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (client_side, server_side) = (bound(), bound());
        server_side.connect(server).unwrap();
        for socket in [&client_side, &server_side] {
            socket.set_nonblocking(true).unwrap();
        }
        let random = SmallRng::seed_from_u64(seed.into());
        Self { client_side, server_side, client: None, in_flight: BinaryHeap::new(), random }
    }

    /// Where its client finds it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.client_side.local_addr().unwrap()
    }

    /// Logs in through the relay.
    fn login(&mut self) -> Ended {
        let address = self.address().to_string();
        self.carry(letmein().args([&*address, "userone", "passwordone"]).spawn().unwrap())
    }

    /// Carries datagrams until this client has ended.
    pub(crate) fn carry(&mut self, mut client: Child) -> Ended {
        while client.try_wait().unwrap().is_none() {
            self.wait();
            self.take_in();
            self.deliver();
        }
        client.wait_with_output().unwrap().into()
    }

    /// Until something arrives or is due, or it is time to see whether the client has ended.
    fn wait(&self) {
        let due = self.in_flight.peek().map(|Reverse((due, ..))| due.duration_since(Instant::now()));
        let wait = due.unwrap_or(Duration::MAX).min(Duration::from_millis(20));
        let mut sockets =
            [&self.client_side, &self.server_side].map(|socket| PollFd::new(socket, PollFlags::IN));
        let polled = poll(&mut sockets, Some(&Timespec::try_from(wait).unwrap()));
        assert!(matches!(polled, Ok(_) | Err(Errno::INTR)), "{polled:?}");
    }

    fn take_in(&mut self) {
        let mut buffer = [0; 256];
        while let Ok((len, client)) = self.client_side.recv_from(&mut buffer) {
            self.client = Some(client);
            self.send_off(Destination::Server, &buffer[..len]);
        }
        while let Ok(len) = self.server_side.recv(&mut buffer) {
            self.send_off(Destination::Client, &buffer[..len]);
        }
    }

    fn send_off(&mut self, destination: Destination, datagram: &[u8]) {
        let copies = match (self.random.random_bool(LOSS), self.random.random_bool(DUPLICATION)) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 1,
        };
        for _ in 0..copies {
            let due = Instant::now() + Duration::from_millis(self.random.random_range(DELAY_MS));
            self.in_flight.push(Reverse((due, destination, datagram.to_vec())));
        }
    }

    fn deliver(&mut self) {
        while let Some(Reverse((due, ..))) = self.in_flight.peek()
            && *due <= Instant::now()
        {
            // A client that has ended, or a full queue, is one more loss.
            let _ = match (self.in_flight.pop(), self.client) {
                (Some(Reverse((_, Destination::Server, datagram))), _) => self.server_side.send(&datagram),
                (Some(Reverse((_, Destination::Client, datagram))), Some(client)) => {
                    self.client_side.send_to(&datagram, client)
                }
                (Some(_) | None, None) | (None, Some(_)) => Ok(0),
            };
        }
    }
}

#[test]
#[ignore = "takes a minute: see SECURITY.md"]
fn bad_weather_costs_at_most_one_login_in_500_and_none_is_refused() {
    let logins = flood::scaled(2000);
    let server = Server::start(Transport::Udp, &["127.0.0.1:0", "--users", SAMPLES]);
    let (begun, welcomed, refused) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..flood::scaled(CLIENTS) {
            scope.spawn(|| {
                let numbers = iter::repeat_with(|| begun.fetch_add(1, Ordering::Relaxed));
                for number in numbers.take_while(|number| *number < logins) {
                    let count = match Relay::to(server.address, number).login().status {
                        0 => &welcomed,
                        1 => &refused,
                        _ => continue,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (welcomed, refused) = (welcomed.into_inner(), refused.into_inner());
    println!("of {logins} logins {welcomed} were welcomed, {refused} refused");
    // Of few logins a share of them is less than chance may take.
    assert!(logins - welcomed <= 4.max(logins / 500) && refused == 0);
}

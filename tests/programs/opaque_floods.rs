//! What a flood of strangers who begin logins by OPAQUE does to others. Run one after the other (see `flood`);
//! SECURITY.md has the figures of a release build.

#![expect(clippy::disallowed_methods, reason = "a flood takes its time, and so do logins beside it")]

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libc::{in_addr, in_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use proto::challenge::Challenge;
use proto::client::{Client, Resends, Step};
use proto::credentials::Password;
use proto::opaque::exchange::ClientExchange;
use proto::opaque::wire::{Begin, ClientMessage, KE1_LEN, ServerMessage, decode_from_client, request};
use proto::opaque::{self, Binding};
use proto::transport::Transport;
use proto::wire::Verdict;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rustix::process::setpriority_process;

use crate::flood;
use crate::opaque_logins::Site;

/// The priority of a thread that waits for no other: setpriority(2).
const HIGHEST_PRIORITY: i32 = -20;
/// That of one that others do not notice.
const LOWEST_PRIORITY: i32 = 19;
/// Addresses from which strangers begin logins: 127.1.0.0 and on.
const SOURCES: u32 = 30_000;

/// Who logs in beside the honest.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nobody,
    Strangers,
}

/// A client of either mechanism.
enum AnyClient {
    Md5(Box<Client>),
    Opaque(Box<opaque::client::Client>),
}

/// Logs in, and tells how long that took; `None` without a welcome.
fn login(server: SocketAddr, mut client: AnyClient) -> Option<Duration> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    let (started, mut room, mut heard) = (Instant::now(), [0; 600], Duration::ZERO);
    loop {
        let now = started.elapsed();
        let step = match &mut client {
            AnyClient::Md5(client) => client.next(now),
            AnyClient::Opaque(client) => client.next(now),
        };
        match step {
            Step::Send { bytes, .. } => drop(socket.send(bytes)),
            Step::WaitUntil(time) => {
                let wait = time.saturating_sub(started.elapsed()).max(Duration::from_micros(1));
                socket.set_read_timeout(Some(wait)).unwrap();
                let Ok(len) = socket.recv(&mut room) else { continue };
                heard = started.elapsed();
                match &mut client {
                    AnyClient::Md5(client) => drop(client.receive(heard, &room[..len])),
                    AnyClient::Opaque(client) => drop(client.receive(heard, &room[..len])),
                }
            }
            Step::Done(outcome) => return (outcome == Ok(Verdict::Welcome)).then_some(heard),
        }
    }
}

const TIMEOUT: Duration = Duration::from_secs(15);

fn md5(seed: u64) -> AnyClient {
    let (name, password) = ("carol".parse().unwrap(), Password::new("right").unwrap());
    AnyClient::Md5(Client::new(&name, &password, Resends::Timed, TIMEOUT, seed).into())
}

fn exchange(seed: u64) -> ClientExchange {
    let (name, password) = ("alice".parse().unwrap(), Password::new("right").unwrap());
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    ClientExchange::new(&name, &password, Binding::none(), &mut random).unwrap()
}

fn by_opaque(seed: u64) -> AnyClient {
    AnyClient::Opaque(opaque::client::Client::new(exchange(seed), Resends::Timed, TIMEOUT, seed).into())
}

/// Strangers who begin logins, one after the other, until `is_over`; returns how many BEGINs they sent, and how many
/// offers they saw. All have one socket, since one for each would take more of the machine than what they send. Their
/// thread steps back, since they have machines of their own.
fn flood(server: SocketAddr, is_over: &AtomicBool) -> (u32, u32) {
    setpriority_process(None, LOWEST_PRIORITY).unwrap();
    let ke1s: Vec<[u8; KE1_LEN]> = (0..64).map(|seed| *exchange(seed).ke1()).collect();
    let (mut socket, mut begins, mut offers) = (strangers_socket(), 0, 0);
    for (number, ke1) in (0..).zip(ke1s.iter().cycle()) {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let source = Ipv4Addr::from_bits(0x7f01_0000 + number % SOURCES);
        send_from(&socket, source, server, &request());
        let Some(challenge) = next_challenge(&socket, &mut offers) else {
            // One that is late would be taken for the next stranger's.
            socket = strangers_socket();
            continue;
        };
        let begin = Begin { challenge, name: &format!("user{number}"), ke1 }.to_bytes();
        assert!(matches!(decode_from_client(&begin), Ok(ClientMessage::Begin(_))));
        send_from(&socket, source, server, &begin);
        begins += 1;
    }
    (begins, offers)
}

fn strangers_socket() -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    socket
}

/// Sends from one of the addresses of this machine.
fn send_from(socket: &UdpSocket, source: Ipv4Addr, server: SocketAddr, bytes: &[u8]) {
    let source = u32::from(source).to_be();
    let info = in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: in_addr { s_addr: source },
        ipi_addr: in_addr { s_addr: 0 },
    };
    let server = SockaddrStorage::from(server);
    let control = [ControlMessage::Ipv4PacketInfo(&info)];
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], &control, MsgFlags::empty(), Some(&server)).unwrap();
}

/// The next challenge, after offers, which are counted.
fn next_challenge(socket: &UdpSocket, offers: &mut u32) -> Option<Challenge> {
    let mut room = [0; 600];
    loop {
        let len = socket.recv(&mut room).ok()?;
        match ServerMessage::decode(&room[..len]) {
            Some(ServerMessage::Challenge(challenge)) => return Some(challenge),
            Some(ServerMessage::Offer(_)) => *offers += 1,
            other => panic!("no stranger should get {other:?}"),
        }
    }
}

/// Ends the flood, also where a login fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The 99th percentile of logins by MD5, and how many by OPAQUE succeed of how many, for the length of a flood.
fn logins(server: SocketAddr, beside: Beside) -> (Duration, u32, u32) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let strangers = (beside == Beside::Strangers).then(|| scope.spawn(|| flood(server, &is_over)));
        let ending = Ending(&is_over);
        let (mut times, mut welcomed, mut tried, mut flow) = (Vec::new(), 0, 0, flood::clock());
        for seed in 0.. {
            times.push(login(server, md5(seed)).expect("a welcome by MD5"));
            // Nine logins by OPAQUE a second would be over no budget, since each gives its guess back.
            if seed % 20 == 0 {
                tried += 1;
                welcomed += u32::from(login(server, by_opaque(1000 + seed)).is_some());
            }
            if flow().is_break() {
                break;
            }
        }
        drop(ending);
        times.sort();
        let (median, percentile) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!(
            "{} logins by MD5, median {median:?}, 99th percentile {percentile:?}; {welcomed} of {tried} by OPAQUE",
            times.len()
        );
        if let Some(strangers) = strangers {
            let (begins, offers) = strangers.join().unwrap();
            println!("beside {begins} BEGINs by strangers, who got {offers} offers");
            assert!(offers > 0);
        }
        (percentile, welcomed, tried)
    })
}

#[test]
#[ignore = "floods the machine: see SECURITY.md"]
fn strangers_who_begin_logins_keep_out_nobody_who_has_logged_in_before() {
    let server = Site::new().serve(Transport::Udp);
    assert!(login(server.address, by_opaque(1)).is_some());
    // Whoever logs in has a machine of their own, too, and waits for no other program there.
    let priority = setpriority_process(None, HIGHEST_PRIORITY);
    println!("logins with the highest priority: {priority:?}");
    let (alone, ..) = logins(server.address, Beside::Nobody);
    let (beside_strangers, welcomed, tried) = logins(server.address, Beside::Strangers);
    println!(
        "99th percentile beside strangers: {:.2} times that without",
        beside_strangers.as_secs_f64() / alone.as_secs_f64()
    );
    assert_eq!(welcomed, tried);
}

//! What strangers send by the million: after or beside it people still get in, and the server's memory and
//! descriptors stay where they were. Run one after the other (see `flood`); SECURITY.md has the figures of a release
//! build.

#![expect(clippy::disallowed_methods, reason = "an attack takes its time")]

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::ops::ControlFlow;
use std::process::Child;
use std::time::{Duration, Instant};

use proto::transport::Transport::{Tcp, Udp};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use socket2::{Domain, Socket, Type};

use crate::flood;
use crate::monitoring::{status, watched};
use crate::peers::{PATIENCE, REQUEST, answer, tcp_peer, uninterrupted};
use crate::running::{Ended, SAMPLES, Server, bench, letmein, welcome};

/// What the kernel counts of a server in KiB.
pub(crate) fn resident_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Only root may see what a server has open.
fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count()
}

/// Says if it may not, and that the test is skipped.
fn may_look_into_servers() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: only root sees what a server has open");
    }
    is_root
}

/// Waits until a server has fewer descriptors open, and tells how long that took.
fn wait_for_descriptors(server: &Server, limit: usize, longest: Duration) -> Duration {
    let started = Instant::now();
    while descriptors(server) >= limit {
        assert!(started.elapsed() < longest, "{} descriptors are left", descriptors(server));
        std::thread::sleep(Duration::from_millis(10));
    }
    started.elapsed()
}

/// A flood of the load generator, from 60,000 addresses.
fn load(server: &Server, more: &[&str]) -> Child {
    let (address, seconds) = (server.address.to_string(), flood::seconds().to_string());
    let rate = ["--duration", &seconds, "--clients", "60000", "--rate", "100000"];
    bench().args(["udp", &address, "--users", SAMPLES]).args(rate).args(more).spawn().unwrap()
}

/// Logs in by hand after each step until the last; all must get in, within the time of the client.
pub(crate) fn log_in_beside(server: &Server, mut step: impl FnMut() -> ControlFlow<()>) {
    let (mut logins, mut slowest) = (0, Duration::ZERO);
    let resident_before = resident_kib(server);
    loop {
        let flow = step();
        let started = Instant::now();
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        slowest = slowest.max(started.elapsed());
        logins += 1;
        if flow.is_break() {
            break;
        }
    }
    let resident = resident_kib(server);
    println!(
        "{logins} logins beside it, the slowest {slowest:?}; resident {resident_before} -> {resident} KiB"
    );
    assert!(resident < resident_before + 4096, "{resident_before} -> {resident}");
}

/// Until a load ends, with one of these statuses.
fn while_it_runs(load: &mut Child, statuses: &[i32]) -> ControlFlow<()> {
    let Some(status) = load.try_wait().unwrap() else { return ControlFlow::Continue(()) };
    assert!(status.code().is_some_and(|status| statuses.contains(&status)), "{status}");
    ControlFlow::Break(())
}

#[test]
#[ignore = "floods the machine: see SECURITY.md"]
fn logins_from_ever_changing_addresses_keep_nobody_out() {
    let server = Server::udp();
    let mut load = load(&server, &[]);
    log_in_beside(&server, || while_it_runs(&mut load, &[0]));
}

/// The flood's answers carry no challenge, so they prove no address. Others are sent in the name of the user who
/// logs in beside it, from their very address, by somebody who has heard no challenge.
#[test]
#[ignore = "floods the machine: see SECURITY.md"]
fn forged_answers_of_everybody_keep_nobody_out() {
    let server = Server::udp();
    let mut load = load(&server, &["--no-echo", "--wrong", "50", "--unknown", "50", "--patience", "0.3"]);
    let forger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut number = 0_u64;
    log_in_beside(&server, || {
        for _ in 0..100 {
            number += 1;
            let forged = answer("userone", &format!("forged{number}"), b"0123456789abcdef");
            forger.send_to(&forged, server.address).unwrap();
        }
        // A busy server may ignore all of it: 3 is for no verdict at all, and 1 for a wrong one.
        while_it_runs(&mut load, &[0, 3])
    });
}

#[test]
#[ignore = "floods the machine: see SECURITY.md"]
fn garbage_gets_no_reply_and_keeps_nobody_out() {
    let server = Server::udp();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut random = SmallRng::seed_from_u64(1);
    let mut flow = flood::clock();
    let mut sent = 0_u64;
    log_in_beside(&server, || {
        for len in [0, 1, 5, 22, 64, 129, 1400, 9000].repeat(200) {
            let mut datagram = vec![0; len];
            random.fill_bytes(&mut datagram);
            sent += u64::from(socket.send(&datagram).is_ok());
        }
        flow()
    });
    println!("{sent} datagrams of garbage");
    assert_eq!(uninterrupted(|| socket.recv(&mut [0; 1])).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// A connection from an address of this machine.
fn connect_from(source: [u8; 4], server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::from(source), 0)).into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

#[test]
#[ignore = "floods the machine with 5,000 connections, as root: see SECURITY.md"]
fn connections_that_say_nothing_or_a_byte_a_second_keep_nobody_out_and_end_at_the_deadline() {
    if !may_look_into_servers() {
        return;
    }
    let server = Server::tcp();
    let before = descriptors(&server);
    let mut held: Vec<TcpStream> = (0..flood::scaled(5000))
        .map(|number| connect_from([127, 0, 1 + (number % 50) as u8, 1], server.address).unwrap())
        .collect();
    let (mut most_open, mut seconds, mut flow) = (0, 0, flood::clock());
    log_in_beside(&server, || {
        std::thread::sleep(Duration::from_millis(500));
        most_open = most_open.max(descriptors(&server));
        seconds += 1;
        for (number, stream) in held.iter_mut().step_by(5).enumerate() {
            // Whoever has been turned away, or has had their time, is not written to any more.
            let _ = stream.write(&REQUEST[(seconds / 2 + number) % REQUEST.len()..][..1]);
        }
        flow()
    });
    let held_for = wait_for_descriptors(&server, before + 10, PATIENCE);
    println!(
        "{} held at once of {}; {held_for:?} later {} descriptors, {before} before",
        most_open - before,
        held.len(),
        descriptors(&server)
    );
    assert!(most_open - before >= held.len() / 2);
}

#[test]
#[ignore = "floods the machine with 5,000 connections: see SECURITY.md"]
fn connections_to_the_port_for_monitors_slow_no_login_down() {
    let (server, http) = watched(Udp, &[]);
    let (mut held, mut begun, mut flow) = (VecDeque::new(), 0_u64, flood::clock());
    let most_held = flood::scaled(5000) as usize;
    log_in_beside(&server, || {
        for _ in 0..50 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            // It is under way; most find no place.
            let _ = socket.connect(&http.into());
            held.push_back(TcpStream::from(socket));
            begun += 1;
        }
        for stream in held.iter_mut().rev().skip(100).take(50) {
            let _ = stream.write(&[b"GET /metrics HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 3000]].concat());
        }
        held.drain(..held.len().saturating_sub(most_held));
        flow()
    });
    println!("{begun} connections");
    drop(held);
    assert_eq!(status(http)["is_stopping"], false);
}

#[test]
#[ignore = "floods the machine, as root: see SECURITY.md"]
fn connections_that_are_closed_or_reset_at_once_leave_nothing_behind() {
    if !may_look_into_servers() {
        return;
    }
    let server = Server::tcp();
    let before = descriptors(&server);
    let (mut begun, attempts) = (0, flood::scaled(100_000));
    for number in 0..attempts {
        let [_, second, third, _] = (number * 7).to_be_bytes();
        // Ports of one address run out; some of the connections may find none.
        let Ok(stream) = connect_from([127, 1 + second % 100, third, 1], server.address) else { continue };
        begun += 1;
        if number % 2 == 0 {
            Socket::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    // A worker may still be at its queue; it has half the time of the deadline, which is not to be what ends them.
    let at_once = descriptors(&server);
    wait_for_descriptors(&server, before + 10, Duration::from_secs(5));
    println!(
        "{begun} connections; {before} descriptors before, {at_once} at once, {} after; resident {} KiB",
        descriptors(&server),
        resident_kib(&server)
    );
    assert!(begun >= attempts / 10 * 9);
}

#[test]
#[ignore = "starts 500 servers: see SECURITY.md"]
fn a_server_that_is_killed_in_mid_login_costs_no_login_once_it_is_back() {
    let mut server = Server::udp();
    let address = server.address.to_string();
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..flood::scaled(500) {
        let client = letmein().args([&*address, "userone", "passwordone"]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.random_range(0..3000)));
        drop(server);
        server = Server::start_at_freed(Udp, &address);
        let ended: Ended = client.wait_with_output().unwrap().into();
        assert_eq!(ended, welcome());
    }
}

/// No flood is needed for this one, so it runs with the other tests. Its one worker accepts in the order in which
/// they came.
#[test]
fn a_server_whose_descriptors_are_used_up_accepts_again_once_it_has_some() {
    let server = Server::start(Tcp, &["127.0.0.1:0", "--users", SAMPLES, "--workers", "1"]);
    let process = Pid::from_raw(server.id() as i32);
    let all = prlimit(process, Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).unwrap();
    assert!(all.current > Some(64));
    let held: Vec<_> =
        (1..=100).map(|host| connect_from([127, 0, 2, host], server.address).unwrap()).collect();
    let mut waiting = tcp_peer(&server);
    waiting.write_all(REQUEST).unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(uninterrupted(|| waiting.read(&mut [0; 16])).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(held);
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    waiting.read_exact(&mut [0; 16]).unwrap();
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
}

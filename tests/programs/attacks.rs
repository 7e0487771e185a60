//! What strangers send by the million: after or beside it people still get in, and the server's memory and
//! descriptors stay where they were. For a release build, one after the other; SECURITY.md has the figures.

#![expect(clippy::disallowed_methods, reason = "an attack takes its time")]

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::ops::ControlFlow;
use std::process::Child;
use std::time::{Duration, Instant};

use letmein::Transport::{Tcp, Udp};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use socket2::{Domain, Socket, Type};

use crate::monitoring::{status, watched};
use crate::peers::{PATIENCE, REFUSED, REQUEST, answer, digest, echoing_answer, tcp_peer, uninterrupted};
use crate::running::{Ended, SAMPLES, Server, bench, letmein, welcome};

/// What the kernel counts of a server in KiB.
fn resident_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Only root may see what a server has open.
fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count()
}

/// A flood of the load generator for 10 s, from 60,000 addresses.
fn flood(server: &Server, more: &[&str]) -> Child {
    let address = server.address.to_string();
    let args =
        ["udp", &address, "--users", SAMPLES, "--duration", "10", "--clients", "60000", "--rate", "100000"];
    bench().args(args).args(more).spawn().unwrap()
}

/// Logs in by hand until `is_over`; all must get in, and none in more than a second.
pub(crate) fn log_in_beside(server: &Server, mut step: impl FnMut() -> ControlFlow<()>) {
    let (mut logins, mut slowest) = (0, Duration::ZERO);
    let resident_before = resident_kib(server);
    while step().is_continue() {
        let started = Instant::now();
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        slowest = slowest.max(started.elapsed());
        logins += 1;
    }
    let resident = resident_kib(server);
    println!(
        "{logins} logins beside it, the slowest {slowest:?}; resident {resident_before} -> {resident} KiB"
    );
    assert!(logins >= 10 && slowest < Duration::from_secs(1), "{logins}, {slowest:?}");
    assert!(resident < resident_before + 4096, "{resident_before} -> {resident}");
}

/// Until a flood ends, which must have brought verdicts, and none that was wrong.
fn while_it_runs(flood: &mut Child) -> ControlFlow<()> {
    let Some(status) = flood.try_wait().unwrap() else { return ControlFlow::Continue(()) };
    assert!(status.success(), "{status}");
    ControlFlow::Break(())
}

pub(crate) fn for_10_seconds() -> impl FnMut() -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    move || Instant::now() < end
}

#[test]
#[ignore = "floods the machine: see SECURITY.md"]
fn logins_from_ever_changing_addresses_keep_nobody_out() {
    let server = Server::udp();
    let mut flood = flood(&server, &[]);
    log_in_beside(&server, || while_it_runs(&mut flood));
}

/// The flood's answers carry no challenge, so they prove no address. Others are sent in the name of the user who
/// logs in beside it, from their very address, by somebody who has heard no challenge.
#[test]
#[ignore = "floods the machine: see SECURITY.md"]
fn forged_answers_of_everybody_keep_nobody_out() {
    let server = Server::udp();
    let mut flood = flood(&server, &["--no-echo", "--wrong", "50", "--unknown", "50", "--patience", "0.3"]);
    let forger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut number = 0_u64;
    log_in_beside(&server, || {
        for _ in 0..100 {
            number += 1;
            let forged = answer("userone", &format!("forged{number}"), b"0123456789abcdef");
            forger.send_to(&forged, server.address).unwrap();
        }
        while_it_runs(&mut flood)
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
    let mut goes_on = for_10_seconds();
    let mut sent = 0_u64;
    log_in_beside(&server, || {
        for len in [0, 1, 5, 22, 64, 129, 1400, 9000].repeat(200) {
            let mut datagram = vec![0; len];
            random.fill_bytes(&mut datagram);
            sent += u64::from(socket.send(&datagram).is_ok());
        }
        if goes_on() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
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
#[ignore = "takes 12 s and 5,100 descriptors, as root: see SECURITY.md"]
fn connections_that_say_nothing_or_a_byte_a_second_keep_nobody_out_and_end_at_the_deadline() {
    let server = Server::tcp();
    let before = descriptors(&server);
    let mut held: Vec<TcpStream> = (0..5000)
        .filter_map(|number| connect_from([127, 0, 1 + (number % 50) as u8, 1], server.address).ok())
        .collect();
    assert_eq!(held.len(), 5000);
    let (mut most_open, mut seconds, mut goes_on) = (0, 0, for_10_seconds());
    log_in_beside(&server, || {
        std::thread::sleep(Duration::from_millis(500));
        most_open = most_open.max(descriptors(&server));
        seconds += 1;
        for (number, stream) in held.iter_mut().step_by(5).enumerate() {
            // Whoever has been turned away, or has had their time, is not written to any more.
            let _ = stream.write(&REQUEST[(seconds / 2 + number) % REQUEST.len()..][..1]);
        }
        if goes_on() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    std::thread::sleep(Duration::from_secs(1));
    println!("{} held, {} descriptors after the deadline", most_open - before, descriptors(&server));
    assert!(most_open - before >= 2900);
    assert!(descriptors(&server) < before + 10);
}

#[test]
#[ignore = "floods the machine with 5,000 connections: see SECURITY.md"]
fn connections_to_the_port_for_monitors_slow_no_login_down() {
    let (server, http) = watched(Udp, &[]);
    let (mut held, mut begun, mut goes_on) = (VecDeque::new(), 0_u64, for_10_seconds());
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
        held.drain(..held.len().saturating_sub(5000));
        if goes_on() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    println!("{begun} connections");
    assert!(begun > 5000);
    drop(held);
    assert_eq!(status(http)["is_stopping"], false);
}

#[test]
#[ignore = "floods the machine, as root: see SECURITY.md"]
fn connections_that_are_closed_or_reset_at_once_leave_nothing_behind() {
    let server = Server::tcp();
    let before = descriptors(&server);
    let mut begun = 0;
    for number in 0..100_000_u32 {
        let [_, second, third, _] = (number * 7).to_be_bytes();
        // Ports of one address run out; some of a hundred thousand connections may find none.
        let Ok(stream) = connect_from([127, 1 + second % 100, third, 1], server.address) else { continue };
        begun += 1;
        if number % 2 == 0 {
            Socket::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    // A worker may still be at its queue; it has half the time of the deadline, which is not to be what ends them.
    let (at_once, end) = (descriptors(&server), Instant::now() + Duration::from_secs(5));
    while descriptors(&server) >= before + 10 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!(
        "{begun} connections; {before} descriptors before, {at_once} at once, {} after; resident {} KiB",
        descriptors(&server),
        resident_kib(&server)
    );
    assert!(begun >= 90_000);
    assert!(descriptors(&server) < before + 10);
}

#[test]
#[ignore = "takes two minutes: see SECURITY.md"]
fn who_guesses_for_a_minute_is_heard_a_few_dozen_times() {
    let server = Server::tcp();
    let (mut guesses, mut heard) = (0, 0);
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        guesses += 1;
        heard += u32::from(guess_over_tcp(&server, guesses).is_ok_and(|verdict| verdict == REFUSED));
    }
    println!("over TCP {guesses} guesses, of which {heard} were looked at");
    assert!((10..60).contains(&heard));

    let server = Server::udp();
    let guesser = UdpSocket::bind("127.0.0.1:0").unwrap();
    guesser.connect(server.address).unwrap();
    guesser.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let (mut guesses, mut heard, mut challenge) = (0, 0, None::<Vec<u8>>);
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        guesses += 1;
        let guess = match &challenge {
            None => REQUEST.to_vec(),
            Some(challenge) => echoing_answer("userone", &format!("guess{guesses}"), challenge),
        };
        guesser.send(&guess).unwrap();
        let mut reply = [0; 64];
        match uninterrupted(|| guesser.recv(&mut reply)) {
            Ok(16) => challenge = Some(reply[..16].to_vec()),
            Ok(len) if reply[..len] == *REFUSED => heard += 1,
            Ok(len) => challenge = Some(reply[len - 16..len].to_vec()),
            Err(_) => {}
        }
    }
    println!("over UDP {guesses} guesses, of which {heard} were looked at");
    assert!((10..60).contains(&heard));
}

fn guess_over_tcp(server: &Server, number: u32) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server.address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(REQUEST)?;
    let mut challenge = [0; 16];
    stream.read_exact(&mut challenge)?;
    write!(stream, "userone:{}", digest("userone", &format!("guess{number}"), &challenge))?;
    let mut verdict = Vec::new();
    stream.read_to_end(&mut verdict)?;
    Ok(verdict)
}

#[test]
#[ignore = "takes a minute: see SECURITY.md"]
fn a_server_that_is_killed_in_mid_login_costs_no_login_once_it_is_back() {
    let mut server = Server::udp();
    let address = server.address.to_string();
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..500 {
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

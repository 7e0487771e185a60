//! What a service manager such as systemd is told, and the sockets that it passes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::process::{Command, Stdio};
use std::time::Duration;

use proto::transport::Transport;
use rustix::pipe::fcntl_setpipe_size;
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::peers::{PATIENCE, REQUEST, WELCOME, answer, ask, udp_peer, udp_socket, uninterrupted};
use crate::reloads::{Folder, logged};
use crate::running::{Ended, SAMPLES, Server, TRANSPORTS, server, welcome};
use crate::streams::{challenge, rest};

/// The manager's end of NOTIFY_SOCKET.
struct Manager {
    socket: UnixDatagram,
    name: String,
    _folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, name: path.to_str().unwrap().to_owned(), _folder: folder }
    }

    /// A server that tells this manager, and is told some more.
    fn start(&self, transport: Transport, variables: &[(&str, &str)], args: &[&str]) -> Server {
        let mut command = server(transport);
        command.args(["127.0.0.1:0"]).args(args).env("NOTIFY_SOCKET", &self.name);
        Server::spawn(transport, command.envs(variables.iter().copied()))
    }

    fn start_with_samples(&self, transport: Transport) -> Server {
        self.start(transport, &[], &["--users", SAMPLES])
    }

    fn next(&self) -> String {
        let mut message = [0; 1024];
        let received = uninterrupted(|| self.socket.recv(&mut message));
        let len = received.expect("the server tells its manager something");
        String::from_utf8(message[..len].into()).unwrap()
    }

    /// The next message with these words.
    fn told(&self, words: &str) -> String {
        let end = monotonic_usec() + PATIENCE.as_micros() as u64;
        while monotonic_usec() < end {
            let message = self.next();
            if message.contains(words) {
                return message;
            }
        }
        panic!("the manager is not told {words:?}");
    }

    /// All that it is told in this time.
    fn told_within(&self, time: Duration) -> Vec<String> {
        let end = monotonic_usec() + time.as_micros() as u64;
        let mut messages = Vec::new();
        while let left = Duration::from_micros(end.saturating_sub(monotonic_usec()))
            && !left.is_zero()
        {
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut message = [0; 1024];
            if let Ok(len) = uninterrupted(|| self.socket.recv(&mut message)) {
                messages.push(String::from_utf8(message[..len].into()).unwrap());
            }
        }
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        messages
    }
}

#[test]
fn a_server_is_ready_when_it_serves_and_says_where() {
    for transport in TRANSPORTS {
        let manager = Manager::new();
        let server = manager.start_with_samples(transport);
        let address = server.address;
        assert_eq!(manager.next(), format!("READY=1\nSTATUS={transport} server listening on {address}"));
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    }
}

#[test]
fn a_small_service_is_ready_stays_so_on_sighup_and_stops() {
    let manager = Manager::new();
    let server = manager.start(Transport::Udp, &[], &["--service", "hello"]);
    assert!(manager.next().starts_with("READY=1\nSTATUS=Server is listening on 127.0.0.1:"));
    server.signal(libc::SIGHUP);
    assert!(manager.next().starts_with("RELOADING=1\n"));
    assert!(manager.next().starts_with("READY=1\n"));
    assert_eq!(server.stop(libc::SIGTERM).status, 0);
    assert!(manager.next().starts_with("STOPPING=1"));
}

#[test]
fn after_a_reload_the_status_is_soon_that_of_every_day() {
    let manager = Manager::new();
    let server = manager.start_with_samples(Transport::Udp);
    manager.told("STATUS=3 users, 0 logins/s");
    server.signal(libc::SIGHUP);
    manager.told("STATUS=3 users, read again");
    manager.told("STATUS=3 users, 0 logins/s");
}

#[test]
fn a_manager_without_a_file_is_told_as_well() {
    let name = format!("letmein-auth-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&UnixAddress::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let manager = Manager { socket, name: format!("@{name}"), _folder: TempDir::new().unwrap() };
    let _server = manager.start_with_samples(Transport::Tcp);
    assert!(manager.next().starts_with("READY=1\n"));
}

#[test]
fn a_manager_that_is_not_there_keeps_no_server_from_serving_and_that_is_logged() {
    for name in ["/nonexistent/notify", "notify", "@letmein-auth-nobody"] {
        let mut command = server(Transport::Udp);
        command.args(["127.0.0.1:0", "--users", SAMPLES]).env("NOTIFY_SOCKET", name);
        let mut server = Server::spawn(Transport::Udp, &mut command);
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        let line = logged(&mut server, "NOTIFY_SOCKET");
        assert!(line.contains(name) && line.ends_with("the service manager is told nothing"), "{line}");
    }
}

#[test]
fn a_manager_that_does_not_listen_holds_nobody_up_and_is_told_once_it_does() {
    let manager = Manager::new();
    let flood = UnixDatagram::unbound().unwrap();
    flood.set_nonblocking(true).unwrap();
    let flood_len = (0..).take_while(|_| flood.send_to(b"flood", &manager.name).is_ok()).count();
    let server = manager.start(Transport::Udp, &[("WATCHDOG_USEC", "400000")], &["--users", SAMPLES]);
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    for _ in 0..flood_len {
        assert_eq!(manager.next(), "flood");
    }
    manager.told("READY=1\n");
    assert_eq!(server.stop(libc::SIGTERM).status, 0);
}

#[test]
fn a_reload_is_told_from_its_beginning_to_its_end_whatever_comes_of_it() {
    for transport in TRANSPORTS {
        let (manager, folder) = (Manager::new(), Folder::with("alice = 'one'"));
        let users = folder.path();
        let server = manager.start(transport, &[], &["--users", users.to_str().unwrap()]);
        manager.told("READY=1\n");
        for (users, outcome) in [
            ("alice = 'one'\nbob = 'two'", "2 users, read again"),
            ("alice = ", "2 users; the last reload failed, and the log says why"),
            ("alice = 'one'", "1 user, read again"),
        ] {
            let before = monotonic_usec();
            folder.replace(users);
            server.signal(libc::SIGHUP);
            let reloading = manager.told("RELOADING=1\n");
            let usec: u64 = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
            assert!((before..=monotonic_usec()).contains(&usec), "{before} {usec}");
            assert_eq!(manager.told("READY=1\n"), format!("READY=1\nSTATUS={outcome}"));
        }
    }
}

fn monotonic_usec() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec * 1_000_000 + now.tv_nsec / 1_000).try_into().unwrap()
}

#[test]
fn a_server_that_stops_says_so_before_it_ends() {
    for transport in TRANSPORTS {
        let manager = Manager::new();
        let server = manager.start_with_samples(transport);
        assert_eq!(server.stop(libc::SIGTERM).status, 0);
        manager.told("READY=1\n");
        assert_eq!(manager.told("STOPPING=1"), "STOPPING=1\nSTATUS=stopping");
    }
}

#[test]
fn the_status_tells_users_and_rates_when_they_change_and_only_then() {
    let manager = Manager::new();
    let server = manager.start(Transport::Udp, &[], &["--users", SAMPLES, "--user-failures", "off"]);
    assert_eq!(manager.told("logins/s"), "STATUS=3 users, 0 logins/s, 0 refusals/s");
    for _ in 0..20 {
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    }
    for password in ["wrong1", "wrong2", "wrong3", "wrong4", "wrong5"] {
        assert_eq!(server.login(&["userone", password]).status, 1);
    }
    // All within one interval or over two; the first is told, as is the rest that follows.
    let status = manager.told("logins/s");
    assert!(status.starts_with("STATUS=3 users, ") && !status.contains(", 0 logins/s"), "{status}");
    manager.told("STATUS=3 users, 0 logins/s, 0 refusals/s");
    let unchanged = manager.told_within(Duration::from_secs(6));
    assert_eq!(unchanged, [""; 0]);
}

#[test]
fn a_server_shows_the_watchdog_that_it_is_alive_if_the_watchdog_is_its_own() {
    for transport in TRANSPORTS {
        let (manager, watchdog) = (Manager::new(), ("WATCHDOG_USEC", "1000000"));
        let _server = manager.start(transport, &[watchdog], &["--users", SAMPLES]);
        for _ in 0..3 {
            manager.told("WATCHDOG=1");
        }
    }
    for variables in [&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "1")][..], &[]] {
        let manager = Manager::new();
        let _server = manager.start(Transport::Udp, variables, &["--users", SAMPLES]);
        let messages = manager.told_within(Duration::from_millis(1500));
        assert!(messages.len() >= 2 && !messages.concat().contains("WATCHDOG"), "{messages:?}");
    }
}

/// A worker that logs where nobody reads is held up by that, as soon as the pipe is full.
#[test]
fn a_stuck_worker_lets_the_watchdog_bark_until_it_goes_on() {
    let manager = Manager::new();
    let args = ["--users", SAMPLES, "--workers", "1", "--debug"];
    let mut server = manager.start(Transport::Udp, &[("WATCHDOG_USEC", "1000000")], &args);
    manager.told("WATCHDOG=1");
    let mut log = server.stderr.take().unwrap();
    fcntl_setpipe_size(log.get_ref(), 4096).unwrap();
    let peer = udp_peer(&server);
    peer.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut answers = (0..1000).take_while(|_| {
        peer.send(REQUEST).unwrap();
        uninterrupted(|| peer.recv(&mut [0; 64])).is_ok()
    });
    assert!(answers.by_ref().count() < 1000, "the worker is held up");
    manager.told_within(Duration::from_millis(600));
    let messages = manager.told_within(Duration::from_millis(1500));
    assert!(!messages.concat().contains("WATCHDOG"), "{messages:?}");
    std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
    manager.told("WATCHDOG=1");
}

/// A server that gets a socket as a service manager passes it.
fn passing(transport: Transport, socket: Socket, args: &[&str]) -> Result<Server, Ended> {
    passing_any(transport, socket.into(), args)
}

fn passing_any(transport: Transport, socket: OwnedFd, args: &[&str]) -> Result<Server, Ended> {
    let mut command = Command::new("sh");
    let script = r#"exec 3<&0 </dev/null; exec env LISTEN_FDS=1 LISTEN_PID=$$ "$@""#;
    command.args(["-c", script, "sh"]).arg(server(transport).get_program()).args(args);
    Server::try_spawn(transport, command.stdin(socket).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// The same for two. They come as standard input and standard error, as all else is closed when a program starts; what
/// it says of errors is on standard output.
fn passing_two(transport: Transport, sockets: [Socket; 2], args: &[&str]) -> Command {
    let [first, second] = sockets.map(OwnedFd::from);
    let mut command = Command::new("sh");
    let script = r#"exec 3<&0 4<&2 </dev/null 2>&1; exec env LISTEN_FDS=2 LISTEN_PID=$$ "$@""#;
    command.args(["-c", script, "sh"]).arg(server(transport).get_program()).args(args);
    command.args(["--log-level", "error"]).stdin(first).stdout(Stdio::piped()).stderr(second);
    command
}

/// A socket as it is in a .socket unit, and its address.
fn bound(transport: Transport, address: &str) -> (Socket, SocketAddr) {
    let kind = match transport {
        Transport::Udp => Type::DGRAM,
        Transport::Tcp => Type::STREAM,
    };
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(Domain::for_address(address), kind, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    if transport == Transport::Tcp {
        socket.listen(128).unwrap();
    }
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn a_server_serves_the_socket_that_it_is_passed_at_the_address_of_that() {
    for transport in TRANSPORTS {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (socket, address) = bound(transport, address);
            let again = socket.try_clone().unwrap();
            for (socket, args) in [(socket, vec![]), (again, vec![address.to_string()])] {
                let args: Vec<_> =
                    args.iter().map(String::as_str).chain(["--users", SAMPLES, "--workers", "1"]).collect();
                let server = passing(transport, socket, &args).unwrap();
                assert_eq!(server.address, address);
                assert_eq!(server.login(&["userone", "passwordone"]), welcome());
                assert_eq!(server.stop(libc::SIGTERM).status, 0);
            }
        }
    }
}

#[test]
fn a_socket_for_all_addresses_answers_from_the_one_that_was_asked() {
    let (socket, address) = bound(Transport::Udp, "0.0.0.0:0");
    let _server = passing(Transport::Udp, socket, &["--service", "hello", "--quiet"]).unwrap();
    let peer = udp_socket();
    // A peer that is connected hears nobody else.
    peer.connect(("127.0.0.9", address.port())).unwrap();
    assert_eq!(ask(&peer, b"there"), b"Hello there");
}

#[test]
fn each_socket_that_is_passed_has_a_worker() {
    for transport in TRANSPORTS {
        let (first, address) = bound(transport, "127.0.0.1:0");
        let (second, _) = bound(transport, &address.to_string());
        let mut command = passing_two(transport, [first, second], &["--users", SAMPLES]);
        let server = Server::spawn(transport, &mut command);
        for _ in 0..16 {
            assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        }
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
        assert_eq!(names.filter(|name| name.starts_with("worker ")).count(), 2);
    }
}

#[test]
fn a_restart_loses_no_datagram_and_no_connection_of_a_socket_that_stays() {
    let (socket, address) = bound(Transport::Udp, "127.0.0.1:0");
    let start = |transport, socket: &Socket| {
        passing(transport, socket.try_clone().unwrap(), &["--users", SAMPLES]).unwrap()
    };
    assert_eq!(start(Transport::Udp, &socket).stop(libc::SIGTERM).status, 0);
    let peer = udp_socket();
    peer.connect(address).unwrap();
    peer.send(REQUEST).unwrap();
    let _server = start(Transport::Udp, &socket);
    let mut datagram = [0; 64];
    let len = uninterrupted(|| peer.recv(&mut datagram)).unwrap();
    assert_eq!(ask(&peer, &answer("userone", "passwordone", &datagram[..len])), WELCOME);

    let (socket, address) = bound(Transport::Tcp, "127.0.0.1:0");
    assert_eq!(start(Transport::Tcp, &socket).stop(libc::SIGTERM).status, 0);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(REQUEST).unwrap();
    let _server = start(Transport::Tcp, &socket);
    let challenge = challenge(&mut stream);
    stream.write_all(&answer("userone", "passwordone", &challenge)).unwrap();
    assert_eq!(rest(&mut stream), WELCOME);
}

#[test]
fn sockets_and_a_command_line_that_disagree_are_status_2_with_a_remedy() {
    for transport in TRANSPORTS {
        for (args, reason) in
            [(&["127.0.0.2:8591"][..], "leave the address out"), (&["--workers", "2"], "leave --workers out")]
        {
            let (socket, address) = bound(transport, "127.0.0.1:0");
            let ended = passing(transport, socket, &[&["--users", SAMPLES], args].concat());
            let Ended { status, stderr, .. } = ended.expect_err(reason);
            assert_eq!(status, 2);
            assert!(stderr.contains(reason), "{stderr}");
            assert!(stderr.contains(&address.to_string()) || stderr.contains("passed 1 sockets"), "{stderr}");
        }
    }
}

#[test]
fn sockets_of_another_kind_are_status_2_with_a_remedy() {
    let udp: OwnedFd = UdpSocket::bind("127.0.0.1:0").unwrap().into();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection: OwnedFd = TcpStream::connect(listener.local_addr().unwrap()).unwrap().into();
    let unix = || OwnedFd::from(UnixDatagram::unbound().unwrap());
    let file = OwnedFd::from(std::fs::File::open(SAMPLES).unwrap());
    for (transport, socket, reason) in [
        (Transport::Udp, listener.into(), "no UDP socket (fd 3 is not a valid udp socket)"),
        (Transport::Udp, unix(), "ListenDatagram="),
        (Transport::Udp, file, "fd 3 is not a socket"),
        (Transport::Tcp, udp, "no TCP socket (fd 3 is not a valid tcp socket)"),
        (Transport::Tcp, unix(), "ListenStream="),
        (Transport::Tcp, connection, "Accept=no"),
    ] {
        let ended = passing_any(transport, socket, &["--users", SAMPLES]).expect_err(reason);
        let Ended { status, stdout, stderr } = ended;
        assert_eq!((status, &*stdout, stderr.lines().count()), (2, "", 1), "{stderr}");
        assert!(stderr.contains(reason), "{stderr}");
    }
}

#[test]
fn sockets_of_others_are_left_alone() {
    let mut command = server(Transport::Udp);
    command.args(["127.0.0.1:0", "--users", SAMPLES]).envs([("LISTEN_FDS", "1"), ("LISTEN_PID", "1")]);
    let server = Server::spawn(Transport::Udp, &mut command);
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
}

#[test]
fn sample_users_are_refused_where_a_socket_that_is_passed_is_open_to_others() {
    for transport in TRANSPORTS {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let (socket, address) = bound(transport, address);
            let ended = passing(transport, socket, &["--users", SAMPLES]);
            let Ended { status, stderr, .. } = ended.expect_err("sample users");
            assert_eq!(status, 2, "{stderr}");
            assert!(stderr.contains(&format!("{address} is open to other machines")), "{stderr}");
        }
    }
}

#[test]
fn sockets_at_two_addresses_and_two_for_a_small_service_are_status_2_with_a_remedy() {
    for transport in TRANSPORTS {
        let [(first, address), (other, _)] = [(); 2].map(|()| bound(transport, "127.0.0.1:0"));
        let same = bound(transport, &address.to_string()).0;
        for (sockets, args, remedy) in [
            (
                [first.try_clone().unwrap(), other],
                &["--users", SAMPLES],
                "serve it by --also or by another server",
            ),
            ([first, same], &["--service", "md5"], "let the .socket unit have one line"),
        ] {
            let output = passing_two(transport, sockets, args).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains(remedy), "{said}");
        }
    }
}

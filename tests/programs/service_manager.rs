//! What a service manager such as systemd is told.

mod passed;

use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::time::Duration;

use proto::transport::Transport;
use rustix::pipe::fcntl_setpipe_size;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

use crate::peers::{PATIENCE, REQUEST, udp_peer, uninterrupted};
use crate::reloads::{Folder, logged};
use crate::running::{SAMPLES, Server, TRANSPORTS, server, welcome};

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
    manager.told("STATUS=3 users, reloaded");
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
        assert!(line.contains(name) && line.ends_with("the service manager gets no notifications"), "{line}");
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
            ("alice = 'one'\nbob = 'two'", "2 users, reloaded"),
            ("alice = ", "2 users; the last reload failed: see the log"),
            ("alice = 'one'", "1 user, reloaded"),
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

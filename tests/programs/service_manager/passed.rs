//! Sockets that the service manager passes.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use proto::transport::Transport;
use socket2::{Domain, Socket, Type};

use crate::peers::{PATIENCE, REQUEST, WELCOME, answer, ask, udp_socket, uninterrupted};
use crate::running::{Ended, SAMPLES, Server, TRANSPORTS, server, welcome};
use crate::streams::{challenge, rest};

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

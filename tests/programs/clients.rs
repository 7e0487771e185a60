//! The clients in clients/ and the example that logs in on tokio, at real servers. What is not installed is not tested,
//! and that is said.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use proto::transport::Transport;

use crate::peers::{REQUEST, WELCOME, ask, refusing_socket, udp_peer, udp_socket};
use crate::relay::Relay;
use crate::running::{
    Ended, Server, TRANSPORTS, installed, letmein, path, refused, run, users_file, welcome,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");
const USAGE: i32 = 2;
const NO_VERDICT: i32 = 3;

/// A client, ready to run.
struct Client {
    command: Vec<OsString>,
    interface: Interface,
}

/// What a client takes beside a server, a user, and a password on standard input.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interface {
    /// `--tcp`, `--timeout` and `--password-file`.
    Options,
    /// Nothing; it logs in over UDP.
    Bare,
}

/// All clients for which this system has what they need.
static CLIENTS: LazyLock<Vec<Client>> = LazyLock::new(|| {
    let with_options = [in_python(), in_c(), in_go(), in_shell()].into_iter().flatten();
    let with_options = with_options.map(|command| Client { command, interface: Interface::Options });
    with_options.chain([Client { command: vec![on_tokio()], interface: Interface::Bare }]).collect()
});

fn source(name: &str) -> OsString {
    Path::new(FOLDER).join(name).into()
}

/// Where the compilers put what they make.
fn built(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn in_python() -> Option<Vec<OsString>> {
    let python = installed("python3")?;
    Some(vec![python.get_program().into(), source("letmein.py")])
}

fn in_c() -> Option<Vec<OsString>> {
    let (mut cc, program) = (installed("cc")?, built("letmein-c"));
    cc.args(["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-o"]);
    assert_silent(cc.arg(&program).arg(source("letmein.c")));
    Some(vec![program.into()])
}

fn in_go() -> Option<Vec<OsString>> {
    let (mut go, program) = (installed("go")?, built("letmein-go"));
    go.env("CGO_ENABLED", "0").env("GOCACHE", built("go-cache"));
    assert_silent(go.args(["build", "-o"]).arg(&program).arg(source("letmein.go")));
    Some(vec![program.into()])
}

fn in_shell() -> Option<Vec<OsString>> {
    let help = run(installed("nc")?.arg("-h"));
    let help = help.stdout + &help.stderr;
    let is_debians = !help.contains("Ncat") && !help.contains("BusyBox");
    if !is_debians {
        eprintln!("skipped: letmein.sh, since this nc is not Debian's");
    }
    is_debians.then(|| vec![source("letmein.sh")])
}

fn on_tokio() -> OsString {
    let profile = Path::new(env!("CARGO_BIN_EXE_letmein")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--locked"]);
    cargo.args(["--package", "letmein-auth-client", "--example", "async_login"]);
    cargo.arg("--target-dir").arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert_silent(&mut cargo);
    profile.join("examples/async_login").into()
}

fn assert_silent(compiler: &mut Command) {
    assert_eq!(run(compiler), Ended { status: 0, stdout: String::new(), stderr: String::new() });
}

impl Client {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn transports(&self) -> &[Transport] {
        match self.interface {
            Interface::Options => &TRANSPORTS,
            Interface::Bare => &[Transport::Udp],
        }
    }

    /// Begins to log in as `userone`, with time enough for a slow network.
    fn start(&self, server: SocketAddr, transport: Transport, password: &str) -> Child {
        self.start_within("60", server, transport, password)
    }

    fn start_within(&self, seconds: &str, server: SocketAddr, transport: Transport, password: &str) -> Child {
        let mut command = self.command();
        if self.interface == Interface::Options {
            command.args(["--timeout", seconds]);
        }
        if transport == Transport::Tcp {
            command.arg("--tcp");
        }
        let mut child = command.arg(server.to_string()).arg("userone").spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
        child
    }

    fn login(&self, server: SocketAddr, transport: Transport, password: &str) -> Ended {
        self.start(server, transport, password).wait_with_output().unwrap().into()
    }
}

/// Does the same with all clients at once. The name of the thread tells which one fails.
fn with_each_client(test: impl Fn(&Client) + Sync) {
    thread::scope(|scope| {
        for client in CLIENTS.iter() {
            let name = format!("{:?}", client.command);
            thread::Builder::new().name(name).spawn_scoped(scope, || test(client)).unwrap();
        }
    });
}

fn with_each_client_that_takes_options(test: impl Fn(&Client) + Sync) {
    with_each_client(|client| {
        if client.interface == Interface::Options {
            test(client);
        }
    });
}

/// Answers a client's datagrams until it has ended.
fn answer(socket: &UdpSocket, mut client: Child, mut answer: impl FnMut(&[u8], SocketAddr)) -> Ended {
    let mut datagram = [0; 256];
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    while client.try_wait().unwrap().is_none() {
        match socket.recv_from(&mut datagram) {
            Ok((len, peer)) => answer(&datagram[..len], peer),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)),
        }
    }
    client.wait_with_output().unwrap().into()
}

#[test]
fn each_client_says_in_every_vector_what_it_should() {
    let Some(python) = installed("python3") else { return };
    let letmein = letmein();
    let letmein = [letmein.get_program(), "--password-stdin".as_ref()].map(OsString::from).to_vec();
    let clients = CLIENTS.iter().map(|client| (client.interface, &client.command));
    thread::scope(|scope| {
        for (interface, command) in clients.chain([(Interface::Options, &letmein)]) {
            let mut check = Command::new(python.get_program());
            check.arg(source("check.py"));
            if interface == Interface::Bare {
                check.arg("--udp");
            }
            scope.spawn(move || {
                let ended = run(check.args(command));
                assert_eq!(ended.status, 0, "{command:?}: {}{}", ended.stdout, ended.stderr);
            });
        }
    });
}

#[test]
fn each_client_is_welcome_with_the_right_password_and_refused_with_a_wrong_one() {
    for (server, transport) in TRANSPORTS.map(Server::over).iter().zip(TRANSPORTS) {
        with_each_client(|client| {
            if client.transports().contains(&transport) {
                assert_eq!(client.login(server.address, transport, "passwordone"), welcome());
                assert_eq!(client.login(server.address, transport, "wrong"), refused());
            }
        });
    }
}

#[test]
fn each_client_outlasts_a_network_that_loses_doubles_and_delays_datagrams() {
    let server = Server::udp();
    with_each_client(|client| {
        let mut relay = Relay::to(server.address, 1);
        let child = client.start(relay.address(), Transport::Udp, "passwordone");
        assert_eq!(relay.carry(child), welcome());
    });
}

#[test]
fn each_client_outlasts_a_restart_of_the_server_between_challenge_and_answer() {
    with_each_client(|client| {
        let before = ask(&udp_peer(&Server::udp()), REQUEST);
        let server = Server::udp();
        let (near, far) = (udp_socket(), udp_peer(&server));
        let child = client.start(near.local_addr().unwrap(), Transport::Udp, "passwordone");
        let mut renewals = 0;
        let ended = answer(&near, child, |message, peer| {
            let reply = if message == REQUEST { before.clone() } else { ask(&far, message) };
            renewals += usize::from(reply.starts_with(b"New challenge "));
            near.send_to(&reply, peer).unwrap();
        });
        assert!(renewals > 0);
        assert_eq!(ended, welcome());
    });
}

#[test]
fn each_client_hears_nobody_but_the_server() {
    let server = Server::udp();
    with_each_client(|client| {
        let (near, far, stranger) = (udp_socket(), udp_peer(&server), udp_socket());
        let child = client.start(near.local_addr().unwrap(), Transport::Udp, "wrong");
        let ended = answer(&near, child, |message, peer| {
            for forged in [&b"0123456789abcdef"[..], WELCOME, b"New challenge 0123456789abcdef"] {
                stranger.send_to(forged, peer).unwrap();
            }
            near.send_to(&ask(&far, message), peer).unwrap();
        });
        assert_eq!(ended, refused());
    });
}

#[test]
fn a_client_without_a_verdict_says_so_and_ends_with_status_3() {
    let absent = TRANSPORTS.map(refusing_socket);
    let (udp, tcp) = (udp_socket(), TcpListener::bind("127.0.0.1:0").unwrap());
    let silent = [udp.local_addr().unwrap(), tcp.local_addr().unwrap()];
    with_each_client_that_takes_options(|client| {
        for (transport, (absent, silent)) in TRANSPORTS.into_iter().zip(absent.iter().zip(silent)) {
            for server in [absent.local_addr().unwrap().as_socket().unwrap(), silent] {
                let child = client.start_within("1", server, transport, "passwordone");
                let ended = Ended::from(child.wait_with_output().unwrap());
                assert_eq!((ended.status, &*ended.stdout), (NO_VERDICT, ""), "{ended:?}");
                assert!(!ended.stderr.is_empty());
            }
        }
    });
}

/// A script must not take the status of a help text for a welcome.
#[test]
fn a_client_that_is_called_wrongly_or_without_a_password_ends_with_status_2() {
    let (server, long) = ("127.0.0.1:8591", "u".repeat(65));
    let calls = [
        &[][..],
        &["-h"],
        &["--help"],
        &[server],
        &["127.0.0.1", "userone"],
        &[server, "user:one"],
        &[server, &long],
        &[server, "userone", "passwordone"],
        &["--nonsense", server, "userone"],
        &[server, "userone"],
    ];
    with_each_client(|client| {
        for words in calls {
            let ended = run(client.command().stdin(Stdio::null()).args(words));
            assert_eq!((ended.status, &*ended.stdout), (USAGE, ""), "{words:?}: {ended:?}");
        }
    });
}

#[test]
fn a_client_reads_the_password_from_the_first_line_of_a_file() {
    let (server, file) = (Server::udp(), users_file("passwordone\r\nsecond line\n"));
    let server = server.address.to_string();
    with_each_client_that_takes_options(|client| {
        let log_in = |file| run(client.command().args(["--password-file", file, &server, "userone"]));
        assert_eq!(log_in(path(&file)), welcome());
        assert_eq!(log_in("/nonexistent").status, USAGE);
    });
}

#[test]
fn the_client_in_python_is_a_module() {
    let Some(mut python) = installed("python3") else { return };
    let server = Server::udp();
    let port = server.address.port();
    let script = format!(
        "import letmein\n\
         for password in 'passwordone', 'wrong':\n    \
             print(letmein.login('127.0.0.1', {port}, 'userone', password))\n"
    );
    let ended =
        run(python.env("PYTHONPATH", FOLDER).env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", &script]));
    assert_eq!(ended, Ended { status: 0, stdout: "True\nFalse\n".into(), stderr: String::new() });
}

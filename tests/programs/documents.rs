//! The clients in docs/PROTOCOL.md, run as they stand there. What is not installed is not tested, and that is said.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use proto::transport::Transport;
use tempfile::TempDir;

use crate::peers::{REQUEST, ask, receive, refusing_socket, udp_peer, udp_socket};
use crate::relay::Relay;
use crate::running::{Ended, Server, installed, refused, run, welcome};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
const OPENSSL: &str = "/usr/include/openssl/evp.h";

/// The blocks of a page of docs/ that are in this language, in their order.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("{DOCS}/{page}")).unwrap();
    let fence = format!("```{language}\n");
    let parts = text.split(&fence).skip(1);
    parts.map(|part| part.split_once("```").unwrap().0.to_owned()).collect()
}

/// A client of the page, ready to run.
struct Client {
    command: Vec<OsString>,
    _folder: TempDir,
}

impl Client {
    /// Those for which all is installed.
    fn of_the_page() -> Vec<Self> {
        [Self::in_python(), Self::in_c()].into_iter().flatten().collect()
    }

    fn in_python() -> Option<Self> {
        let python = installed("python3")?;
        let folder = TempDir::new().unwrap();
        let script = folder.path().join("login.py");
        fs::write(&script, blocks("PROTOCOL.md", "python").concat()).unwrap();
        Some(Self { command: vec![python.get_program().into(), script.into()], _folder: folder })
    }

    fn in_c() -> Option<Self> {
        let mut cc = installed("cc")?;
        if !Path::new(OPENSSL).exists() {
            io::stderr().write_all(b"skipped: libssl-dev is not installed\n").unwrap();
            return None;
        }
        let folder = TempDir::new().unwrap();
        let [source, program] = ["login.c", "login"].map(|name| folder.path().join(name));
        fs::write(&source, blocks("PROTOCOL.md", "c").concat()).unwrap();
        cc.args(["-Wall", "-Wextra", "-Werror", "-o"]).args([&program, &source]).arg("-lcrypto");
        let compiled = run(&mut cc);
        assert_eq!(compiled.status, 0, "{compiled:?}");
        Some(Self { command: vec![program.into()], _folder: folder })
    }

    /// Begins to log in as `userone`.
    fn start(&self, server: SocketAddr, password: &str) -> Child {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args([
            &*server.ip().to_string(),
            &server.port().to_string(),
            "userone",
        ]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
        child
    }

    fn login(&self, server: SocketAddr, password: &str) -> Ended {
        self.start(server, password).wait_with_output().unwrap().into()
    }
}

#[test]
fn the_clients_of_the_page_print_the_verdict_and_end_with_its_status() {
    let server = Server::udp();
    for client in Client::of_the_page() {
        assert_eq!(client.login(server.address, "passwordone"), welcome());
        assert_eq!(client.login(server.address, "wrong"), refused());
    }
}

#[test]
fn the_clients_of_the_page_outlast_a_network_that_loses_and_doubles_datagrams() {
    let server = Server::udp();
    for client in Client::of_the_page() {
        let mut relay = Relay::to(server.address, 1);
        let child = client.start(relay.address(), "passwordone");
        assert_eq!(relay.carry(child), welcome());
    }
}

#[test]
fn the_clients_of_the_page_answer_a_new_challenge() {
    let server = Server::udp();
    for client in Client::of_the_page() {
        let (near, far) = (udp_socket(), udp_peer(&server));
        let child = client.start(near.local_addr().unwrap(), "passwordone");
        let (mut renewed, mut done) = (false, false);
        while !done {
            let (peer, message) = receive(&near);
            // A challenge of before the server was restarted.
            let reply = if message == REQUEST { b"0123456789abcdef".to_vec() } else { ask(&far, &message) };
            renewed |= reply.starts_with(b"New challenge ");
            done = reply.starts_with(b"Welcome");
            near.send_to(&reply, peer).unwrap();
        }
        assert!(renewed);
        assert_eq!(Ended::from(child.wait_with_output().unwrap()), welcome());
    }
}

#[test]
fn the_clients_of_the_page_end_without_a_verdict_where_no_server_is() {
    let socket = refusing_socket(Transport::Udp);
    let nowhere = socket.local_addr().unwrap().as_socket().unwrap();
    for client in Client::of_the_page() {
        let ended = client.login(nowhere, "passwordone");
        assert_eq!(ended, Ended { status: 3, stdout: String::new(), stderr: String::new() });
    }
}

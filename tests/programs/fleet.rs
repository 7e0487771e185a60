//! Servers that tell each other of failed logins and of sources, as letmein-sync carries it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use proto::server::fleet::MESSAGE_MAX;
use proto::transport::Transport::Udp;

use crate::cluster::{ClusterFolder, LONG_AGO, line};
use crate::monitoring::{http_address, metric};
use crate::peers::{REFUSED, REQUEST, WELCOME, echoing_answer, stranger};
use crate::reloads::logged;
use crate::running::{SAMPLES, Server, welcome};

/// A socket in the folder of the keys.
fn socket(folder: &ClusterFolder, name: &str) -> PathBuf {
    folder.path().with_file_name(name)
}

fn serve(folder: &ClusterFolder, name: &str, more: &[&str]) -> Server {
    let socket = socket(folder, name);
    let own = ["--debug", "--nodes", "2", "--exchange", socket.to_str().unwrap()];
    folder.serve(&[&own, more].concat())
}

/// Tells a server what others have said, and gives its reply.
fn tell(socket: &Path, said: &[&[u8]]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    for message in said {
        stream.write_all(&(message.len() as u32).to_be_bytes()).unwrap();
        stream.write_all(message).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    reply
}

/// Two servers, and what each has said.
struct Pair {
    folder: ClusterFolder,
    servers: [Server; 2],
    said: [Vec<u8>; 2],
}

impl Pair {
    fn with(more: &[&str]) -> Self {
        let folder = ClusterFolder::with(&line(LONG_AGO, "A"));
        let servers = ["a", "b"].map(|name| serve(&folder, name, more));
        Self { folder, servers, said: Default::default() }
    }

    fn carry(&mut self) {
        for (index, name) in ["a", "b"].into_iter().enumerate() {
            self.said[index] = tell(&socket(&self.folder, name), &[&self.said[1 - index]]);
        }
    }

    /// What a server replies to an answer from a source of its own.
    fn answered(&self, index: usize, source: u8, password: &str) -> Option<Vec<u8>> {
        let peer = stranger(&self.servers[index], Ipv4Addr::new(127, 0, 0, source));
        let mut buffer = [0; 100];
        peer.send(REQUEST).unwrap();
        let len = peer.recv(&mut buffer).unwrap();
        peer.send(&echoing_answer("userone", password, &buffer[..len])).unwrap();
        // Both are answered, or neither, in the order in which they were sent.
        peer.send(REQUEST).unwrap();
        let len = peer.recv(&mut buffer).unwrap();
        [WELCOME, REFUSED].iter().find(|verdict| **verdict == &buffer[..len]).map(|verdict| verdict.to_vec())
    }
}

#[test]
fn servers_that_hear_each_other_for_a_window_say_that_they_count_together() {
    let mut pair = Pair::with(&["--user-failures", "8/1s", "--http", "127.0.0.1:0"]);
    let http = http_address(&mut pair.servers[1]);
    assert!(metric(http, "letmein_exchange_members") < 1.5);
    while metric(http, "letmein_exchange_members") < 1.5 {
        pair.carry();
    }
    for server in &mut pair.servers {
        logged(server, "failed logins are counted together by 2 servers");
    }
}

#[test]
fn a_source_that_has_logged_in_at_one_server_gets_in_at_the_other_while_the_user_is_blocked() {
    let mut pair = Pair::with(&["--user-failures", "8/600s"]);
    assert_eq!(pair.servers[0].login(&["userone", "passwordone"]), welcome());
    (0..4).for_each(|_| pair.carry());
    // Half of the failures that are allowed, and the one that is too many.
    for number in 0..5 {
        assert_eq!(pair.answered(1, 2, &format!("wrong{number}")), Some(REFUSED.to_vec()), "{number}");
    }
    assert_eq!(pair.answered(1, 3, "passwordone"), None);
    assert_eq!(pair.answered(1, 1, "passwordone"), Some(WELCOME.to_vec()));
}

#[test]
fn whatever_a_caller_sends_or_does_not_send_the_next_one_is_answered() {
    let folder = ClusterFolder::with(&line(LONG_AGO, "A"));
    let (mut server, socket) = (serve(&folder, "a", &[]), socket(&folder, "a"));
    let random: Vec<u8> = (0..MESSAGE_MAX).map(|number| ((number * 7919) >> 3) as u8).collect();
    let (random, piece) = (&random[..], &random[..1]);
    for said in [&[][..], &[&random[..0]], &[random], &[random, piece]] {
        let reply = tell(&socket, said);
        assert!((60..=MESSAGE_MAX).contains(&reply.len()), "{}", reply.len());
    }
    logged(&mut server, "1 messages of other servers cannot be read");
    // Too much, half of a length, and a caller who leaves at once.
    let mut flood = UnixStream::connect(&socket).unwrap();
    let piece = vec![0; 1 << 20];
    let flooded = (0..16).try_for_each(|_| flood.write_all(&piece));
    assert!(
        flooded
            .is_err_and(|error| [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()))
    );
    let mut half = UnixStream::connect(&socket).unwrap();
    half.write_all(b"\0\0").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    drop(UnixStream::connect(&socket).unwrap());
    // One who says nothing is cut off after a second.
    let _silent = UnixStream::connect(&socket).unwrap();
    assert!(!tell(&socket, &[]).is_empty());
}

#[test]
fn failures_are_counted_together_only_where_users_are_counted_and_keys_shared() {
    let folder = ClusterFolder::with(&line(LONG_AGO, "A"));
    let (key, socket) = (folder.path(), socket(&folder, "a"));
    let (key, socket) = (key.to_str().unwrap(), socket.to_str().unwrap());
    let refused = |more: &[&str]| {
        let options = ["127.0.0.1:0", "--users", SAMPLES, "--exchange", socket];
        Server::refusal(Udp, &[&options[..], more].concat())
    };
    let ended = refused(&[]);
    assert!(ended.status == 2 && ended.stderr.contains("--cluster-key"), "{ended:?}");
    let ended = refused(&["--cluster-key", key, "--user-failures", "off"]);
    assert!(ended.status == 2 && ended.stderr.contains("leave out one of them"), "{ended:?}");
    let ended = Server::refusal(Udp, &["--service", "md5", "--cluster-key", key, "--exchange", socket]);
    assert!(ended.status == 2 && ended.stderr.contains("for auth"), "{ended:?}");
}

#[test]
fn the_socket_is_for_owner_and_group_and_one_of_a_server_that_is_gone_is_replaced() {
    let folder = ClusterFolder::with(&line(LONG_AGO, "A"));
    let path = socket(&folder, "a");
    let server = serve(&folder, "a", &[]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let refusal = |name: &str| {
        let key = folder.path();
        let socket = socket(&folder, name);
        let options =
            ["127.0.0.1:0", "--cluster-key", key.to_str().unwrap(), "--exchange", socket.to_str().unwrap()];
        let ended = Server::refusal(Udp, &[&options[..], &["--users", SAMPLES]].concat());
        (ended.status, ended.stderr)
    };
    let (status, stderr) = refusal("a");
    assert!(status == 3 && stderr.contains("another server or file is there"), "{stderr}");
    drop(server);
    drop(serve(&folder, "a", &[]));
    File::create(socket(&folder, "file")).unwrap();
    let (status, stderr) = refusal("file");
    assert!(status == 3 && stderr.contains("another server or file is there"), "{stderr}");
    let (status, stderr) = refusal("missing/a");
    assert!(status == 3 && stderr.contains("create the folder"), "{stderr}");
}

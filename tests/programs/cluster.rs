//! Servers that share keys: a login over UDP may begin at one and end at another.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use proto::server::keyring::Keyring;
use proto::transport::Transport::{Tcp, Udp};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;
use users::parse_cluster_keys;

use crate::monitoring::{get, http_address, metric};
use crate::opaque_logins::Site;
use crate::peers::{OLD_REQUEST, REFUSED, REQUEST, WELCOME, answer, echoing_answer, receive, udp_socket};
use crate::reloads::logged;
use crate::running::{Ended, SAMPLES, Server, letmein, refused, run, server, welcome};

/// A key and when it takes effect; each letter is another one.
pub(crate) fn line(from: &str, letter: &str) -> String {
    format!("{from} {}\n", letter.repeat(43))
}

pub(crate) const LONG_AGO: &str = "2020-01-01T00:00:00Z";
const FAR_OFF: &str = "2090-01-01T00:00:00Z";

/// What a key is known by.
fn id(line: &str) -> String {
    Keyring::new(parse_cluster_keys(line).unwrap(), None).ids()[0].1.to_string()
}

/// A folder with a file of cluster keys in it.
pub(crate) struct ClusterFolder(TempDir);

impl ClusterFolder {
    pub(crate) fn with(lines: &str) -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.replace(lines);
        folder
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("cluster.key")
    }

    /// As tools do it: a new file in the place of the old one.
    fn replace(&self, lines: &str) {
        let new = self.0.path().join(".new");
        fs::write(&new, lines).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    /// A server with the samples.
    pub(crate) fn serve(&self, more: &[&str]) -> Server {
        let path = self.path();
        let args = ["127.0.0.1:0", "--users", SAMPLES, "--cluster-key", path.to_str().unwrap()];
        Server::start(Udp, &[&args, more].concat())
    }
}

fn said_back(socket: &UdpSocket, server: &Server, datagram: &[u8]) -> Vec<u8> {
    socket.send_to(datagram, server.address).unwrap();
    receive(socket).1
}

/// Two servers behind one address, which any datagram may come to.
struct Spray {
    client_side: UdpSocket,
    server_side: UdpSocket,
    servers: [SocketAddr; 2],
    random: SmallRng,
}

impl Spray {
    fn over(servers: [&Server; 2], seed: u64) -> Self {
        let (client_side, server_side) = (udp_socket(), udp_socket());
        for socket in [&client_side, &server_side] {
            socket.set_nonblocking(true).unwrap();
        }
        let servers = servers.map(|server| server.address);
        Self { client_side, server_side, servers, random: SmallRng::seed_from_u64(seed) }
    }

    fn address(&self) -> String {
        self.client_side.local_addr().unwrap().to_string()
    }

    /// Carries the datagrams of a client until it has ended.
    fn carry(&mut self, mut client: Child) -> Ended {
        let mut client_address = None;
        let mut buffer = [0; 1024];
        while client.try_wait().unwrap().is_none() {
            let mut sockets =
                [&self.client_side, &self.server_side].map(|socket| PollFd::new(socket, PollFlags::IN));
            // From time to time it is seen whether the client has ended.
            let wait = Timespec::try_from(Duration::from_millis(20)).unwrap();
            let _ = poll(&mut sockets, Some(&wait));
            while let Ok((len, from)) = self.client_side.recv_from(&mut buffer) {
                client_address = Some(from);
                let server = self.servers[self.random.random_range(0..2)];
                self.server_side.send_to(&buffer[..len], server).unwrap();
            }
            while let Ok((len, _)) = self.server_side.recv_from(&mut buffer) {
                // A client that has ended hears no more.
                if let Some(client) = client_address {
                    self.client_side.send_to(&buffer[..len], client).unwrap();
                }
            }
        }
        client.wait_with_output().unwrap().into()
    }
}

#[test]
fn an_answer_is_good_at_a_server_that_did_not_issue_its_challenge() {
    let folder = ClusterFolder::with(&line(LONG_AGO, "A"));
    let [one, other] = [(); 2].map(|()| folder.serve(&[]));
    let alone = Server::udp();
    let socket = udp_socket();
    let challenge = said_back(&socket, &one, REQUEST);
    assert_eq!(said_back(&socket, &other, &echoing_answer("userone", "passwordone", &challenge)), WELCOME);
    assert_eq!(said_back(&socket, &other, &answer("userone", "wrong", &challenge)), REFUSED);
    assert_eq!(said_back(&socket, &alone, &answer("userone", "passwordone", &challenge)), REFUSED);
    // The first clients do not carry it back, and no server knows for which verdict another has issued it.
    let challenge = said_back(&socket, &one, OLD_REQUEST);
    assert_eq!(said_back(&socket, &other, &answer("userone", "passwordone", &challenge)), b"Y");
}

/// Whether a server has ever found a challenge that it did not know, or a state.
fn has_renewed(http: SocketAddr) -> bool {
    metric(http, "letmein_challenges_total{cause=\"old_answer\"}") > 0.0
}

#[test]
fn the_client_logs_in_as_at_one_server_by_either_mechanism() {
    let (folder, site) = (ClusterFolder::with(&line(LONG_AGO, "A")), Site::new());
    let path = folder.path();
    let args = ["--cluster-key", path.to_str().unwrap(), "--http", "127.0.0.1:0", "--failures", "off"];
    let mut servers = [(); 2].map(|()| site.serve_with(Udp, &args));
    let http = servers.each_mut().map(http_address);
    for seed in 0..10 {
        for (mechanism, user) in [("md5", "carol"), ("opaque", "alice")] {
            for (password, ended) in [("right", welcome()), ("wrong", refused())] {
                let mut spray = Spray::over([&servers[0], &servers[1]], seed);
                let args = ["--mechanism", mechanism, &*spray.address(), user, password];
                assert_eq!(
                    spray.carry(letmein().args(args).spawn().unwrap()),
                    ended,
                    "{mechanism} {password}"
                );
            }
        }
    }
    assert_eq!(http.map(has_renewed), [false; 2]);
}

#[test]
fn a_key_for_later_is_read_while_a_server_runs_and_a_bad_file_changes_nothing() {
    let (present, later) = (line(LONG_AGO, "A"), line(FAR_OFF, "E"));
    let folder = ClusterFolder::with(&present);
    let [mut server, other] = [(); 2].map(|()| folder.serve(&[]));
    let known = logged(&mut server, "keys of the cluster");
    assert!(known.ends_with(&format!("keys of the cluster: {} active", id(&present))), "{known}");
    folder.replace(&format!("# soon\n{present}{later}"));
    let known = logged(&mut server, "keys of the cluster");
    let both = format!("keys of the cluster: {} active, {} from {FAR_OFF}", id(&present), id(&later));
    assert!(known.ends_with(&both), "{known}");
    folder.replace(&format!("{present}soon {}\n", "E".repeat(43)));
    let wrong = logged(&mut server, "cluster.key:2:1: the line begins with no second of UTC");
    assert!(!wrong.contains(&"E".repeat(43)), "{wrong}");
    logged(&mut server, "keeping the old users (1 failed reload)");
    let socket = udp_socket();
    let challenge = said_back(&socket, &other, REQUEST);
    assert_eq!(said_back(&socket, &server, &echoing_answer("userone", "passwordone", &challenge)), WELCOME);
}

#[test]
fn a_server_whose_keys_are_not_active_yet_says_so_and_serves_alone() {
    let folder = ClusterFolder::with(&line(FAR_OFF, "A"));
    let mut server = folder.serve(&["--http", "127.0.0.1:0"]);
    let http = http_address(&mut server);
    logged(&mut server, "no key of the cluster is active yet, so other servers do not accept");
    // The others have the same file, and would be as good.
    assert_eq!(get(http, "/healthz", "").1, "ok\n");
    assert_eq!(metric(http, "letmein_cluster_keys_in_use"), 0.0);
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    folder.replace(&line(LONG_AGO, "A"));
    logged(&mut server, "other servers accept the challenges of this one again");
    assert_eq!(metric(http, "letmein_cluster_keys_in_use"), 1.0);
    assert!(metric(http, "letmein_clock_seconds") > 1.7e9);
}

#[test]
fn a_file_that_cannot_be_used_keeps_a_server_from_starting() {
    let folder = ClusterFolder::with("");
    let refusal = || {
        let path = folder.path();
        let args = ["127.0.0.1:0", "--users", SAMPLES, "--cluster-key", path.to_str().unwrap()];
        let ended = Server::refusal(Udp, &args);
        assert_eq!((ended.status, &*ended.stdout), (2, ""));
        ended.stderr.replace(folder.0.path().to_str().unwrap(), "DIR")
    };
    assert_eq!(
        refusal(),
        "server-udp: DIR/cluster.key:1:1: no key in it: letmein-users keys add makes one\n"
    );
    fs::set_permissions(folder.path(), Permissions::from_mode(0o602)).unwrap();
    let open = "writable by everybody, who could forge addresses: chmod o-w the file";
    assert_eq!(refusal(), format!("server-udp: DIR/cluster.key: {open}\n"));
    fs::remove_file(folder.path()).unwrap();
    let missing = "DIR/cluster.key: No such file or directory (os error 2): copy it from another server of the cluster, \
                   or make it with letmein-users keys add --cluster-key DIR/cluster.key";
    assert_eq!(refusal(), format!("server-udp: {missing}\n"));
}

#[test]
fn keys_that_others_can_read_are_warned_of_and_check_tells_their_file() {
    let folder = ClusterFolder::with(&line(LONG_AGO, "A"));
    fs::set_permissions(folder.path(), Permissions::from_mode(0o604)).unwrap();
    let path = folder.path();
    let args = ["--check", "--users", SAMPLES, "--cluster-key", path.to_str().unwrap()];
    for transport in [Udp, Tcp] {
        let ended = run(server(transport).args(args));
        assert!(
            ended.stderr.contains("others can read the keys in it, and forge addresses"),
            "{}",
            ended.stderr
        );
        let setting = ended.stdout.lines().find(|line| line.starts_with("keys of the cluster ")).unwrap();
        assert!(setting.ends_with(path.to_str().unwrap()), "{setting}");
    }
}

//! The line that a server writes for each decision.

mod links;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::iter;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use proto::transport::Transport::{self, Tcp, Udp};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::opaque_logins::Site;
use crate::peers::{
    REFUSED, REQUEST, WELCOME, answer, ask, echoing_answer, tcp_peer, udp_peer, uninterrupted,
};
use crate::reloads::logged;
use crate::running::{Ended, SAMPLES, Server, TRANSPORTS, bench, path, refused, run, users_file, welcome};

struct Audit(TempDir);

impl Audit {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("audit.jsonl")
    }

    fn server(&self, transport: Transport, more: &[&str]) -> Server {
        let path = self.path();
        let audit = ["127.0.0.1:0", "--users", SAMPLES, "--audit", path.to_str().unwrap()];
        Server::start(transport, &[&audit, more].concat())
    }

    /// What a server has written that has ended.
    fn lines(&self) -> Vec<Value> {
        fs::read_to_string(self.path())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Waits until a line is in the file: it is written after its login has been answered.
pub(crate) fn written(path: &Path, words: &str) {
    let is_there = || {
        thread::yield_now();
        fs::read_to_string(path).is_ok_and(|text| text.contains(words))
    };
    assert!(iter::repeat_with(is_there).take(1_000_000).any(|is_there| is_there), "{words}");
}

/// How many lines are told to be missing.
fn sum(lines: &[Value], kind: &str) -> u64 {
    lines.iter().filter_map(|line| line[kind].as_u64()).sum()
}

/// A line without what differs from run to run.
fn timeless(line: &Value) -> Value {
    let mut line = line.clone();
    let fields = line.as_object_mut().unwrap();
    let time = fields.remove("time").unwrap();
    assert!(time.as_str().unwrap().len() == "2026-01-01T00:00:00Z".len(), "{time}");
    assert!(fields.remove("port").unwrap().is_number());
    line
}

#[test]
fn every_decision_has_a_line_and_no_line_has_a_name_that_nobody_has() {
    for (transport, carrier) in [(Udp, "udp"), (Tcp, "tcp")] {
        let audit = Audit::new();
        let server = audit.server(transport, &[]);
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        assert_eq!(server.login(&["userone", "wrong"]), refused());
        assert_eq!(server.login(&["mysecret", "wrong"]), refused());
        server.stop(libc::SIGTERM);
        let lines: Vec<Value> = audit.lines().iter().map(timeless).collect();
        let line = |verdict| json!({"source": "127.0.0.1", "transport": carrier, "mechanism": "md5", "verdict": verdict, "proven": true, "duplicate": false});
        let with = |mut line: Value, more: &[(&str, &str)]| {
            more.iter().for_each(|(key, value)| line[*key] = json!(value));
            line
        };
        let unknown = lines[2]["unknown_user"].as_str().unwrap();
        assert!(unknown.len() == "#00000000".len(), "{unknown}");
        assert_eq!(
            lines,
            [
                with(line("welcome"), &[("user", "userone")]),
                with(line("refused"), &[("user", "userone"), ("reason", "wrong password")]),
                with(line("refused"), &[("unknown_user", unknown), ("reason", "unknown user")]),
            ]
        );
    }
}

#[test]
fn an_address_without_guesses_by_opaque_is_told_from_one_that_is_blocked() {
    let site = Site::new();
    for transport in TRANSPORTS {
        let audit = Audit::new();
        let path = audit.path();
        let limits = ["--guesses", "1/600s", "--audit", path.to_str().unwrap()];
        let server = site.serve_with(transport, &limits);
        let by_opaque = ["--mechanism", "opaque"];
        assert_eq!(site.login(&server, &[&["alice", "wrong"], &by_opaque[..]].concat()), refused());
        let right = ["alice", "right", "--timeout", "3"];
        assert_eq!(site.login(&server, &[&right, &by_opaque[..]].concat()).status, 3);
        server.stop(libc::SIGTERM);
        let mut told: Vec<_> = audit.lines().iter().map(|line| line["reason"].clone()).collect();
        told.dedup();
        assert_eq!(told, ["wrong password", "the address has no guesses left"]);
    }
}

#[test]
fn a_login_with_an_old_password_is_marked() {
    for transport in [Udp, Tcp] {
        let audit = Audit::new();
        let users = users_file(
            "[users]\nalice = { password = 'new', old_password = 'old', old_until = 2099-12-31 }\n",
        );
        let audited = audit.path();
        let args = ["127.0.0.1:0", "--users", path(&users), "--audit", audited.to_str().unwrap()];
        let server = Server::start(transport, &args);
        for password in ["new", "old"] {
            assert_eq!(server.login(&["alice", password]), welcome());
        }
        server.stop(libc::SIGTERM);
        let told: Vec<_> = audit.lines().iter().map(|line| line["password"].clone()).collect();
        assert_eq!(told, [Value::Null, json!("old")]);
    }
}

#[test]
fn answers_that_anybody_may_have_forged_are_told_apart_and_repeats_are_marked() {
    let audit = Audit::new();
    let server = audit.server(Udp, &["--failures", "1/60s"]);
    let peer = udp_peer(&server);
    let challenge = ask(&peer, REQUEST);
    let login = answer("userone", "passwordone", &challenge);
    assert_eq!([ask(&peer, &login), ask(&peer, &login)], [WELCOME, WELCOME]);
    assert_eq!(ask(&peer, &answer("userone", "wrong1", &challenge)), REFUSED);
    assert_eq!(ask(&peer, &answer("userone", "wrong2", &challenge)), REFUSED);
    peer.send(&answer("userone", "wrong3", &challenge)).unwrap();
    // Once the next request has been answered, so has all before it.
    ask(&peer, REQUEST);
    server.stop(libc::SIGTERM);
    let lines = audit.lines();
    let told = |key: &str| lines.iter().map(|line| line[key].clone()).collect::<Vec<_>>();
    assert_eq!(told("verdict"), ["welcome", "welcome", "refused", "refused", "silence"]);
    assert_eq!(told("duplicate"), [false, true, false, false, false]);
    assert_eq!(told("proven"), [json!(true), json!(true), json!(false), json!(false), Value::Null]);
}

#[test]
fn a_file_that_was_moved_away_is_reopened_on_a_hangup() {
    for sandbox in ["on", "off"] {
        let audit = Audit::new();
        let mut server = audit.server(Udp, &["--sandbox", sandbox]);
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        written(&audit.path(), "userone");
        let rotated = audit.0.path().join("audit.jsonl.1");
        fs::rename(audit.path(), &rotated).unwrap();
        server.signal(libc::SIGHUP);
        logged(&mut server, "reopened");
        assert_eq!(server.login(&["usertwo", "passwordtwo"]), welcome());
        server.stop(libc::SIGTERM);
        assert!(fs::read_to_string(&rotated).unwrap().contains("userone"));
        assert_eq!(audit.lines().iter().map(|line| line["user"].clone()).collect::<Vec<_>>(), ["usertwo"]);
    }
}

#[test]
fn every_login_of_a_run_has_its_line_or_is_counted_as_missing() {
    for transport in TRANSPORTS {
        let audit = Audit::new();
        let server = audit.server(transport, &["--user-failures", "off"]);
        let name = transport.to_string().to_lowercase();
        let address = server.address.to_string();
        let args = [&*name, &address, "--users", SAMPLES, "--duration", "0.5", "--json"];
        let Ended { status, stdout, .. } = run(bench().args(args));
        assert_eq!(status, 0, "{stdout}");
        server.stop(libc::SIGTERM);
        let made: Value = serde_json::from_str(&stdout).unwrap();
        let logins = made["server"]["logins"].as_u64().unwrap();
        let lines = audit.lines();
        let missing: u64 = ["lost", "left_out"].iter().map(|kind| sum(&lines, kind)).sum();
        let written =
            lines.iter().filter(|line| line["verdict"] == "welcome" && line["duplicate"] == false).count();
        assert!(
            logins > 0 && written as u64 + missing >= logins,
            "{logins} logins, {written} lines, {missing} missing"
        );
        assert!(written <= 3 * 1000, "{written} lines for three users");
    }
}

#[test]
fn lines_can_go_to_standard_output() {
    let server = Server::start(Udp, &["127.0.0.1:0", "--users", SAMPLES, "--audit", "-"]);
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    let Ended { stdout, .. } = server.stop(libc::SIGTERM);
    let line: Value = serde_json::from_str(stdout.trim()).unwrap();
    assert_eq!((&line["verdict"], &line["user"]), (&json!("welcome"), &json!("userone")));
}

#[test]
fn an_audit_that_cannot_be_written_is_status_3_and_names_its_place() {
    for place in ["/nonexistent/audit", "/proc/audit", "/"] {
        let ended = Server::refusal(Udp, &["127.0.0.1:0", "--users", SAMPLES, "--audit", place]);
        assert_eq!(ended.status, 3, "{ended:?}");
        assert!(ended.stderr.contains(&format!("audit: {place}: ")), "{ended:?}");
        let remedy = ": create the folder /nonexistent, and let the server's user write there\n";
        assert_eq!(ended.stderr.ends_with(remedy), place == "/nonexistent/audit", "{ended:?}");
    }
}

/// One right answer, heard on the wire and sent again and again, or one source that goes on though it is not heard.
#[test]
fn what_is_said_again_and_again_has_so_many_lines_a_second() {
    let audit = Audit::new();
    let server = audit.server(Udp, &["--failures", "1/60s"]);
    let peer = udp_peer(&server);
    let challenge = ask(&peer, REQUEST);
    let login = echoing_answer("userone", "passwordone", &challenge);
    for _ in 0..3000 {
        assert_eq!(ask(&peer, &login), WELCOME);
    }
    server.stop(libc::SIGTERM);
    let lines = audit.lines();
    let written = lines.iter().filter(|line| line["verdict"] == "welcome").count();
    assert_eq!(written as u64 + sum(&lines, "left_out"), 3000);
    assert!(written <= 101, "{written} lines of one source");
    assert_eq!(lines[0]["duplicate"], false);
}

/// Answers that prove no address, from 64 of them, until they are to end. The one worker has read all but the last 64,
/// so it loses no datagrams.
fn forge(server: &Server, is_over: &AtomicBool) {
    let bind = |host| UdpSocket::bind(SocketAddr::from(([127, 1, 0, host], 0))).unwrap();
    let sockets: Vec<_> = (1..=64).map(bind).collect();
    let pace = impatient_peer(server, 1);
    // It also ends if the test fails.
    for number in 0..100_000 {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        for socket in &sockets {
            let forged = answer("userone", &format!("forged{number}"), b"0123456789abcdef");
            socket.send_to(&forged, server.address).unwrap();
        }
        insist(&pace, REQUEST, |reply| reply.len() == 16);
    }
}

/// A socket of 127.0.0.x that does not wait for long.
fn impatient_peer(server: &Server, host: u8) -> UdpSocket {
    let peer = UdpSocket::bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
    peer.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    peer.connect(server.address).unwrap();
    peer
}

/// Sends a datagram again and again until such a reply comes.
fn insist(peer: &UdpSocket, datagram: &[u8], is_reply: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut reply = [0; 64];
    loop {
        peer.send(datagram).unwrap();
        if let Ok(len) = uninterrupted(|| peer.recv(&mut reply))
            && is_reply(&reply[..len])
        {
            return reply[..len].to_vec();
        }
    }
}

/// Fails once with a proven address, for a name that nobody has.
fn fail(server: &Server, host: u8, name: &str) {
    let peer = impatient_peer(server, host);
    let challenge = insist(&peer, REQUEST, |reply| reply.len() == 16);
    insist(&peer, &echoing_answer(name, "wrong", &challenge), |reply| reply == REFUSED);
}

#[test]
fn every_proven_failure_has_its_line_beside_a_flood_of_forged_ones() {
    let audit = Audit::new();
    let server = audit.server(Udp, &["--workers", "1", "--log-unknown-names", "--trust", "127.1.0.0/24"]);
    let names: BTreeSet<_> =
        (2..10).flat_map(|host| (0..9).map(move |number| (host, format!("guess{host}-{number}")))).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| forge(&server, &is_over));
        written(&audit.path(), r#""proven":false"#);
        names.iter().for_each(|(host, name)| fail(&server, *host, name));
        is_over.store(true, Ordering::Relaxed);
    });
    server.stop(libc::SIGTERM);
    let lines = audit.lines();
    let proven = lines.iter().filter(|line| line["proven"] == true);
    let written: BTreeSet<_> = proven.map(|line| line["unknown_user"].as_str().unwrap()).collect();
    assert_eq!(written, names.iter().map(|(_, name)| &**name).collect());
    assert!(sum(&lines, "left_out") > 0, "no more was forged than has its lines");
}

#[test]
fn a_connection_of_a_source_that_is_not_heard_has_its_line() {
    let audit = Audit::new();
    let server = audit.server(Tcp, &["--failures", "1/60s"]);
    for password in ["wrong1", "wrong2"] {
        assert_eq!(server.login(&["userone", password]), refused());
    }
    assert_eq!(uninterrupted(|| tcp_peer(&server).read(&mut [0])).unwrap(), 0);
    server.stop(libc::SIGTERM);
    assert_eq!(audit.lines().last().unwrap()["verdict"], "silence");
}

#[test]
fn a_full_disk_is_told_once_and_what_it_costs_when_it_ends() {
    let server = Server::start(Udp, &["127.0.0.1:0", "--users", SAMPLES, "--audit", "/dev/full"]);
    for _ in 0..3 {
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    }
    let Ended { stderr, .. } = server.stop(libc::SIGTERM);
    assert_eq!(stderr.matches("audit: /dev/full: No space left on device").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("audit: 3 lines lost").count(), 1, "{stderr}");
}

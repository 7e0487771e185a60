//! What those see who watch a server over HTTP, and what strangers at that port cannot do.

mod prometheus;

use server::settings;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use proto::transport::Transport::{self, Tcp, Udp};
use serde_json::{Value, json};
use socket2::SockRef;

use crate::opaque_logins::Site;
use crate::peers::{REFUSED, REQUEST, WELCOME, ask, echoing_answer, tcp_peer, uninterrupted};
use crate::reloads::logged;
use crate::running::{
    SAMPLES, Server, TRANSPORTS, path, refused, run, server as program, users_file, welcome,
};
use crate::streams::{challenge, rest};

/// A server with the samples, and where it shows its numbers.
pub(crate) fn watched(transport: Transport, more: &[&str]) -> (Server, SocketAddr) {
    watched_with(transport, SAMPLES, more)
}

/// The same with other users.
pub(crate) fn watched_with(transport: Transport, users: &str, more: &[&str]) -> (Server, SocketAddr) {
    let args = ["127.0.0.1:0", "--users", users, "--http", "127.0.0.1:0"];
    let mut server = Server::start(transport, &[&args, more].concat());
    let address = http_address(&mut server);
    (server, address)
}

/// Where the numbers of a server are, as it says.
pub(crate) fn http_address(server: &mut Server) -> SocketAddr {
    let line = logged(server, "status page and metrics at http://");
    line.rsplit_once("http://").unwrap().1.trim_end_matches('/').parse().unwrap()
}

/// What bytes bring in reply, up to the end. A reset is one.
fn sent(http: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(http);
    let _ = stream.write_all(bytes);
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    String::from_utf8(reply).unwrap()
}

fn connect(http: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// The head and the body of what is at a path.
pub(crate) fn get(http: SocketAddr, path: &str, more: &str) -> (String, String) {
    let reply = sent(http, format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n").as_bytes());
    let (head, body) = reply.split_once("\r\n\r\n").expect("a whole head");
    (head.to_ascii_lowercase(), body.to_owned())
}

pub(crate) fn status(http: SocketAddr) -> Value {
    let (head, body) = get(http, "/status.json", "");
    assert!(head.contains("content-type: application/json"), "{head}");
    serde_json::from_str(&body).unwrap()
}

/// The status once so many logins by OPAQUE had their offers, and so many were refused: a reply is counted after it is
/// sent.
fn status_once(http: SocketAddr, offered: u64, refused: u64) -> Value {
    loop {
        let status = status(http);
        if status["opaque"]["offered"] == offered && status["totals"]["refused"] == refused {
            return status;
        }
    }
}

/// A line of the metrics in the older format.
pub(crate) fn metric(http: SocketAddr, name: &str) -> f64 {
    let (_, text) = get(http, "/metrics", "");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[test]
fn logins_and_refusals_are_counted_by_their_reason_where_the_operator_insists() {
    for transport in TRANSPORTS {
        let (server, http) = watched(transport, &["--http-reasons"]);
        for _ in 0..3 {
            assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        }
        assert_eq!(server.login(&["userone", "wrong"]).status, 1);
        assert_eq!(server.login(&["hunter2secret", "wrong"]).status, 1);
        let status = status(http);
        assert_eq!(status["server"], settings::program(transport));
        assert_eq!(status["address"], server.address.to_string());
        assert_eq!((&status["totals"]["welcomed"], &status["totals"]["refused"]), (&json!(3), &json!(2)));
        assert_eq!(status["totals"]["challenged"], 5);
        assert_eq!(status["refused_by_reason"]["unknown user"], 1);
        assert_eq!(status["refused_by_reason"]["wrong password"], 1);
        assert_eq!(status["reload"], json!({"reloads": 0, "failures": 0, "last": null}));
        assert_eq!(metric(http, "letmein_logins_total{result=\"welcome\"}"), 3.0);
        assert_eq!(metric(http, "letmein_logins_total{result=\"unknown_user\"}"), 1.0);
        let (_, text) = get(http, "/metrics", "");
        for secret in ["userone", "hunter2", "passwordone", "127.0.0.1"] {
            assert!(
                !text.contains(secret) && (secret == "127.0.0.1" || !status.to_string().contains(secret))
            );
        }
    }
}

#[test]
fn logins_by_opaque_are_counted_from_their_begin_to_their_welcome() {
    let site = Site::new();
    for transport in TRANSPORTS {
        let mut server = site.serve_with(transport, &["--http", "127.0.0.1:0"]);
        let http = http_address(&mut server);
        let none = json!({"begun": 0, "crowded": 0, "offered": 0, "welcomed": 0});
        assert_eq!(site.login(&server, &["carol", "right"]), welcome());
        assert_eq!(status(http)["opaque"], none);
        for (user, password) in [("alice", "right"), ("alice", "wrong"), ("nobody", "right")] {
            site.login(&server, &[user, password, "--mechanism", "opaque"]);
        }
        let status = status_once(http, 3, 2);
        assert_eq!(status["opaque"], json!({"begun": 3, "crowded": 0, "offered": 3, "welcomed": 1}));
        assert_eq!(status["totals"]["welcomed"], 2);
    }
}

/// Else whoever reads the numbers could find out names, who logs in from where, and passwords of those who are not let
/// in.
#[test]
fn the_numbers_tell_no_refusal_from_another() {
    let users = users_file(
        "[users]\nalice = 'one'\nbob = {password = 'two', from = ['192.0.2.0/24']}\n\
         carol = {password = 'three', disabled = true}",
    );
    // Refused from two sources, from one of which alice has logged in.
    let numbers_after = |user: &str, password: &str| {
        let (server, http) = watched_with(Udp, path(&users), &["--workers", "1", "--audit", "-"]);
        assert_eq!(server.login(&["alice", "one"]), welcome());
        for source in ["127.0.0.1", "127.0.0.2"] {
            let peer = UdpSocket::bind((source, 0)).unwrap();
            peer.connect(server.address).unwrap();
            let challenge = ask(&peer, REQUEST);
            assert_eq!(ask(&peer, &echoing_answer(user, password, &challenge)), REFUSED);
        }
        let text = metrics_once(http, "letmein_failures_remembered{table=\"sources\"} 2");
        let mut status = status(http);
        for changing in ["address", "doors", "uptime_s", "history"] {
            status[changing].take();
        }
        let changing = ["process_start_time", "letmein_batch"];
        let lines = text.lines().filter(|line| !changing.iter().any(|name| line.contains(name)));
        (lines.map(str::to_owned).collect::<Vec<_>>(), status)
    };
    let of_nobody = numbers_after("nobody", "one");
    assert!(of_nobody.0.contains(&"letmein_logins_total{result=\"refused\"} 2".to_owned()), "{of_nobody:?}");
    for (user, password) in [("alice", "wrong"), ("bob", "wrong"), ("bob", "two"), ("carol", "three")] {
        assert_eq!(numbers_after(user, password), of_nobody, "{user}");
    }
    // Those with a right password have a limit of their own.
    assert!(!of_nobody.0.iter().any(|line| line.contains("reason=\"limit\"")), "{of_nobody:?}");
}

#[test]
fn the_numbers_tell_no_refusal_by_opaque_from_another() {
    let site = Site::new();
    let numbers_after = |user: &str, password: &str| {
        let mut server = site.serve_with(Udp, &["--http", "127.0.0.1:0"]);
        let http = http_address(&mut server);
        assert_eq!(site.login(&server, &[user, password, "--mechanism", "opaque"]), refused());
        let status = status_once(http, 1, 1);
        (status["opaque"].clone(), status["totals"].clone())
    };
    let of_nobody = numbers_after("nobody", "right");
    assert_eq!(of_nobody.0, json!({"begun": 1, "crowded": 0, "offered": 1, "welcomed": 0}));
    for (user, password) in [("alice", "wrong"), ("carol", "right")] {
        assert_eq!(numbers_after(user, password), of_nobody, "{user}");
    }
}

/// The metrics, once they have this line.
fn metrics_once(http: SocketAddr, line: &str) -> String {
    loop {
        let text = get(http, "/metrics", "").1;
        if text.lines().any(|other| other == line) {
            return text;
        }
    }
}

#[test]
fn a_source_that_gets_silence_is_turned_away_over_tcp_and_nobody_loses_a_connection() {
    let (server, http) = watched(Tcp, &["--failures", "1/60s"]);
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    for _ in 0..2 {
        assert_eq!(server.login(&["userone", "wrong"]), refused());
    }
    let mut stream = tcp_peer(&server);
    assert_eq!(uninterrupted(|| stream.read(&mut [0; 1])).unwrap_or(0), 0);
    assert_eq!(metric(http, "letmein_connections_total{result=\"accepted\"}"), 3.0);
    assert_eq!(metric(http, "letmein_connections_total{result=\"turned_away\"}"), 1.0);
    assert_eq!(metric(http, "letmein_connections_lost_total"), 0.0);
}

/// However a client ends when it has its verdict, or was told by silence that it talks nonsense.
#[test]
fn only_a_connection_that_ends_in_the_middle_is_lost() {
    let (server, http) = watched(Tcp, &["--workers", "1"]);
    let begun = || {
        let mut stream = tcp_peer(&server);
        stream.write_all(REQUEST).unwrap();
        let challenge = challenge(&mut stream);
        (stream, echoing_answer("userone", "passwordone", &challenge))
    };
    let welcomed = |behind: &[u8]| {
        let (mut stream, answer) = begun();
        stream.write_all(&[&answer, behind].concat()).unwrap();
        stream
    };
    let keeps_its_end_open = welcomed(b"");
    let ends_at_once = welcomed(b"\r\n");
    ends_at_once.shutdown(Shutdown::Write).unwrap();
    let mut resets = welcomed(b"");
    assert_eq!(rest(&mut resets), WELCOME);
    SockRef::from(&resets).set_linger(Some(Duration::ZERO)).unwrap();
    drop(resets);
    let mut nonsense = tcp_peer(&server);
    nonsense.write_all(&b"nonsense ".repeat(30)).unwrap();
    // Unless the server was quicker.
    let _ = nonsense.shutdown(Shutdown::Write);
    metrics_once(http, "letmein_connections_open 0");
    assert_eq!(metric(http, "letmein_connections_lost_total"), 0.0);
    drop((keeps_its_end_open, ends_at_once, nonsense));

    let (mut stream, answer) = begun();
    stream.write_all(&answer[..10]).unwrap();
    drop(stream);
    metrics_once(http, "letmein_connections_open 0");
    assert_eq!(metric(http, "letmein_connections_lost_total"), 1.0);
}

#[test]
fn a_connection_that_is_open_and_the_time_of_a_login_are_seen_over_tcp() {
    let (server, http) = watched(Tcp, &[]);
    let mut stream = tcp_peer(&server);
    stream.write_all(REQUEST).unwrap();
    challenge(&mut stream);
    assert_eq!(status(http)["limits"][0]["used"], 1);
    assert_eq!(metric(http, "letmein_connections_open"), 1.0);
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    assert_eq!(metric(http, "letmein_login_duration_seconds_count"), 1.0);
    assert_eq!(metric(http, "letmein_login_duration_seconds_bucket{le=\"+Inf\"}"), 1.0);
}

#[test]
fn reloads_and_their_failures_are_seen() {
    let users = users_file("[users]\nalice = 'one'");
    let (mut server, http) = watched_with(Udp, path(&users), &[]);
    std::fs::write(users.path(), "nonsense").unwrap();
    server.signal(libc::SIGHUP);
    logged(&mut server, "keeping the old users");
    let status = status(http);
    assert!(status["reload"]["failures"].as_u64() >= Some(1) && status["users"] == 1, "{status}");
    assert_eq!(status["reload"]["last"]["is_ok"], false);
    assert_eq!(metric(http, "letmein_last_reload_successful"), 0.0);
}

#[test]
fn a_server_is_healthy_until_it_stops_and_says_that_it_does() {
    let (mut server, http) = watched(Tcp, &[]);
    assert!(get(http, "/healthz", "").0.starts_with("http/1.1 200") && get(http, "/healthz", "").1 == "ok\n");
    let mut stream = tcp_peer(&server);
    stream.write_all(REQUEST).unwrap();
    challenge(&mut stream);
    server.signal(libc::SIGTERM);
    logged(&mut server, "SIGTERM: stopping");
    // The login in progress keeps it from its end for a while.
    let mut health = get(http, "/healthz", "");
    while health.1 == "ok\n" {
        health = get(http, "/healthz", "");
    }
    assert!(health.0.starts_with("http/1.1 503") && health.1 == "stopping\n", "{health:?}");
    drop(stream);
    assert_eq!(server.end().status, 0);
}

#[test]
fn answers_are_not_kept_and_there_are_no_other_paths_and_methods() {
    let (_server, http) = watched(Udp, &[]);
    for path in ["/metrics", "/healthz", "/status.json"] {
        let (head, body) = get(http, path, "");
        assert!(head.starts_with("http/1.1 200") && !body.is_empty(), "{head}");
        assert!(head.contains("cache-control: no-store") && head.contains("nosniff"), "{head}");
        let head = sent(http, format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    }
    assert!(get(http, "/etc/passwd", "").0.starts_with("http/1.1 404"));
    let reply = sent(http, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").to_lowercase();
    assert!(reply.starts_with("http/1.1 405") && reply.contains("allow: get, head"), "{reply}");
}

#[test]
fn a_port_that_is_taken_is_told_with_the_option_and_the_remedy() {
    let (_server, http) = watched(Udp, &[]);
    let args = ["127.0.0.1:0", "--users", SAMPLES, "--http", &http.to_string()];
    let ended = Server::refusal(Udp, &args);
    assert_eq!(ended.status, 3);
    assert!(ended.stderr.contains(&format!("--http {http}: ")) && ended.stderr.contains("port that is free"));
}

#[test]
fn an_address_that_others_reach_is_warned_of_and_small_services_have_no_monitoring() {
    let mut server = Server::start(Udp, &["127.0.0.1:0", "--users", SAMPLES, "--http", "0.0.0.0:0"]);
    logged(&mut server, "WARN HTTP: other machines can read the numbers");
    let ended = run(program(Udp).args(["--service", "md5", "--http", "127.0.0.1:0"]));
    assert!(ended.status == 2 && ended.stderr.contains("--http is for auth"), "{ended:?}");
    let asked = |option: &str| {
        run(program(Udp).args(["--users", SAMPLES, "--http", "127.0.0.1:9100", "--http-reasons", option]))
    };
    let settings = asked("--check").stdout;
    let told = "127.0.0.1:9100, with reasons of refusals";
    assert!(
        settings.lines().any(|line| line.starts_with("status page and metrics") && line.ends_with(told)),
        "{settings}"
    );
    let limits = asked("--limits").stdout;
    assert!(limits.contains("connections to the status page"), "{limits}");
}

#[test]
fn slow_huge_pipelined_and_garbled_requests_keep_neither_monitors_nor_logins_out() {
    for transport in TRANSPORTS {
        let (server, http) = watched(transport, &[]);
        let slow: Vec<_> = (0..60)
            .map(|_| {
                let mut stream = connect(http);
                let _ = stream.write_all(b"GET /metrics HTT");
                stream
            })
            .collect();
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        assert_eq!(status(http)["totals"]["welcomed"], 1);
        let huge = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 100_000]].concat();
        assert!(!sent(http, &huge).starts_with("HTTP/1.1 200"));
        assert!(!sent(http, b"\x16\x03\x01\x02\x00\r\n\r\n").starts_with("HTTP/1.1 200"));
        let pipelined = sent(http, &b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100));
        assert!(pipelined.matches("HTTP/1.1").count() <= 1, "{pipelined}");
        assert_eq!(get(http, "/healthz", "").1, "ok\n");
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        drop(slow);
        assert_eq!(server.stop(libc::SIGTERM).status, 0);
    }
}

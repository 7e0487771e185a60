//! `letmein-http` as a web server meets it, and as those do who mean it harm.

mod silence;

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::opaque_logins::Site;
use crate::peers::uninterrupted;
use crate::running::{SAMPLES, Server, TRANSPORTS, letmein_http, run};
use proto::transport::Transport::{self, Tcp, Udp};
use rustix::process::{Pid, Signal, kill_process};

/// A gateway that is up; killed when dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Gateway {
    pub(crate) fn to(server: SocketAddr, more: &[&str]) -> Self {
        Self::start(letmein_http().args(["127.0.0.1:0", &server.to_string()]).args(more))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim_end().strip_prefix("HTTP gateway listening on ").expect(&line).parse().unwrap();
        Self { address, child }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// What comes back for these bytes, until the gateway ends the connection.
    fn say(&self, request: &[u8]) -> String {
        let (mut stream, mut reply) = (self.connect(), Vec::new());
        let sent = stream.write_all(request).and_then(|()| stream.read_to_end(&mut reply).map(drop));
        // Who sends more than is read may find the connection reset.
        assert!(sent.as_ref().err().is_none_or(cut_off), "{sent:?}");
        String::from_utf8(reply).unwrap()
    }

    fn get(&self, credentials: &str) -> String {
        self.say(request(credentials).as_bytes())
    }

    /// A connection that has sent this, and whose reply is still to be read.
    fn send(&self, request: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// The status that comes in this time, or a panic.
    fn status_within(&self, time: Duration, request: &str) -> String {
        let stream = self.send(request);
        stream.set_read_timeout(Some(time)).unwrap();
        status(&reply(stream)).to_owned()
    }

    /// Guesses until the service answers this user no more.
    fn silence(&self, user: &str) {
        for guess in 0..=FREE_FAILURES {
            assert_eq!(status(&self.get(&basic(user, &format!("wrong{guess}")))), "401");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of a user, at a service that silences users and not sources.
const FREE_FAILURES: u32 = 1;
/// Less than a login of a silenced user takes.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Less than the time that a request may wait for its turn.
const IN_TIME: Duration = Duration::from_secs(4);

/// userone:passwordone
const RIGHT: &str = "dXNlcm9uZTpwYXNzd29yZG9uZQ==";
/// userone:passwordtwo
const WRONG: &str = "dXNlcm9uZTpwYXNzd29yZHR3bw==";

fn request(credentials: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\r\n")
}

fn basic(user: &str, password: &str) -> String {
    STANDARD.encode(format!("{user}:{password}"))
}

/// All that comes until the end of a connection.
fn reply(mut stream: TcpStream) -> String {
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    reply
}

fn cut_off(error: &io::Error) -> bool {
    [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind())
}

fn status(reply: &str) -> &str {
    reply.split(' ').nth(1).unwrap_or_default()
}

fn over(transport: Transport) -> (Server, Gateway) {
    let server = Server::start(transport, &["127.0.0.1:0", "--users", SAMPLES, "--trust", "127.0.0.1"]);
    let gateway = Gateway::to(server.address, if transport == Tcp { &["--tcp"] } else { &[] });
    (server, gateway)
}

#[test]
fn the_right_password_is_204_and_all_else_is_401_with_a_challenge() {
    for transport in TRANSPORTS {
        let (_server, gateway) = over(transport);
        assert_eq!(status(&gateway.get(RIGHT)), "204");
        for credentials in [WRONG, "", "!!!!", "bm9jb2xvbg==", &"A".repeat(400)] {
            let reply = gateway.get(credentials);
            assert_eq!(status(&reply), "401", "{credentials}: {reply}");
            assert!(
                reply.contains("www-authenticate: Basic realm=\"letmein\", charset=\"UTF-8\"\r\n"),
                "{reply}"
            );
        }
        assert_eq!(status(&gateway.say(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")), "401");
    }
}

/// A service with records, and a gateway to it.
fn with_records(site: &Site, transport: Transport, mechanism: &str) -> (Server, Gateway) {
    let server = site.serve_with(transport, &["--trust", "127.0.0.1"]);
    let tcp: &[&str] = if transport == Tcp { &["--tcp"] } else { &[] };
    let gateway = Gateway::to(server.address, &[tcp, &["--mechanism", mechanism]].concat());
    (server, gateway)
}

#[test]
fn users_with_records_are_let_in_by_opaque_alone() {
    let site = Site::new();
    for transport in TRANSPORTS {
        for (mechanism, user, password, expected) in [
            ("opaque", "alice", "right", "204"),
            ("opaque", "alice", "wrong", "401"),
            ("opaque", "bob", "right", "204"),
            ("opaque", "nobody", "right", "401"),
            ("opaque", "carol", "right", "401"),
            ("md5", "carol", "right", "204"),
            ("md5", "alice", "right", "401"),
        ] {
            let (_server, gateway) = with_records(&site, transport, mechanism);
            let reply = gateway.get(&basic(user, password));
            assert_eq!(status(&reply), expected, "{mechanism} {user} {password}: {reply}");
        }
    }
}

#[test]
fn requests_whose_passwords_are_stretched_wait_for_one_another() {
    let site = Site::new();
    let (_server, gateway) = with_records(&site, Udp, "opaque");
    let page: Vec<_> = (0..6).map(|_| gateway.send(&request(&basic("bob", "right")))).collect();
    for stream in page {
        assert_eq!(status(&reply(stream)), "204");
    }
}

#[test]
fn a_service_that_does_not_know_opaque_is_503() {
    let (server, _) = over(Udp);
    let gateway = Gateway::to(server.address, &["--mechanism", "opaque"]);
    assert_eq!(status(&gateway.get(RIGHT)), "503");
}

#[test]
fn a_service_that_is_not_there_is_503_and_never_a_welcome() {
    for transport in TRANSPORTS {
        let (server, gateway) = over(transport);
        drop(server);
        let reply = gateway.get(RIGHT);
        assert_eq!(status(&reply), "503", "{reply}");
        assert!(reply.contains("retry-after: 5\r\n"), "{reply}");
    }
}

#[test]
fn what_is_no_request_of_a_web_server_is_turned_down() {
    let (_server, gateway) = over(Tcp);
    assert_eq!(
        status(&gateway.say(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")),
        "405"
    );
    assert_eq!(status(&gateway.say(b"\x16\x03\x01 no HTTP\r\n\r\n")), "400");
    let long = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\nAuthorization: Basic {RIGHT}\r\n\r\n",
        "c".repeat(64 << 10)
    );
    assert!(["431", ""].contains(&status(&gateway.say(long.as_bytes()))));
    let twice = request(RIGHT).repeat(2);
    assert_eq!(gateway.say(twice.as_bytes()).matches("HTTP/1.1 ").count(), 1);
    assert_eq!(status(&gateway.get(RIGHT)), "204");
}

#[test]
fn who_comes_while_it_stops_is_told_at_once() {
    let (_server, mut gateway) = over(Tcp);
    let mut unfinished = gateway.connect();
    unfinished.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    assert_eq!(status(&gateway.get(RIGHT)), "204");
    kill_process(Pid::from_child(&gateway.child), Signal::TERM).unwrap();
    while TcpStream::connect(gateway.address).is_ok() {}
    assert!(gateway.child.try_wait().unwrap().is_none(), "it waits for the one that is not done");
    assert!(gateway.child.wait().unwrap().success());
}

#[test]
fn a_service_that_cannot_be_there_is_refused_at_the_start() {
    for service in ["127.0.0.1:0", "[fe80::1%1]:8591", "localhost:8591", "8591"] {
        let ended = run(letmein_http().args(["127.0.0.1:0", service]));
        assert_eq!(ended.status, 2, "{ended:?}");
        assert!(ended.stderr.contains(service), "{ended:?}");
    }
    let ended = run(letmein_http().args(["127.0.0.1:0", "0.0.0.0:8591"]));
    assert!(ended.status == 2 && ended.stderr.contains("0.0.0.0 is only for listening: give"), "{ended:?}");
}

#[test]
fn who_never_ends_a_request_is_cut_off() {
    let (_server, gateway) = over(Tcp);
    let mut slow = gateway.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    assert_eq!(uninterrupted(|| slow.read(&mut [0; 16])).unwrap(), 0);
}

#[test]
fn whoever_sends_a_request_does_not_wait_for_those_who_do_not() {
    let (_server, gateway) = over(Tcp);
    let mut silent: Vec<_> = (0..600).map(|_| gateway.connect()).collect();
    for stream in &mut silent {
        let sent = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n");
        assert!(sent.as_ref().err().is_none_or(cut_off), "{sent:?}");
    }
    let mut newcomer = gateway.connect();
    // Less than the 5 s after which those would have to go.
    newcomer.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    newcomer.write_all(request(RIGHT).as_bytes()).unwrap();
    let mut reply = String::new();
    newcomer.read_to_string(&mut reply).expect("a reply");
    assert_eq!(status(&reply), "204");
    // Those who came last are still heard.
    let last = silent.last_mut().unwrap();
    last.write_all(b"\r\n").unwrap();
    let mut reply = String::new();
    last.read_to_string(&mut reply).unwrap();
    assert_eq!(status(&reply), "401");
}

#[test]
fn passwords_in_plain_from_other_machines_are_refused_unless_somebody_insists() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let ended = run(letmein_http().args([address, "127.0.0.1:8591"]));
        assert_eq!(ended.status, 2, "{ended:?}");
        assert!(ended.stderr.contains("insist with --insecure-listen"), "{ended:?}");
    }
}

/// A service that soon silences users, and a gateway to it.
fn with_silence(transport: Transport, more: &[&str]) -> (Server, Gateway) {
    let budgets = ["--failures", "off", "--user-failures", "1/60s"];
    let server = Server::start(transport, &[&["127.0.0.1:0", "--users", SAMPLES], &budgets[..]].concat());
    let tcp: &[&str] = if transport == Tcp { &["--tcp"] } else { &[] };
    let gateway = Gateway::to(server.address, &[tcp, more].concat());
    (server, gateway)
}

#[test]
fn all_requests_of_a_large_page_are_answered() {
    for transport in TRANSPORTS {
        let (_server, gateway) = over(transport);
        let page: Vec<_> = (0..60).map(|_| gateway.send(&request(RIGHT))).collect();
        for stream in page {
            assert_eq!(status(&reply(stream)), "204");
        }
    }
}

/// A request with more lines in its head.
fn request_with(lines: &str, credentials: &str) -> String {
    request(credentials).replace("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"))
}

#[test]
fn only_the_hosts_that_it_answers_for_are_asked_for_a_login() {
    let (_server, gateway) = with_silence(Udp, &["--host", "auth.internal", "--host", "192.0.2.7"]);
    let own = gateway.address.to_string();
    for host in ["localhost", "127.0.0.1", &own, "[::1]:8592", "AUTH.internal:80", "192.0.2.7:8592"] {
        assert_eq!(
            status(&gateway.say(request(RIGHT).replace("localhost", host).as_bytes())),
            "204",
            "{host}"
        );
    }
    // More than are free: none of them is a login.
    for _ in 0..2 * FREE_FAILURES {
        let rebound = request(&basic("userone", "wrong")).replace("localhost", "rebound.example");
        assert_eq!(status(&gateway.say(rebound.as_bytes())), "421");
    }
    let old = format!("GET / HTTP/1.0\r\nAuthorization: Basic {RIGHT}\r\n\r\n");
    assert_eq!(status(&gateway.say(old.as_bytes())), "204");
    assert_eq!(status(&gateway.say(old.replace("1.0", "1.1").as_bytes())), "421");
    assert_eq!(status(&gateway.say(request_with("Host: localhost", RIGHT).as_bytes())), "421");
}

#[test]
fn a_host_that_it_does_not_answer_for_is_logged() {
    let mut command = letmein_http();
    command.args(["0.0.0.0:0", "127.0.0.1:8591", "--insecure-listen"]).stderr(Stdio::piped());
    let mut gateway = Gateway::start(&mut command);
    let rebound = request(RIGHT).replace("localhost", "rebound.example");
    assert_eq!(status(&gateway.say(rebound.as_bytes())), "421");
    kill_process(Pid::from_child(&gateway.child), Signal::TERM).unwrap();
    let mut log = String::new();
    gateway.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("other machines get 421 for each request"), "{log}");
    assert!(log.contains("the host \"rebound.example\": see --host"), "{log}");
}

#[test]
fn options_that_make_no_sense_are_refused_at_the_start() {
    for (more, reason) in [
        (&["--udp", "--tcp"][..], "cannot be used with"),
        (&["--mechanism", "sha1"], "invalid mechanism \"sha1\": write md5 or opaque"),
        (
            &["--host", "auth.internal:80"],
            "invalid host \"auth.internal:80\": give a name or an address, without ",
        ),
        (&["--host", "*"], "invalid host \"*\": "),
        (&["--host", ""], "invalid host \"\": "),
        (&["--visitor-header", "X Real IP"], "invalid header \"X Real IP\": "),
        (&["--visitor-header", "Host"], "invalid header \"Host\": give one with the visitor's address"),
        (&["--visitor-header", "authorization"], "invalid header \"authorization\": "),
    ] {
        let ended = run(letmein_http().args(["127.0.0.1:0", "127.0.0.1:8591"]).args(more));
        assert!(ended.status == 2 && ended.stderr.contains(reason), "{more:?}: {ended:?}");
    }
}

/// It can be nobody's, so it does not count as a failed login.
#[test]
fn an_empty_password_is_401_and_is_not_sent() {
    let (_server, gateway) = with_silence(Udp, &[]);
    for _ in 0..=2 * FREE_FAILURES {
        assert_eq!(status(&gateway.get(&basic("userone", ""))), "401");
    }
    assert_eq!(status(&gateway.get(RIGHT)), "204");
}

#[test]
fn logins_by_md5_over_udp_to_another_machine_are_warned_of() {
    for (service, mechanism, warned) in [
        ("192.0.2.7:8591", "md5", true),
        ("192.0.2.7:8591", "opaque", false),
        ("127.0.0.1:8591", "md5", false),
    ] {
        let mut command = letmein_http();
        command.args(["127.0.0.1:0", service, "--udp", "--mechanism", mechanism]).stderr(Stdio::piped());
        let mut gateway = Gateway::start(&mut command);
        kill_process(Pid::from_child(&gateway.child), Signal::TERM).unwrap();
        let mut log = String::new();
        gateway.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(log.contains("UDP lets anyone in who can forge its replies"), warned, "{log}");
    }
}

//! `letmein-http` as a web server meets it, and as those do who mean it harm.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Child;
use std::time::Duration;

use crate::running::{SAMPLES, Server, TRANSPORTS, letmein_http, run};
use letmein::Transport::{self, Tcp};
use rustix::process::{Pid, Signal, kill_process};

/// A gateway that is up; killed when dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Gateway {
    pub(crate) fn to(server: SocketAddr, more: &[&str]) -> Self {
        let mut child = letmein_http().args(["127.0.0.1:0", &server.to_string()]).args(more).spawn().unwrap();
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
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// userone:passwordone
const RIGHT: &str = "dXNlcm9uZTpwYXNzd29yZG9uZQ==";
/// userone:passwordtwo
const WRONG: &str = "dXNlcm9uZTpwYXNzd29yZHR3bw==";

fn request(credentials: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n\r\n")
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
        assert_eq!(status(&gateway.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")), "401");
    }
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
    assert_eq!(status(&gateway.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")), "405");
    assert_eq!(status(&gateway.say(b"\x16\x03\x01 no HTTP\r\n\r\n")), "400");
    let long =
        format!("GET / HTTP/1.1\r\nCookie: {}\r\nAuthorization: Basic {RIGHT}\r\n\r\n", "c".repeat(64 << 10));
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
}

#[test]
fn who_never_ends_a_request_is_cut_off() {
    let (_server, gateway) = over(Tcp);
    let mut slow = gateway.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    assert_eq!(slow.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn whoever_sends_a_request_does_not_wait_for_those_who_do_not() {
    let (_server, gateway) = over(Tcp);
    let mut silent: Vec<_> = (0..600).map(|_| gateway.connect()).collect();
    for stream in &mut silent {
        let sent = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n");
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

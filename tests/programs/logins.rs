//! Logins with the real client at the real servers.

mod failures;

use std::fs::{self, Permissions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};
use std::{array, iter};

use proto::transport::Transport::Udp;

use crate::peers::{REQUEST, WELCOME, ask, echoing_answer, receive, udp_socket};
use crate::running::{Ended, SAMPLES, Server, TRANSPORTS, letmein, refused, run, welcome};

const CONDITIONS: &str = r#"
[users]
disabled  = { password = "one", disabled = true }
expired   = { password = "two", expires = 2020-01-31 }
elsewhere = { password = "three", from = ["192.0.2.0/24"] }
here      = { password = "four", disabled = false, expires = 2999-12-31, from = ["192.0.2.0/24", "127.0.0.0/8"] }
"#;

#[test]
fn every_sample_user_is_welcome() {
    for server in TRANSPORTS.map(Server::over) {
        for user in ["one", "two", "three"] {
            let (name, password) = (format!("user{user}"), format!("password{user}"));
            assert_eq!(server.login(&[&name, &password]), welcome());
        }
    }
}

#[test]
fn a_wrong_password_is_refused_with_status_1() {
    for server in TRANSPORTS.map(Server::over) {
        for password in ["passwordtwo", "Passwordone"] {
            assert_eq!(server.login(&["userone", password]), refused(), "{password:?}");
        }
    }
}

#[test]
fn an_unknown_user_is_refused() {
    for server in TRANSPORTS.map(Server::over) {
        assert_eq!(server.login(&["nobody", "passwordone"]), refused());
    }
}

/// It can be nobody's, so it does not count as a failed login.
#[test]
fn an_empty_password_is_status_2_and_is_not_sent() {
    let server = Server::start(Udp, &["127.0.0.1:0", "--users", SAMPLES, "--failures", "1/60s"]);
    for _ in 0..3 {
        let Ended { status, stderr, .. } = server.login(&["userone", ""]);
        assert_eq!((status, &*stderr), (2, "letmein: the password is empty\n"));
    }
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
}

/// A keyboard may write an accent as a character of its own.
#[test]
fn names_and_passwords_are_the_same_however_their_accents_are_typed() {
    let users = tempfile::NamedTempFile::new().unwrap();
    fs::write(&users, "[users]\n\"zo\u{eb}\" = \"caf\u{e9}\"\n").unwrap();
    fs::set_permissions(&users, Permissions::from_mode(0o600)).unwrap();
    let server = Server::start(Udp, &["127.0.0.1:0", "--users", users.path().to_str().unwrap()]);
    assert_eq!(server.login(&["zoe\u{308}", "cafe\u{301}"]), welcome());
}

#[test]
fn disabled_expired_and_misplaced_users_are_refused_with_the_right_password() {
    for server in TRANSPORTS.map(|transport| Server::with_users(transport, CONDITIONS)) {
        for (name, password) in [("disabled", "one"), ("expired", "two"), ("elsewhere", "three")] {
            assert_eq!(server.login(&[name, password]), refused(), "{name}");
        }
    }
}

#[test]
fn a_user_is_welcome_from_their_networks_until_they_expire() {
    for server in TRANSPORTS.map(|transport| Server::with_users(transport, CONDITIONS)) {
        assert_eq!(server.login(&["here", "four"]), welcome());
    }
}

#[test]
fn names_and_passwords_may_be_of_any_script_and_of_full_length() {
    let (name, password) = ("ü".repeat(32), "π".repeat(64));
    let users = format!("[users]\n\"zoë\" = \"pâsswörd\"\n\"{name}\" = \"{password}\"\n");
    for server in TRANSPORTS.map(|transport| Server::with_users(transport, &users)) {
        assert_eq!(server.login(&["zoë", "pâsswörd"]), welcome());
        assert_eq!(server.login(&[&name, &password]), welcome());
    }
}

#[test]
fn two_hundred_clients_at_once_are_welcome() {
    for server in TRANSPORTS.map(Server::over) {
        let log_in = || server.client().args(["userone", "passwordone"]).spawn().unwrap();
        let clients: [Child; 200] = array::from_fn(|_| log_in());
        for client in clients {
            assert_eq!(Ended::from(client.wait_with_output().unwrap()), welcome());
        }
    }
}

#[test]
fn a_silent_server_is_said_to_be_down_or_to_be_blocking() {
    let hint = "may be blocking this address after failed logins (15 s to 10 min)";
    let silent = udp_socket();
    let address = silent.local_addr().unwrap();
    let client = &mut letmein();
    client.args([&address.to_string(), "userone", "passwordone", "--timeout", "0.2"]);
    assert_fails(client, &format!("no answer from {address} in 2"));
    assert_fails(client, &format!("ms: the server may be down, or {hint}"));
}

/// A server that blocks an address over TCP closes the connection.
#[test]
fn a_silent_server_over_tcp_is_said_to_accept_connections() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let client = &mut letmein();
    client.args([&address.to_string(), "userone", "passwordone", "--timeout", "0.2", "--tcp"]);
    assert_fails(client, &format!("{address} accepts connections, but has not answered in 2"));
}

#[test]
fn a_source_that_has_failed_too_often_is_told_that_it_may_be_blocked() {
    for transport in TRANSPORTS {
        let server = Server::start(transport, &["127.0.0.1:0", "--users", SAMPLES, "--failures", "1/60s"]);
        for password in ["wrong", "wronger"] {
            server.login(&["userone", password]);
        }
        let client = &mut server.client();
        client.args(["userone", "passwordone", "--timeout", "0.3"]);
        assert_fails(client, "blocking this address after failed logins (15 s to 10 min)");
    }
}

/// Status 3, and one line on standard error that has `reason` in it.
fn assert_fails(client: &mut Command, reason: &str) {
    let ended = run(client);
    assert_eq!((ended.status, &*ended.stdout, ended.stderr.lines().count()), (3, "", 1), "{ended:?}");
    assert!(ended.stderr.starts_with("letmein: ") && ended.stderr.contains(reason), "{ended:?}");
}

#[test]
fn json_is_one_object_with_exactly_the_keys_of_the_contract() {
    for (server, transport) in TRANSPORTS.map(Server::over).iter().zip(["udp", "tcp"]) {
        for (password, verdict, status) in [("passwordone", "welcome", 0), ("wrong", "refused", 1)] {
            let ended = server.login(&["userone", password, "--json"]);
            assert_eq!((ended.status, &*ended.stderr, ended.stdout.lines().count()), (status, "", 1));
            let object: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
            let mut keys: Vec<_> = object.as_object().unwrap().keys().collect();
            keys.sort();
            assert_eq!(keys, ["mechanism", "milliseconds", "sends", "server", "transport", "verdict"]);
            assert_eq!(object["verdict"], verdict);
            assert_eq!(object["transport"], transport);
            assert_eq!(object["mechanism"], "md5");
            assert_eq!(object["server"], server.address.to_string());
            assert!(object["sends"].as_u64() >= Some(2), "{object}");
            assert!(object["milliseconds"].as_f64() > Some(0.0), "{object}");
        }
    }
}

#[test]
fn quiet_prints_nothing_and_the_status_tells_the_verdict() {
    for server in TRANSPORTS.map(Server::over) {
        for (password, status) in [("passwordone", 0), ("wrong", 1)] {
            let nothing = Ended { status, stdout: String::new(), stderr: String::new() };
            assert_eq!(server.login(&["--quiet", "userone", password]), nothing);
        }
    }
}

#[test]
fn debug_prints_each_step_on_standard_error() {
    for server in TRANSPORTS.map(Server::over) {
        let ended = server.login(&["-d", "userone", "passwordone"]);
        assert_eq!((ended.status, ended.stdout), (0, welcome().stdout));
        let steps = ended.stderr.lines().filter(|line| !line.starts_with("Retransmitting"));
        let [request, answer] = *steps.collect::<Vec<_>>() else { panic!("{}", ended.stderr) };
        let port = server.address.port();
        assert_eq!(request, format!("Sending authentication request to server 127.0.0.1 {port}"));
        let hash = answer.strip_prefix("Sending username userone and hash ");
        let hash = hash.and_then(|rest| rest.strip_suffix(" to server")).expect(answer);
        assert!(hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{answer}");
    }
}

#[test]
fn a_lost_request_and_a_lost_answer_are_sent_again() {
    let server = udp_socket();
    let address = server.local_addr().unwrap().to_string();
    let client = letmein().args([&*address, "userone", "passwordone", "-d"]).spawn().unwrap();
    let (_, lost) = receive(&server);
    assert_eq!(lost, REQUEST);
    let (peer, again) = receive(&server);
    assert_eq!(again, REQUEST);
    server.send_to(b"0123456789abcdef", peer).unwrap();
    let answers: Vec<_> = answers(&server).take(2).collect();
    assert_eq!(answers, [(); 2].map(|()| echoing_answer("userone", "passwordone", b"0123456789abcdef")));
    server.send_to(WELCOME, peer).unwrap();
    let ended = Ended::from(client.wait_with_output().unwrap());
    assert_eq!((ended.status, ended.stdout), (0, welcome().stdout));
    for resend in ["Retransmitting request after ", "Retransmitting username and hash after "] {
        assert!(ended.stderr.lines().any(|line| line.starts_with(resend)), "{}", ended.stderr);
    }
}

/// What comes that is no request: on a busy machine there may be one more of these.
fn answers(server: &UdpSocket) -> impl Iterator<Item = Vec<u8>> {
    iter::repeat_with(|| receive(server).1).filter(|datagram| datagram != REQUEST)
}

#[test]
fn a_server_on_ipv6_is_reached_by_its_address_in_brackets() {
    if !has_ipv6() {
        return;
    }
    for transport in TRANSPORTS {
        let server = Server::start(transport, &["[::1]:0", "--users", SAMPLES]);
        assert!(server.address.is_ipv6());
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        assert_eq!(server.login(&["-6", "userone", "wrong"]), refused());
    }
}

#[test]
fn a_server_whose_name_has_several_addresses_is_found_at_one_of_them() {
    for (server, options) in TRANSPORTS.map(Server::over).iter().zip([&[][..], &["--tcp"]]) {
        let address = format!("localhost:{}", server.address.port());
        let client = &mut letmein();
        assert_eq!(run(client.args([&address, "userone", "passwordone"]).args(options)), welcome());
    }
}

#[test]
fn a_server_on_all_addresses_answers_from_the_one_that_was_asked() {
    for any in ["0.0.0.0:0", "[::]:0"].iter().take(if has_ipv6() { 2 } else { 1 }) {
        let server = Server::start(Udp, &[any, "--users", SAMPLES, "--allow-sample-users"]);
        let port = server.address.port();
        let client = &mut letmein();
        assert_eq!(
            run(client.args([&format!("127.0.0.1:{port}"), "userone", "passwordone"])),
            welcome(),
            "{any}"
        );
        // A connected socket hears nobody else.
        let peer = udp_socket();
        peer.connect(("127.0.0.2", port)).unwrap();
        assert_eq!(ask(&peer, REQUEST).len(), 16, "{any}");
    }
}

fn has_ipv6() -> bool {
    let bound = UdpSocket::bind("[::1]:0");
    if let Err(error) = &bound {
        eprintln!("not tested, since there is no IPv6 here: {error}");
    }
    bound.is_ok()
}

//! The load generator at real servers.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;

use proto::transport::Transport;

use crate::opaque_logins::Site;
use crate::peers::{address_of, receive, refusing_socket, udp_socket};
use crate::running::{Ended, SAMPLES, Server, TRANSPORTS, bench, path, run, users_file};

/// A server that lets the same user fail as often as they like.
fn patient(transport: Transport, users: &str) -> Server {
    Server::start(transport, &["127.0.0.1:0", "--users", users, "--user-failures", "off"])
}

fn at(server: &Server, transport: Transport) -> Command {
    let mut bench = bench();
    let name = transport.to_string().to_lowercase();
    bench.args([
        &name,
        &server.address.to_string(),
        "--users",
        SAMPLES,
        "--duration",
        "0.1",
        "--clients",
        "8",
    ]);
    bench
}

/// The number behind a key, in what was printed as JSON about the server.
fn figure(json: &str, key: &str) -> f64 {
    let server: serde_json::Value = serde_json::from_str(json).unwrap();
    server["server"][key].as_f64().expect(key)
}

#[test]
fn logins_are_made_and_all_verdicts_are_right() {
    for transport in TRANSPORTS {
        let server = patient(transport, SAMPLES);
        for more in [
            &[][..],
            &["--wrong", "40", "--unknown", "30"],
            &["--no-echo", "--wrong", "50"],
            &["--rate", "500"],
        ] {
            let Ended { status, stdout, stderr } = run(at(&server, transport).arg("--json").args(more));
            assert_eq!((status, &*stderr), (0, ""), "{more:?}: {stdout}");
            assert!(figure(&stdout, "logins") > 0.0, "{stdout}");
            assert_eq!((figure(&stdout, "wrong"), figure(&stdout, "lost")), (0.0, 0.0), "{stdout}");
        }
    }
}

#[test]
fn an_open_loop_begins_as_many_logins_as_it_was_told_to() {
    for transport in TRANSPORTS {
        let server = Server::over(transport);
        let Ended { stdout, .. } = run(at(&server, transport).args(["--rate", "300", "--json"]));
        assert_eq!(figure(&stdout, "logins"), 30.0);
    }
}

#[test]
fn a_wrong_verdict_is_status_1() {
    let users = users_file("[users]\nuserone = \"another password\"\n");
    for transport in TRANSPORTS {
        let server = patient(transport, path(&users));
        let ended = run(at(&server, transport).arg("--json"));
        assert_eq!(ended.status, 1, "{ended:?}");
        let wrong = figure(&ended.stdout, "wrong");
        assert!(wrong > 0.0);
        let said = format!("letmein-bench: wrong verdicts: {wrong}: check the users and passwords\n");
        assert_eq!(ended.stderr, said);
    }
}

#[test]
fn one_user_can_be_given_by_name_and_password() {
    let server = patient(Transport::Udp, SAMPLES);
    let address = server.address.to_string();
    for (password, status) in [("passwordone", 0), ("another", 1)] {
        let user = ["--user", "userone", "--password", password, "--duration", "0.05"];
        assert_eq!(run(bench().args(["udp", &address]).args(user)).status, status);
    }
}

#[test]
fn the_cost_of_the_server_is_told_beside_that_of_an_echo() {
    for transport in TRANSPORTS {
        let server = Server::over(transport);
        let pid = server.id().to_string();
        let Ended { status, stdout, .. } =
            run(at(&server, transport).args(["--floor", "--json", "--pid", &pid]));
        let told: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(status, 0);
        for figure in
            [&told["cpu_ratio"], &told["server"]["cpu_us_per_login"], &told["floor"]["cpu_us_per_login"]]
        {
            assert!(figure.as_f64().unwrap() > 0.0, "{stdout}");
        }
        assert!(told["server"]["resident_bytes"].as_u64().unwrap() > 1 << 20, "{stdout}");
    }
}

/// Logins by OPAQUE.
fn opaque(server: &Server, transport: Transport, user: &str) -> Command {
    let (mut bench, name) = (bench(), transport.to_string().to_lowercase());
    bench.args([&name, &server.address.to_string(), "--mechanism", "opaque", "--user", user]);
    bench.args(["--password", "right", "--duration", "0.1", "--json"]);
    bench
}

#[test]
fn logins_by_opaque_are_made_and_all_verdicts_are_right() {
    let site = Site::new();
    for transport in TRANSPORTS {
        let server = site.serve_with(transport, &["--trust", "127.0.0.0/8"]);
        for more in [&[][..], &["--wrong", "70"], &["--rate", "50"]] {
            let Ended { status, stdout, stderr } = run(opaque(&server, transport, "alice").args(more));
            assert_eq!((status, &*stderr), (0, ""), "{more:?}: {stdout}");
            assert!(figure(&stdout, "logins") > 0.0 && figure(&stdout, "client_cpu_us_per_login") > 0.0);
            assert_eq!((figure(&stdout, "wrong"), figure(&stdout, "lost")), (0.0, 0.0), "{stdout}");
        }
        // Some unknown names are told the stretching of bob.
        assert_eq!(run(opaque(&server, transport, "alice").args(["--unknown", "30"])).status, 0);
        assert_eq!(run(&mut opaque(&server, transport, "carol")).status, 1);
    }
}

#[test]
fn the_cost_of_logins_by_opaque_is_told_beside_that_of_ke2() {
    let (site, transport) = (Site::new(), Transport::Udp);
    let server = site.serve_with(transport, &[]);
    let floor = ["--floor", "--pid", &server.id().to_string()];
    let Ended { status, stdout, .. } = run(opaque(&server, transport, "alice").args(floor));
    let told: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(status, 0);
    for figure in [
        &told["cpu_ratio"],
        &told["server"]["cpu_us_per_login"],
        &told["floor"]["cpu_us_per_ke2"],
        &told["floor"]["ke2_per_s"],
    ] {
        assert!(figure.as_f64().unwrap() > 0.0, "{stdout}");
    }
}

#[test]
fn a_password_that_has_to_be_stretched_is_told() {
    let (site, transport) = (Site::new(), Transport::Tcp);
    let server = site.serve_with(transport, &[]);
    let ended = run(opaque(&server, transport, "bob").args(["--clients", "1"]));
    assert!(ended.status == 0 && ended.stderr.contains("passwords had to be stretched"), "{ended:?}");
}

#[test]
fn lost_logins_are_told_with_what_they_may_come_from() {
    let server = Server::start(Transport::Udp, &["127.0.0.1:0", "--users", SAMPLES]);
    let ended = run(at(&server, Transport::Udp).args(["--json", "--wrong", "60", "--patience", "0.2"]));
    let lost = figure(&ended.stdout, "lost");
    assert!(lost > 0.0, "{ended:?}");
    let said = format!("lost logins: {lost}: the server may be down, or be blocking (start it with ");
    assert!(ended.stderr.contains(&said), "{ended:?}");
}

#[test]
fn a_process_that_used_no_processor_time_is_perhaps_not_the_server() {
    let (server, mut idle) = (Server::udp(), Command::new("sleep").arg("60").spawn().unwrap());
    // It takes some time to start.
    while !fs::read_to_string(format!("/proc/{}/stat", idle.id())).unwrap().contains("(sleep) S") {}
    let pid = idle.id().to_string();
    let ended = run(at(&server, Transport::Udp).args(["--pid", &pid]));
    idle.kill().unwrap();
    idle.wait().unwrap();
    let said = format!("letmein-bench: process {pid} used no processor time: is it the server?\n");
    assert!(ended.status == 0 && ended.stderr.contains(&said), "{ended:?}");
}

#[test]
fn a_plot_that_cannot_be_written_is_told_before_the_run() {
    let (server, folder) = (Server::udp(), tempfile::tempdir().unwrap());
    let picture = folder.path().join("nosuch").join("logins.svg");
    let ended = run(at(&server, Transport::Udp).arg("--plot").arg(&picture));
    let reason = format!("letmein-bench: cannot create {}: ", picture.display());
    assert_eq!((ended.status, &*ended.stdout), (3, ""));
    assert!(ended.stderr.starts_with(&reason), "{ended:?}");
}

#[test]
fn figures_are_drawn() {
    let (server, folder) = (Server::udp(), tempfile::tempdir().unwrap());
    let picture = folder.path().join("logins.svg");
    let ended = run(at(&server, Transport::Udp).arg("--plot").arg(&picture));
    assert_eq!(ended.status, 0);
    assert!(ended.stdout.contains("latency p99.9"));
    let drawn = fs::read_to_string(picture).unwrap();
    assert!(
        drawn.starts_with("<svg")
            && drawn.contains("Login latency by percentile")
            && drawn.ends_with("</svg>\n")
    );
}

#[test]
fn a_server_that_is_not_there_is_status_3() {
    for transport in TRANSPORTS {
        let nobody = refusing_socket(transport);
        let name = transport.to_string().to_lowercase();
        let args =
            [&*name, &address_of(&nobody), "--users", SAMPLES, "--duration", "0.1", "--patience", "0.2"];
        let ended = run(bench().args(args));
        assert_eq!((ended.status, &*ended.stdout), (3, ""), "{ended:?}");
        let reason = match transport {
            Transport::Udp => "no answer",
            Transport::Tcp => "nobody listens there",
        };
        let said = format!("no login got a verdict: {reason}: is a server there?\n");
        assert!(ended.stderr.ends_with(&said), "{}", ended.stderr);
    }
}

/// A service that says back what it hears.
fn echo(transport: Transport) -> SocketAddr {
    match transport {
        Transport::Udp => {
            let socket = udp_socket();
            let address = socket.local_addr().unwrap();
            thread::spawn(move || {
                loop {
                    let (client, message) = receive(&socket);
                    socket.send_to(&message, client).unwrap();
                }
            });
            address
        }
        Transport::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            thread::spawn(move || {
                for stream in listener.incoming().map(Result::unwrap) {
                    let _ = io::copy(&mut &stream, &mut &stream);
                }
            });
            address
        }
    }
}

#[test]
fn another_service_is_told_as_one() {
    for transport in TRANSPORTS {
        let args = [&*transport.to_string().to_lowercase(), &echo(transport).to_string(), "--users", SAMPLES];
        let more = ["--clients", "1", "--duration", "0.1", "--patience", "0.2"];
        let ended = run(bench().args(args).args(more));
        let said =
            "no login got a verdict: something answers there, but it is another service: check the port\n";
        assert!(ended.status == 3 && ended.stderr.ends_with(said), "{ended:?}");
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_status_2() {
    for args in [
        &["udp", "192.0.2.1:8591"][..],
        &["udp", "127.0.0.1:8591", "--wrong", "60", "--unknown", "50"],
        &["udp", "127.0.0.1:8591", "--wrong", "-1"],
        &["udp", "127.0.0.1:8591", "--rate", "0"],
        &["udp", "127.0.0.1:8591", "--clients", "9", "--sources", "8"],
        &["udp", "127.0.0.1:8591", "--user", "userone"],
        &["udp", "127.0.0.1:8591", "--mechanism", "opaque"],
        &["udp", "127.0.0.1:8591", "--mechanism", "opaque", "--user", "u", "--password", "p", "--no-echo"],
        &["udp", "127.0.0.1:8591", "--pid", "4000000000"],
        &["udp", "127.0.0.1:8591", "--plot", "logins.png"],
        &["sctp", "127.0.0.1:8591"],
        &["udp"],
        &[],
    ] {
        let users: &[&str] = if args.contains(&"--user") { &[] } else { &["--users", SAMPLES] };
        let Ended { status, stdout, stderr } = run(bench().args(args).args(users));
        assert_eq!((status, &*stdout), (2, ""), "{args:?} {stderr}");
        assert!(
            stderr.starts_with("Invalid input argument, please enter a correct format command.\n"),
            "{stderr}"
        );
    }
}

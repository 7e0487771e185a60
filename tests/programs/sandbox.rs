//! What a server cannot do any more once it serves.

use std::fs;

use proto::transport::Transport;

use crate::running::{Ended, SAMPLES, Server, TRANSPORTS, run, server, welcome};

/// What the kernel says of a running server: of the main thread, and of its workers.
fn status(server: &Server) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
    tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap()).collect()
}

/// A line of such a status.
fn line<'s>(status: &'s str, key: &str) -> Vec<&'s str> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key}"));
    line.split_whitespace().collect()
}

#[test]
fn every_thread_of_a_server_is_in_the_sandbox() {
    for transport in TRANSPORTS {
        let server = Server::over(transport);
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        let threads = status(&server);
        assert!(threads.len() > 1);
        for status in threads {
            assert_eq!((line(&status, "NoNewPrivs:"), line(&status, "Seccomp:")), (vec!["1"], vec!["2"]));
        }
    }
}

#[test]
fn a_server_without_a_sandbox_can_be_had_and_says_so() {
    let server = Server::start(Transport::Udp, &["127.0.0.1:0", "--users", SAMPLES, "--sandbox", "off"]);
    assert_eq!(line(&status(&server)[0], "Seccomp:"), ["0"]);
    assert!(server.stop(libc::SIGTERM).stderr.contains("WARN sandbox: off"));
}

#[test]
fn what_a_server_must_not_be_able_to_do_is_refused_in_the_sandbox_and_only_there() {
    let audit = std::env::temp_dir().join("audit.jsonl");
    let configurations: [&[&str]; 4] = [
        &["--users", SAMPLES],
        // Folders that hold what a test of less care would try.
        &["--users", "/etc/users.toml"],
        &["--users", SAMPLES, "--audit", audit.to_str().unwrap()],
        &["--service", "md5"],
    ];
    for (transport, more) in
        TRANSPORTS.into_iter().flat_map(|transport| configurations.map(|more| (transport, more)))
    {
        let Ended { status, stdout, .. } = run(server(transport).arg("--self-test").args(more));
        let (acts, summary) = stdout.trim_end().rsplit_once('\n').unwrap();
        assert_eq!((status, summary), (0, "14 of 14 refused: the sandbox holds"), "{more:?}: {stdout}");
        let is_ok = |line: &str| line.starts_with("ok  ") && line.ends_with(": refused");
        assert!(acts.lines().count() == 14 && acts.lines().all(is_ok), "{more:?}: {stdout}");
        let off = ["--self-test", "--sandbox", "off"];
        let Ended { status, stdout, .. } = run(server(transport).args(off).args(more));
        let (acts, summary) = stdout.trim_end().rsplit_once('\n').unwrap();
        assert_eq!((status, summary), (3, "0 of 14 refused: the sandbox DOES NOT HOLD"), "{stdout}");
        let is_not_ok = |line: &str| line.starts_with("NO  ") && line.contains(": NOT REFUSED");
        assert!(acts.lines().all(is_not_ok), "{more:?}: {stdout}");
    }
    assert!(!audit.exists());
}

#[test]
fn a_server_that_root_starts_becomes_who_it_is_told_to_be() {
    let own = fs::read_to_string("/proc/self/status").unwrap();
    if line(&own, "Uid:")[1] != "0" {
        println!("skipped: only root can become another user");
        return;
    }
    for transport in TRANSPORTS {
        let server = Server::start(transport, &["127.0.0.1:0", "--users", SAMPLES, "--user", "nobody"]);
        for status in status(&server) {
            assert!(line(&status, "Uid:").iter().all(|id| *id != "0"), "{status}");
            assert!(line(&status, "Groups:").iter().all(|id| *id != "0"), "{status}");
            assert_eq!(line(&status, "CapEff:"), ["0000000000000000"]);
        }
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        assert_eq!(server.stop(libc::SIGTERM).status, 0);
    }
}

#[test]
fn a_user_that_there_is_not_is_status_3() {
    let ended =
        Server::refusal(Transport::Udp, &["127.0.0.1:0", "--users", SAMPLES, "--user", "no-such-user"]);
    assert_eq!(ended.status, 3);
    assert!(ended.stderr.contains("cannot run as no-such-user"), "{ended:?}");
}

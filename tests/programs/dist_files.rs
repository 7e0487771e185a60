//! The files for fail2ban and logrotate, read by these programs. What is not installed is not tested, and that is said.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use proto::transport::Transport::Udp;
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

use crate::audits::written;
use crate::peers::{REFUSED, REQUEST, WELCOME, answer, ask, echoing_answer, udp_peer};
use crate::reloads::logged;
use crate::running::{Ended, SAMPLES, Server, installed, path, run, users_file, welcome};

pub(crate) const DIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dist");
const AUDIT: &str = "/var/log/letmein/audit.jsonl";

/// Names that would be other fields of their line, if their quotes were not escaped.
const FORGER: &str = r#"x","source","192.0.2.1","proven",true,\"#;
const UNKNOWN_FORGER: &str = r#"y\","source","192.0.2.2","verdict","refused"#;

/// What the server writes of a welcome, three proven refusals, four that are not proven, and a silence.
fn audit_lines(folder: &Path) -> Vec<String> {
    let users = users_file(format!("[users]\nalice = 'one'\n'{FORGER}' = 'two'"));
    let file = folder.join("audit.jsonl");
    let file = file.to_str().unwrap();
    let files = ["127.0.0.1:0", "--users", path(&users), "--audit", file];
    let server = Server::start(Udp, &[&files[..], &["--failures", "3/60s", "--log-unknown-names"]].concat());
    let peer = udp_peer(&server);
    let challenge = ask(&peer, REQUEST);
    assert_eq!(ask(&peer, &echoing_answer("alice", "one", &challenge)), WELCOME);
    for name in ["alice", FORGER, UNKNOWN_FORGER] {
        assert_eq!(ask(&peer, &echoing_answer(name, "wrong", &challenge)), REFUSED);
    }
    for password in ["wrong1", "wrong2", "wrong3", "wrong4"] {
        assert_eq!(ask(&peer, &answer(FORGER, password, &challenge)), REFUSED);
    }
    peer.send(&answer(FORGER, "wrong5", &challenge)).unwrap();
    // Once the next request has been answered, so has all before it.
    ask(&peer, REQUEST);
    server.stop(libc::SIGTERM);
    fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn fail2ban_finds_the_sources_of_proven_refusals_and_no_others() {
    let Some(mut fail2ban_regex) = installed("fail2ban-regex") else { return };
    let folder = TempDir::new().unwrap();
    let lines = audit_lines(folder.path());
    let verdicts: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["verdict"].clone()).collect();
    let refused = "refused";
    assert_eq!(
        verdicts,
        ["welcome", refused, refused, refused, refused, refused, refused, refused, "silence"],
        "{lines:?}"
    );

    // Each line gets a source of its own, by which it is known again; and once more with the colons that no name has.
    let mut file = NamedTempFile::new().unwrap();
    for (network, separator) in [("198.51.100.", ","), ("2001:db8::", ","), ("203.0.113.", ":")] {
        for (index, line) in lines.iter().enumerate() {
            let source = format!(r#""source":"{network}{index}""#);
            let line = line.replacen(r#""source":"127.0.0.1""#, &source, 1);
            writeln!(file, "{}", line.replace(r#"\",\""#, &format!(r#"\"{separator}\""#))).unwrap();
        }
    }
    let filter = format!("{DIST}/fail2ban/filter.d/letmein-auth.conf");
    let Ended { status, stdout, stderr } = run(fail2ban_regex.args(["--out", "ip", path(&file), &filter]));
    assert_eq!(status, 0, "{stdout}{stderr}");
    let found: Vec<&str> = stdout.lines().collect();
    let expected = ["198.51.100.", "2001:db8::", "203.0.113."]
        .iter()
        .flat_map(|network| [1, 2, 3].map(|index| format!("{network}{index}")));
    assert_eq!(found, expected.collect::<Vec<_>>(), "{lines:?}");
}

#[test]
fn fail2ban_reads_the_jail_and_bans_over_udp_and_tcp() {
    let Some(mut fail2ban_client) = installed("fail2ban-client") else { return };
    let folder = TempDir::new().unwrap();
    // What the package brings, and of filters and jails only ours.
    for entry in fs::read_dir("/etc/fail2ban").unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if !(name.starts_with("filter.d") || name.starts_with("jail.d") || name.ends_with(".local")) {
            symlink(entry.path(), folder.path().join(name)).unwrap();
        }
    }
    symlink(format!("{DIST}/fail2ban/filter.d"), folder.path().join("filter.d")).unwrap();
    fs::create_dir(folder.path().join("jail.d")).unwrap();
    let jail = fs::read_to_string(format!("{DIST}/fail2ban/jail.d/letmein-auth.conf")).unwrap();
    let audit = NamedTempFile::new().unwrap();
    fs::write(folder.path().join("jail.d/letmein-auth.conf"), jail.replace(AUDIT, path(&audit))).unwrap();

    let dump = run(fail2ban_client.arg("-c").arg(folder.path()).arg("-d"));
    assert_eq!(dump.status, 0, "{dump:?}");
    for command in [
        "['add', 'letmein-auth', 'auto']",
        "['set', 'letmein-auth', 'maxretry', 8]",
        &format!("['set', 'letmein-auth', 'addlogpath', '{}', 'head']", path(&audit)),
        "['protocol', 'udp']",
        "['protocol', 'tcp']",
        "['port', '8591']",
        "['start', 'letmein-auth']",
    ] {
        assert!(dump.stdout.contains(command), "{command}: {dump:?}");
    }
}

#[test]
fn logrotate_moves_the_audit_away_and_the_server_begins_a_new_one() {
    let (Some(mut logrotate), Some(_)) = (installed("logrotate"), installed("pkill")) else { return };
    let folder = TempDir::new().unwrap();
    let [audit, rotated, state, snippet] =
        ["audit.jsonl", "audit.jsonl.1", "state", "snippet"].map(|name| folder.path().join(name));
    let audit = audit.to_str().unwrap();
    let mut server = Server::start(Udp, &["127.0.0.1:0", "--users", SAMPLES, "--audit", audit]);
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    written(Path::new(audit), "userone");

    // The path is in the command that sends the signal, too, so that this server alone gets it.
    let [user, group] =
        ["-un", "-gn"].map(|option| run(Command::new("id").arg(option)).stdout.trim().to_owned());
    let text = fs::read_to_string(format!("{DIST}/logrotate/letmein-auth")).unwrap();
    assert_eq!(
        (text.matches("letmein-auth adm").count(), text.matches("/var/log/letmein/audit").count()),
        (2, 2)
    );
    let text = text.replace("letmein-auth adm", &format!("{user} {group}"));
    let text = text.replace(AUDIT, audit).replace(r"/var/log/letmein/audit\.jsonl", audit);
    fs::write(&snippet, text).unwrap();
    let ended = run(logrotate.arg("--force").arg("--state").arg(&state).arg(&snippet));
    assert_eq!(ended.status, 0, "{ended:?}");
    logged(&mut server, "reopened");
    assert_eq!(server.login(&["usertwo", "passwordtwo"]), welcome());
    server.stop(libc::SIGTERM);

    let users = |file: &Path| -> Vec<Value> {
        let text = fs::read_to_string(file).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["user"].clone()).collect()
    };
    assert_eq!((users(&rotated), users(Path::new(audit))), (vec![json!("userone")], vec![json!("usertwo")]));
}

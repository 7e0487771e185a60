//! Whose links the audit follows, and where they may lead.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{lchown, symlink};
use std::path::Path;

use proto::transport::Transport::Udp;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::NamedTempFile;

use crate::reloads::logged;
use crate::running::{Ended, SAMPLES, Server, run, server, welcome};

use super::Audit;

/// Makes a link and gives it to another user, which only root can.
fn foreign_link(target: &Path, link: &Path) -> bool {
    symlink(target, link).unwrap();
    let is_foreign = lchown(link, Some(1), None).is_ok();
    if !is_foreign {
        println!("skipped: only root can make a link that another user owns");
    }
    is_foreign
}

#[test]
fn a_link_is_followed_if_root_or_the_servers_user_made_it() {
    let (audit, target) = (Audit::new(), NamedTempFile::new().unwrap());
    symlink(target.path(), audit.path()).unwrap();
    let server = audit.server(Udp, &[]);
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    server.stop(libc::SIGTERM);
    assert_eq!(audit.lines().len(), 1);
    assert!(fs::read_to_string(target.path()).unwrap().contains("userone"));
}

#[test]
fn a_link_of_another_user_is_not_followed_at_the_start() {
    let (audit, target) = (Audit::new(), NamedTempFile::new().unwrap());
    let path = audit.path();
    if !foreign_link(target.path(), &path) {
        return;
    }
    let options = ["127.0.0.1:0", "--users", SAMPLES, "--audit", path.to_str().unwrap()];
    let ended = Server::refusal(Udp, &options);
    assert_eq!((ended.status, &*ended.stdout), (3, ""), "{ended:?}");
    assert!(ended.stderr.trim_end().ends_with("or make the link yours"), "{ended:?}");
    assert_eq!(fs::read_to_string(target.path()).unwrap(), "");
}

#[test]
fn a_link_that_another_user_puts_in_the_place_of_the_file_is_not_followed_on_a_hangup() {
    // In the sandbox nobody can look at a link, let alone follow it.
    for (sandbox, reason) in
        [("on", "Function not implemented"), ("off", "a symbolic link that another user owns")]
    {
        let (audit, target) = (Audit::new(), NamedTempFile::new().unwrap());
        let mut server = audit.server(Udp, &["--sandbox", sandbox]);
        let moved = audit.0.path().join("audit.jsonl.1");
        fs::rename(audit.path(), &moved).unwrap();
        if !foreign_link(target.path(), &audit.path()) {
            return;
        }
        server.signal(libc::SIGHUP);
        let line = logged(&mut server, "still writing to the old file");
        assert!(line.contains(reason), "{line}");
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        server.stop(libc::SIGTERM);
        assert_eq!(fs::read_to_string(target.path()).unwrap(), "");
        assert!(fs::read_to_string(moved).unwrap().contains("userone"));
    }
}

#[test]
fn lines_can_go_to_a_pipe_and_to_what_a_link_of_the_system_names() {
    let audit = Audit::new();
    mknodat(CWD, audit.path(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // To open its other end alone would wait for the server.
    let reader = File::options().read(true).write(true).open(audit.path()).unwrap();
    let server = audit.server(Udp, &[]);
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    let line = BufReader::new(reader).lines().next().unwrap().unwrap();
    assert!(line.contains("userone"), "{line}");

    let server = Server::start(Udp, &["127.0.0.1:0", "--users", SAMPLES, "--audit", "/dev/stdout"]);
    assert_eq!(server.login(&["userone", "passwordone"]), welcome());
    let Ended { stdout, .. } = server.stop(libc::SIGTERM);
    assert!(stdout.contains("userone"), "{stdout}");
}

#[test]
fn lines_can_go_to_a_descriptor_that_a_link_of_the_kernel_names() {
    for descriptor in ["/dev/fd/1", "/proc/self/fd/1"] {
        let args = ["127.0.0.1:0", "--users", SAMPLES, "--audit", descriptor];
        let ended = run(server(Udp).args(args).arg("--check"));
        assert_eq!(ended.status, 0, "{ended:?}");
        let server = Server::start(Udp, &args);
        assert_eq!(server.login(&["userone", "passwordone"]), welcome());
        let Ended { stdout, .. } = server.stop(libc::SIGTERM);
        assert!(stdout.contains("userone"), "{stdout}");
    }
}

#[test]
fn a_check_refuses_a_link_of_another_user_as_the_server_would() {
    let (audit, target) = (Audit::new(), NamedTempFile::new().unwrap());
    let path = audit.path();
    if !foreign_link(target.path(), &path) {
        return;
    }
    let args = ["--users", SAMPLES, "--audit", path.to_str().unwrap(), "--check"];
    let ended = run(server(Udp).args(args));
    assert_eq!((ended.status, &*ended.stdout), (3, ""), "{ended:?}");
    assert!(ended.stderr.contains("a symbolic link that another user owns"), "{ended:?}");
}

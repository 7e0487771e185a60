//! The users file changes while a server runs.

use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;

use proto::transport::Transport::Udp;
use rustix::fs::{FileType, Mode};
use tempfile::TempDir;

use crate::flood;
use crate::monitoring::{status, watched_with};
use crate::running::{Ended, SAMPLES, Server, TRANSPORTS, bench, letmein_users, refused, run, welcome};

/// A folder with a users file in it.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn with(users: &str) -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.replace(users);
        folder
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("users.toml")
    }

    /// As editors do it: a new file in the place of the old one.
    pub(crate) fn replace(&self, users: &str) {
        let new = self.0.path().join(".users.toml.swp");
        fs::write(&new, format!("[users]\n{users}\n")).unwrap();
        fs::rename(new, self.path()).unwrap();
    }
}

fn server(transport: proto::transport::Transport, users: &Path, more: &[&str]) -> Server {
    Server::start(transport, &[&["127.0.0.1:0", "--users", users.to_str().unwrap()], more].concat())
}

/// Waits for a line of the log, and gives it.
pub(crate) fn logged(server: &mut Server, words: &str) -> String {
    let log = server.stderr.as_mut().unwrap();
    log.lines().map(Result::unwrap).find(|line| line.contains(words)).expect(words)
}

#[test]
fn records_and_a_key_that_are_made_while_a_server_runs_are_read_by_itself() {
    for transport in TRANSPORTS {
        let folder = Folder::with("alice = 'one'\nbob = 'two'");
        let key = folder.path().with_file_name("letmein.key");
        let mut server = server(transport, &folder.path(), &[]);
        let mut migrate = letmein_users();
        let args = ["--users", folder.path().to_str().unwrap(), "migrate", "bob", "--stretch", "none"]
            .map(str::to_owned);
        assert_eq!(run(migrate.args(args)).stdout, "1 user migrated\n");
        logged(&mut server, "users.toml: 2 users: 1 changed (bob)");
        assert_eq!(server.login(&["alice", "one"]), welcome());
        // Nobody with a record gets in by MD5.
        assert_eq!(server.login(&["bob", "two"]), refused());
        let text = fs::read(&key).unwrap();
        fs::write(&key, "nonsense").unwrap();
        logged(&mut server, "letmein.key: this is no key file");
        logged(&mut server, "keeping the old users");
        assert_eq!(server.login(&["alice", "one"]), welcome());
        fs::write(&key, &text).unwrap();
        logged(&mut server, "users.toml: 2 users: nothing changed");
    }
}

#[test]
fn users_whose_mechanism_is_not_spoken_are_warned_of_once_they_change_and_once_there_are_any() {
    let migrate = &["migrate", "--stretch", "none"][..];
    let add = &["add", "alice", "--md5", "--generate"][..];
    for (users, spoken, change, warning) in [
        ("alice = 'one'", "md5", migrate, "leaves out opaque: users with a record cannot log in"),
        ("", "opaque", add, "leaves out md5: users with a password cannot log in"),
    ] {
        let folder = Folder::with(users);
        let mut server = server(Udp, &folder.path(), &["--mechanisms", spoken]);
        assert_eq!(run(letmein_users().arg("--users").arg(folder.path()).args(change)).status, 0);
        logged(&mut server, &format!("--mechanisms {warning}"));
    }
}

/// Logins after alice was disabled, bob has got another password, carol was removed and dave added.
pub(crate) fn logs_in_as_changed(server: &Server) {
    for (user, password, ended) in [
        ("alice", "one", refused()),
        ("bob", "two", refused()),
        ("bob", "other", welcome()),
        ("carol", "three", refused()),
        ("dave", "four", welcome()),
    ] {
        assert_eq!(server.login(&[user, password]), ended, "{user}");
    }
}

#[test]
fn a_new_file_is_read_by_itself_and_counts_from_the_next_answer_on() {
    for transport in TRANSPORTS {
        let folder = Folder::with("alice = 'one'\nbob = 'two'\ncarol = 'three'");
        let mut server = server(transport, &folder.path(), &[]);
        assert_eq!(server.login(&["alice", "one"]), welcome());
        folder.replace("alice = {password = 'one', disabled = true}\nbob = 'other'\ndave = 'four'");
        let line = logged(&mut server, "users.toml: 3 users:");
        assert!(line.ends_with("3 users: +1 (dave), -1 (carol), 2 changed (alice, bob)"), "{line}");
        logs_in_as_changed(&server);
    }
}

#[test]
fn a_file_that_is_written_in_its_place_is_read_again() {
    let folder = Folder::with("alice = 'one'");
    let mut server = server(Udp, &folder.path(), &[]);
    fs::write(folder.path(), "[users]\nalice = 'two'\n").unwrap();
    logged(&mut server, "1 changed (alice)");
    assert_eq!(server.login(&["alice", "two"]), welcome());
}

/// As secrets are mounted: the file is a link through a link to a folder, which is swapped.
#[test]
fn a_folder_that_a_link_is_swapped_to_is_seen() {
    let folder = TempDir::new().unwrap();
    let inside = |name: &str| folder.path().join(name);
    for (number, password) in [("1", "one"), ("2", "two")] {
        fs::create_dir(inside(number)).unwrap();
        fs::write(inside(number).join("users.toml"), format!("[users]\nalice = '{password}'\n")).unwrap();
    }
    symlink("1", inside("..data")).unwrap();
    symlink("..data/users.toml", inside("users.toml")).unwrap();
    let mut server = server(Udp, &inside("users.toml"), &[]);
    assert_eq!(server.login(&["alice", "one"]), welcome());
    symlink("2", inside("..new")).unwrap();
    fs::rename(inside("..new"), inside("..data")).unwrap();
    logged(&mut server, "1 changed (alice)");
    assert_eq!(server.login(&["alice", "two"]), welcome());
}

#[test]
fn a_bad_file_changes_nothing_and_every_problem_is_named_with_its_place() {
    let folder = Folder::with("alice = 'one'");
    let mut server = server(Udp, &folder.path(), &[]);
    folder.replace("alice = 'other'\n  bob = ''\n'a:b' = 'x'");
    let bob = logged(&mut server, "bob");
    assert!(bob.contains("users.toml:3:9: the password of bob is empty"), "{bob}");
    assert!(logged(&mut server, "colon").contains("users.toml:4:1: "));
    logged(&mut server, "keeping the old users (1 failed reload)");
    assert_eq!(server.login(&["alice", "one"]), welcome());
    fs::remove_file(folder.path()).unwrap();
    logged(&mut server, "keeping the old users (2 failed reloads)");
    assert_eq!(server.login(&["alice", "one"]), welcome());
    folder.replace("alice = 'two'");
    logged(&mut server, "1 changed (alice)");
    assert_eq!(server.login(&["alice", "two"]), welcome());
}

#[test]
fn a_hangup_reads_the_file_whether_it_has_changed_or_not() {
    for sandbox in ["on", "off"] {
        let folder = Folder::with("alice = 'one'");
        let mut server = server(Udp, &folder.path(), &["--sandbox", sandbox]);
        server.signal(libc::SIGHUP);
        logged(&mut server, "1 user: nothing changed");
        assert_eq!(server.login(&["alice", "one"]), welcome());
    }
}

#[test]
fn sample_passwords_do_not_come_in_through_a_reload_where_other_machines_can_use_them() {
    let folder = Folder::with("alice = 'one'");
    let mut server = Server::start(Udp, &["0.0.0.0:0", "--users", folder.path().to_str().unwrap()]);
    folder.replace("userone = 'passwordone'");
    assert!(logged(&mut server, "sample password").contains("userone has a sample password"));
    logged(&mut server, "keeping the old users");
}

#[test]
fn what_else_happens_in_the_folder_is_no_reason_to_read_the_file() {
    let folder = Folder::with("alice = 'one'");
    let mut server = server(Udp, &folder.path(), &[]);
    fs::write(folder.0.path().join("another"), "file").unwrap();
    folder.replace("alice = 'two'");
    let next = logged(&mut server, "users.toml: 1 user:");
    assert!(next.contains("1 changed (alice)"), "{next}");
}

/// As a copy over a slow network does it.
#[test]
fn a_file_that_is_written_in_its_place_is_not_read_before_it_is_closed() {
    let folder = Folder::with("alice = 'one'\nbob = 'two'");
    let mut server = server(Udp, &folder.path(), &[]);
    let mut file = fs::File::create(folder.path()).unwrap();
    writeln!(file, "[users]\nalice = 'one'").unwrap();
    // By the time that a login has been made the server has heard of what was written so far.
    assert_eq!(server.login(&["bob", "two"]), welcome());
    writeln!(file, "bob = 'three'").unwrap();
    drop(file);
    assert!(logged(&mut server, "(bob)").ends_with("2 users: 1 changed (bob)"));
}

#[test]
fn a_file_from_which_all_users_are_gone_changes_nothing() {
    let folder = Folder::with("alice = 'one'");
    let mut server = server(Udp, &folder.path(), &[]);
    folder.replace("");
    logged(&mut server, "no users are left in it: to serve without users, restart the server");
    assert_eq!(server.login(&["alice", "one"]), welcome());
}

#[test]
fn a_link_to_another_folder_is_followed_and_that_folder_watched() {
    let (folder, links) = (Folder::with("alice = 'one'"), TempDir::new().unwrap());
    let link = links.path().join("users.toml");
    symlink(folder.path(), &link).unwrap();
    let mut server = server(Udp, &link, &[]);
    folder.replace("alice = 'two'");
    logged(&mut server, "1 changed (alice)");
    assert_eq!(server.login(&["alice", "two"]), welcome());
}

#[test]
fn a_folder_that_another_took_the_place_of_is_said_to_need_a_new_start() {
    let outer = TempDir::new().unwrap();
    let inside = |name: &str| outer.path().join(name);
    for name in ["now", "next"] {
        fs::create_dir(inside(name)).unwrap();
        fs::write(inside(name).join("users.toml"), "[users]\nalice = 'one'\n").unwrap();
    }
    let mut server = server(Udp, &inside("now/users.toml"), &[]);
    fs::rename(inside("now"), inside("before")).unwrap();
    fs::rename(inside("next"), inside("now")).unwrap();
    server.signal(libc::SIGHUP);
    logged(&mut server, "its folder was replaced: restart the server");
    assert_eq!(server.login(&["alice", "one"]), welcome());
}

#[test]
fn a_pipe_is_no_users_file() {
    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("users.toml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let ended = Server::refusal(Udp, &["127.0.0.1:0", "--users", pipe.to_str().unwrap()]);
    assert!(
        ended.status == 2 && ended.stderr.contains("not a regular file: name a users file with --users FILE"),
        "{ended:?}"
    );
}

#[test]
#[ignore = "loads the machine for 20 s: see SECURITY.md"]
fn reloads_under_full_load_make_no_verdict_wrong() {
    let samples = fs::read_to_string(SAMPLES).unwrap();
    let samples = samples.split_once("[users]\n").unwrap().1;
    let folder = Folder::with(samples);
    let users = folder.path();
    let (mut server, http) = watched_with(Udp, users.to_str().unwrap(), &["--user-failures", "off"]);
    let mut log = server.stderr.take().unwrap();
    thread::spawn(move || io::copy(&mut log, &mut io::sink()));
    let (address, seconds) = (server.address.to_string(), (2 * flood::seconds()).to_string());
    let load =
        ["udp", &address, "--users", SAMPLES, "--duration", &seconds, "--wrong", "20", "--unknown", "20"];
    let load = bench().args(load).spawn().unwrap();
    for number in 0..flood::scaled(1000) {
        // Every other time somebody is there who is gone the next.
        folder.replace(&format!("{samples}{}", if number % 2 == 0 { "guest = 'x'" } else { "" }));
        server.signal(libc::SIGHUP);
        // Not their log lines, of which a second may have more than are written.
        while status(http)["users"] != 3 + (number + 1) % 2 {}
    }
    let ended = Ended::from(load.wait_with_output().unwrap());
    println!("{}", ended.stdout);
    assert_eq!(ended.status, 0, "{ended:?}");
}

//! Servers whose users another program keeps in a folder, as letmein-sync does.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::Write;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proto::transport::Transport::Udp;
use tempfile::TempDir;
use users::synced::{BASE_NAME, BaseWriter, Credential, LOG_NAME, LogWriter, NODES_NAME, Position, Row};

use crate::monitoring::{get, http_address};
use crate::reloads::{logged, logs_in_as_changed};
use crate::running::{Server, TRANSPORTS, refused, welcome};

/// A folder with users, and its log.
pub(crate) struct Synced {
    folder: TempDir,
    log: LogWriter<File>,
}

fn at(revision: i64) -> Position {
    Position { revision, stamp: [revision as u8; 16] }
}

pub(crate) fn user<'a>(name: &'a str, password: &'a str) -> Row<'a> {
    let credential = Credential::Password(password);
    Row { name, credential, is_disabled: false, last_day: None, networks: Vec::new() }
}

impl Synced {
    pub(crate) fn with(rows: &[Row<'_>]) -> Self {
        let folder = TempDir::new().unwrap();
        let log = new_base(&folder, rows, at(1));
        Self { folder, log }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Puts another base there, with an empty log.
    fn replace(&mut self, rows: &[Row<'_>], position: Position) {
        self.log = new_base(&self.folder, rows, position);
    }

    /// Appends a batch, and says that the users are as they should be.
    fn change(&mut self, rows: &[Row<'_>], position: Position) {
        rows.iter().for_each(|row| self.log.row(row).unwrap());
        self.log.end(position).unwrap();
        self.confirm(Duration::ZERO);
    }

    /// Says so as if it were this long ago.
    fn confirm(&mut self, ago: Duration) {
        self.confirm_at(now() - ago);
    }

    fn confirm_at(&mut self, time: SystemTime) {
        self.log.file().set_times(FileTimes::new().set_accessed(time).set_modified(time)).unwrap();
    }

    pub(crate) fn serve(&self, transport: proto::transport::Transport, more: &[&str]) -> Server {
        let folder = self.folder.path().to_str().unwrap();
        Server::start(transport, &[&["127.0.0.1:0", "--users", folder], more].concat())
    }
}

#[expect(clippy::disallowed_methods, reason = "the time of a file is that of the clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn new_base(folder: &TempDir, rows: &[Row<'_>], position: Position) -> LogWriter<File> {
    let put = |name: &str| fs::rename(folder.path().join("new"), folder.path().join(name)).unwrap();
    let create = || File::create(folder.path().join("new")).unwrap();
    let mut base = BaseWriter::begin(create()).unwrap();
    rows.iter().for_each(|row| base.row(row).unwrap());
    base.end(position).unwrap();
    put(BASE_NAME);
    let log = LogWriter::begin(create(), position).unwrap();
    put(LOG_NAME);
    log
}

#[test]
fn a_change_counts_from_the_next_answer_on_and_leaves_the_other_users_as_they_are() {
    for transport in TRANSPORTS {
        let mut synced = Synced::with(&[user("alice", "one"), user("bob", "two"), user("carol", "three")]);
        let mut server = synced.serve(transport, &[]);
        assert_eq!(server.login(&["alice", "one"]), welcome());
        let disabled = Row { is_disabled: true, ..user("alice", "one") };
        synced.change(&[Row::removed("carol"), user("bob", "other"), user("dave", "four"), disabled], at(2));
        let line = logged(&mut server, "users.base: 3 users:");
        assert!(line.ends_with("+1 (dave), -1 (carol), 2 changed (alice, bob)"), "{line}");
        logs_in_as_changed(&server);
        synced.change(&[user("carol", "again"), user("alice", "one"), Row::removed("dave")], at(3));
        logged(&mut server, "users.base: 3 users: +1 (carol), -1 (dave), 1 changed (alice)");
        for (user, password, ended) in [
            ("alice", "one", welcome()),
            ("bob", "other", welcome()),
            ("carol", "again", welcome()),
            ("dave", "four", refused()),
        ] {
            assert_eq!(server.login(&[user, password]), ended, "{user}");
        }
    }
}

#[test]
fn a_new_base_takes_the_place_of_the_one_before_and_of_its_log() {
    let mut synced = Synced::with(&[user("alice", "one"), user("bob", "two")]);
    synced.change(&[user("carol", "three")], at(2));
    let mut server = synced.serve(Udp, &[]);
    assert_eq!(server.login(&["carol", "three"]), welcome());
    synced.replace(&[user("alice", "one"), user("dave", "four")], at(9));
    logged(&mut server, "+1 (dave), -2 (");
    assert_eq!(server.login(&["carol", "three"]), refused());
    assert_eq!(server.login(&["dave", "four"]), welcome());
    // All users may be removed: whoever keeps the folder has looked at whether that is meant.
    synced.change(&[Row::removed("alice"), Row::removed("dave")], at(10));
    logged(&mut server, "0 users: -2");
    assert_eq!(server.login(&["alice", "one"]), refused());
}

#[test]
fn the_log_of_another_base_counts_for_nothing() {
    let mut synced = Synced::with(&[user("alice", "one")]);
    synced.change(&[user("alice", "other")], at(2));
    let log = fs::read(synced.file(LOG_NAME)).unwrap();
    synced.replace(&[user("alice", "third")], at(3));
    fs::write(synced.file(LOG_NAME), log).unwrap();
    let server = synced.serve(Udp, &[]);
    assert_eq!(server.login(&["alice", "third"]), welcome());
    assert_eq!(server.login(&["alice", "other"]), refused());
}

#[test]
fn a_damaged_base_changes_nothing_and_keeps_a_server_from_starting() {
    let mut synced = Synced::with(&[user("alice", "one")]);
    let mut server = synced.serve(Udp, &[]);
    let mut bytes = fs::read(synced.file(BASE_NAME)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(synced.file(BASE_NAME), &bytes).unwrap();
    logged(&mut server, "users.base: damaged: start letmein-sync, which makes it anew");
    logged(&mut server, "keeping the old users (1 failed reload)");
    assert_eq!(server.login(&["alice", "one"]), welcome());
    let folder = synced.folder.path().to_str().unwrap();
    let ended = Server::refusal(Udp, &["127.0.0.1:0", "--users", folder]);
    assert!(ended.status == 2 && ended.stderr.contains("users.base: damaged: "), "{ended:?}");
    synced.replace(&[user("alice", "two")], at(5));
    logged(&mut server, "1 user: 1 changed (alice)");
    assert_eq!(server.login(&["alice", "two"]), welcome());
}

#[test]
fn a_folder_without_users_says_who_makes_them() {
    let folder = TempDir::new().unwrap();
    let ended = Server::refusal(Udp, &["127.0.0.1:0", "--users", folder.path().to_str().unwrap()]);
    let reason = "users.base: No such file or directory (os error 2): start letmein-sync, which makes it";
    assert!(ended.status == 2 && ended.stderr.contains(reason), "{ended:?}");
}

#[test]
fn rows_that_are_no_users_are_told_and_the_others_log_in() {
    let mut synced = Synced::with(&[user("alice", "one"), user("a:b", "two"), user("carol", "three")]);
    let mut server = synced.serve(Udp, &[]);
    logged(&mut server, "users.base: users that cannot log in: 1; the first: a name has a colon in it");
    assert_eq!(server.login(&["alice", "one"]), welcome());
    // bob could log in as bo, and the other way round.
    synced.change(&[user("bob", "two"), user("bo", "btwo"), user("carol", "")], at(2));
    logged(&mut server, "users.log: users that cannot log in: 3; the first: ");
    logged(&mut server, "users.base: 1 user: -1 (carol)");
    for (user, password) in [("bob", "two"), ("bo", "btwo"), ("carol", "three")] {
        assert_eq!(server.login(&[user, password]), refused(), "{user}");
    }
}

#[test]
fn a_server_says_how_old_its_users_are_and_that_they_are_too_old() {
    let mut synced = Synced::with(&[user("alice", "one")]);
    synced.confirm(Duration::from_secs(100));
    let mut server = synced.serve(Udp, &["--http", "127.0.0.1:0", "--stale-after", "90s"]);
    let http = http_address(&mut server);
    let (status, reason) = get(http, "/healthz", "");
    assert!(status.contains("503") && reason.starts_with("the users are 10"), "{status} {reason}");
    assert!(get(http, "/metrics", "").1.contains("\nletmein_users_age_seconds 10"));
    // Logins go on.
    assert_eq!(server.login(&["alice", "one"]), welcome());
    synced.change(&[user("alice", "two")], at(2));
    logged(&mut server, "1 user: 1 changed (alice)");
    // It is noted after that line.
    let mut health = iter::repeat_with(|| get(http, "/healthz", "").1);
    assert!(health.by_ref().take(1000).any(|health| health == "ok\n"));
    assert_eq!(server.login(&["alice", "two"]), welcome());
}

#[test]
fn a_server_shares_what_is_allowed_against_a_user_with_as_many_nodes_as_are_counted() {
    let synced = Synced::with(&[user("alice", "one")]);
    let more = ["--failures", "off", "--user-failures", "8/600s", "--http", "127.0.0.1:0"];
    let mut server = synced.serve(Udp, &more);
    let http = http_address(&mut server);
    assert!(get(http, "/metrics", "").1.contains("\nletmein_nodes 1\n"));
    fs::write(synced.file(NODES_NAME), "4\n").unwrap();
    logged(&mut server, "limits per user are divided among this number of nodes: 4");
    assert!(get(http, "/metrics", "").1.contains("\nletmein_nodes 4\n"));
    fs::write(synced.file(NODES_NAME), "four\n").unwrap();
    logged(&mut server, "users.nodes: not a number of nodes: start letmein-sync, which makes it anew; ");
    for number in 0..3 {
        assert_eq!(server.login(&["alice", &format!("wrong{number}")]), refused());
    }
    let ended = server.login(&["alice", "one", "--timeout", "0.3"]);
    assert_eq!((ended.status, &*ended.stdout), (3, ""), "{ended:?}");
}

#[test]
fn users_that_were_not_confirmed_for_too_long_may_not_log_in_until_they_are() {
    const OPTIONS: [&str; 5] = ["--debug", "--http", "127.0.0.1:0", "--stale-refuse", "90s"];
    let mut synced = Synced::with(&[user("alice", "one")]);
    // Who restarts the server gains nothing.
    for transport in TRANSPORTS {
        synced.confirm(Duration::from_secs(100));
        let mut server = synced.serve(transport, &OPTIONS);
        let http = http_address(&mut server);
        logged(&mut server, "all logins are refused: the users are 10");
        let (status, reason) = get(http, "/healthz", "");
        let is_told = reason.starts_with("all logins are refused: the users are 10");
        assert!(status.contains("503") && is_told, "{status} {reason}");
        assert!(get(http, "/metrics", "").1.contains("\nletmein_users_suspended 1\n"));
        for (name, reason) in
            [("alice", "refused alice: all users suspended"), ("bob", "refused an unknown user")]
        {
            assert_eq!(server.login(&[name, "one"]), refused());
            logged(&mut server, reason);
        }
        synced.confirm(Duration::ZERO);
        logged(&mut server, "the users are confirmed again, and may log in");
        assert_eq!(server.login(&["alice", "one"]), welcome());
        assert_eq!(get(http, "/healthz", "").1, "ok\n");
    }
}

#[test]
fn users_of_an_age_that_is_not_known_may_not_log_in_where_age_matters() {
    let mut synced = Synced::with(&[user("alice", "one")]);
    for (time, limited) in [
        (SystemTime::UNIX_EPOCH, refused()),
        // The clock was set back.
        (now() + Duration::from_secs(3600), refused()),
        (now(), welcome()),
    ] {
        synced.confirm_at(time);
        assert_eq!(synced.serve(Udp, &["--stale-refuse", "7d"]).login(&["alice", "one"]), limited);
        assert_eq!(synced.serve(Udp, &[]).login(&["alice", "one"]), welcome());
    }
}

#[test]
fn an_age_at_which_users_are_refused_is_for_those_of_letmein_sync() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("users.toml");
    fs::write(&file, "[users]\nalice = 'one'\n").unwrap();
    let file = file.to_str().unwrap();
    let ended = Server::refusal(Udp, &["127.0.0.1:0", "--users", file, "--stale-refuse", "7d"]);
    let reason = "--stale-refuse is for users of letmein-sync, and ";
    assert!(ended.status == 2 && ended.stderr.contains(reason), "{ended:?}");
    let synced = Synced::with(&[user("alice", "one")]);
    let folder = synced.folder.path().to_str().unwrap();
    let ended = Server::refusal(Udp, &["127.0.0.1:0", "--users", folder, "--stale-refuse", "59s"]);
    assert!(ended.status == 2 && ended.stderr.contains("give 60 s or more"), "{ended:?}");
    let ended = Server::refusal(Udp, &["--service", "md5", "--stale-refuse", "7d"]);
    assert!(ended.status == 2 && ended.stderr.contains("--stale-refuse is for auth, and "), "{ended:?}");
}

/// A reload finds a log whose time is that of a batch under way.
#[test]
fn users_who_were_confirmed_log_in_while_letmein_sync_writes() {
    let mut synced = Synced::with(&[user("alice", "one")]);
    synced.confirm(Duration::ZERO);
    let mut server = synced.serve(Udp, &["--stale-refuse", "7d"]);
    let mut log = OpenOptions::new().append(true).open(synced.file(LOG_NAME)).unwrap();
    log.write_all(b"R").unwrap();
    server.signal(libc::SIGHUP);
    logged(&mut server, "users.base: 1 user");
    assert_eq!(server.login(&["alice", "one"]), welcome());
}

#[test]
fn a_batch_without_its_end_is_not_there_yet() {
    let mut synced = Synced::with(&[user("alice", "one")]);
    let before = fs::read(synced.file(LOG_NAME)).unwrap();
    synced.change(&[user("alice", "two")], at(2));
    let whole = fs::read(synced.file(LOG_NAME)).unwrap();
    let torn = OpenOptions::new().write(true).open(synced.file(LOG_NAME)).unwrap();
    for len in before.len()..whole.len() {
        torn.set_len(len as u64).unwrap();
        let loaded = users::UserSource::load(&users::synced::SyncedUsers::new(synced.folder.path()).unwrap());
        let other = users::parse("[users]\nalice = 'one'\n").unwrap();
        assert_eq!(loaded.unwrap().users.is_unchanged(&other, "alice"), Some(true), "{len} bytes");
    }
}

//! Failed logins on their way from server to server; tests play the servers.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use letmein_auth_engine::{MESSAGE_LEN_MAX, migrate};
use tempfile::TempDir;

use crate::contents::add_users;
use crate::node::{Node, Sync, eventually};
use crate::postgres::{Database, STANDBY, run};

/// What says that failed logins stay where they are.
const NOT_EXCHANGED: &str = "failed logins are not exchanged";
/// Whose messages are in the database.
const ROWS: &str = "SELECT ARRAY[node, encode(message, 'escape')] FROM letmein.exchange ORDER BY node";

/// Where a server offers its failed logins. Nobody listens there before [`Socket::listen`].
struct Socket {
    folder: TempDir,
    shared: Arc<Mutex<Conversation>>,
}

/// What a server says, and what it was told last.
#[derive(Default)]
struct Conversation {
    reply: Vec<u8>,
    told: Vec<Vec<u8>>,
}

impl Socket {
    fn away() -> Self {
        Self { folder: TempDir::new().unwrap(), shared: Arc::default() }
    }

    /// Of a server that is there, and says this.
    fn saying(reply: &[u8]) -> Self {
        let socket = Self::away();
        socket.say(reply);
        socket.listen();
        socket
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("exchange")
    }

    /// From now on the server is there.
    fn listen(&self) {
        let (listener, shared) = (UnixListener::bind(self.path()).unwrap(), self.shared.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &shared);
            }
        });
    }

    fn say(&self, reply: &[u8]) {
        self.shared.lock().unwrap().reply = reply.into();
    }

    /// Waits until the server was told just this.
    fn is_told(&self, messages: &[&[u8]]) {
        eventually("the server is told what others say", || self.shared.lock().unwrap().told == messages);
    }
}

/// Reads all messages, and answers.
fn answer(mut stream: UnixStream, shared: &Mutex<Conversation>) {
    let (mut bytes, mut told) = (Vec::new(), Vec::new());
    stream.read_to_end(&mut bytes).unwrap();
    let mut rest = bytes.as_slice();
    while let Some((len, after)) = rest.split_first_chunk() {
        let (message, after) = after.split_at(u32::from_be_bytes(*len) as usize);
        told.push(message.to_vec());
        rest = after;
    }
    let mut shared = shared.lock().unwrap();
    shared.told = told;
    // Of a reply that is too long, nobody reads the end.
    let _ = stream.write_all(&shared.reply);
}

/// Starts a node that exchanges the failed logins of these servers.
fn start(node: &Node, sockets: &[&Socket]) -> Sync {
    let mut program = node.program();
    for socket in sockets {
        program.arg("--exchange").arg(socket.path());
    }
    node.start_by(program, &[])
}

/// A database with users, and a node of it.
fn node() -> Option<(Database, Node)> {
    let database = Database::new()?;
    add_users(&database, "user", 10);
    let node = Node::of(&database);
    Some((database, node))
}

/// A change still reaches the node, which says that it is well.
fn follows(node: &Node, database: &Database, sync: &mut Sync) {
    database.batch("UPDATE letmein.users SET disabled = NOT disabled WHERE name = 'user1'");
    node.equals(database);
    sync.is_healthy(200, "ok");
}

/// Waits until it was tried again in vain, more than once.
fn fails_again(sync: &mut Sync) {
    const FAILURES: &str = "letmein_sync_exchange_failures_total";
    let before = sync.metric(FAILURES);
    eventually("it is tried again", || sync.metric(FAILURES) >= before + 2);
}

#[test]
fn each_server_is_told_what_those_of_other_nodes_say_and_never_what_it_says_itself() {
    let Some((database, node)) = node() else { return };
    let other = Node::of(&database).called("other");
    let (mine, theirs) = (Socket::saying(b"\0 mine"), Socket::saying(b"\xff theirs"));
    let (mut sync, mut other) = (start(&node, &[&mine]), start(&other, &[&theirs]));
    mine.is_told(&[b"\xff theirs"]);
    theirs.is_told(&[b"\0 mine"]);
    mine.say(b"news");
    theirs.is_told(&[b"news"]);
    // A server that has nothing new to say is told what others say, and they keep what it said before.
    mine.say(b"");
    theirs.say(b"later");
    mine.is_told(&[b"later"]);
    theirs.is_told(&[b"news"]);
    assert_eq!((sync.count("WARN"), other.count("WARN")), (0, 0), "{}\n{}", sync.log(), other.log());
}

#[test]
fn servers_of_one_machine_exchange_in_the_same_way() {
    let Some((database, node)) = node() else { return };
    let [first, second, third] = ["one", "two", "three"].map(|text| Socket::saying(text.as_bytes()));
    let mut sync = start(&node, &[&first, &second, &third]);
    first.is_told(&[b"two", b"three"]);
    second.is_told(&[b"one", b"three"]);
    third.is_told(&[b"one", b"two"]);
    assert_eq!(database.query(ROWS), "here one, here/2 two, here/3 three");
    sync.until("are exchanged as here/3");
    assert!(sync.metric("letmein_sync_exchanges_total") >= 3);
    assert_eq!(sync.metric("letmein_sync_exchange_failures_total"), 0);
}

#[test]
fn a_node_without_such_servers_says_nothing_and_counts_nothing() {
    let Some((database, node, mut sync)) = Node::followed("user", 10) else { return };
    follows(&node, &database, &mut sync);
    assert_eq!(database.query(ROWS), "");
    let (_, page) = sync.get("/metrics");
    assert!(!page.contains("exchange"), "{page}");
}

#[test]
fn a_server_that_is_away_is_said_once_and_asked_again_while_others_go_on() {
    let Some((database, node)) = node() else { return };
    let (away, there) = (Socket::away(), Socket::saying(b"there"));
    let mut sync = start(&node, &[&away, &there]);
    let line = sync.until(NOT_EXCHANGED);
    assert!(line.contains(&format!("WARN no server listens at {}:", away.path().display())), "{line}");
    eventually("the other server has a row", || database.query(ROWS) == "here/2 there");
    follows(&node, &database, &mut sync);
    away.say(b"back");
    away.listen();
    sync.until("answers again: failed logins are exchanged");
    there.is_told(&[b"back"]);
    away.is_told(&[b"there"]);
    // A server that has ended leaves its socket behind, or not.
    fs::remove_file(away.path()).unwrap();
    sync.until("no server listens at");
    drop(UnixListener::bind(away.path()).unwrap());
    fails_again(&mut sync);
    assert_eq!(sync.count("WARN"), 2, "{}", sync.log());
}

#[test]
fn a_server_that_never_answers_is_said_and_stops_neither_following_nor_other_servers() {
    let Some((database, node)) = node() else { return };
    let (silent, there) = (Socket::away(), Socket::saying(b"there"));
    let _listener = UnixListener::bind(silent.path()).unwrap();
    let mut sync = start(&node, &[&silent, &there]);
    sync.until("did not answer within 1 s: failed logins are not exchanged");
    eventually("the other server has a row", || database.query(ROWS) == "here/2 there");
    follows(&node, &database, &mut sync);
    fails_again(&mut sync);
    assert_eq!(sync.count("WARN"), 1, "{}", sync.log());
}

#[test]
fn a_reply_that_is_too_long_is_said_and_not_stored() {
    let Some((database, node)) = node() else { return };
    let server = Socket::saying(&vec![b'a'; MESSAGE_LEN_MAX + 1]);
    let mut sync = start(&node, &[&server]);
    sync.until("says more than 32768 bytes: failed logins are not exchanged");
    assert_eq!(database.query(ROWS), "");
    server.say(&[b'a'; MESSAGE_LEN_MAX]);
    sync.until("answers again");
    eventually("the longest reply is stored", || {
        database.query(ROWS).len() == "here ".len() + MESSAGE_LEN_MAX
    });
}

#[test]
fn failed_logins_are_exchanged_again_once_a_database_that_was_away_is_back() {
    let Some(database) = Database::alone(|_| Vec::new()) else { return };
    add_users(&database, "user", 10);
    let [node, other] = ["here", "other"].map(|name| Node::of(&database).called(name));
    let (mine, theirs) = (Socket::saying(b"mine"), Socket::saying(b"theirs"));
    let (mut sync, _other) = (start(&node, &[&mine]), start(&other, &[&theirs]));
    mine.is_told(&[b"theirs"]);
    database.postgres.kill();
    sync.until("failed logins are not exchanged: no connection to the database");
    theirs.say(b"later");
    // It has forgotten all messages.
    database.postgres.start_again();
    sync.until("the database takes messages again: failed logins are exchanged");
    mine.is_told(&[b"later"]);
    theirs.is_told(&[b"mine"]);
    follows(&node, &database, &mut sync);
}

#[test]
fn a_schema_without_messages_is_followed_and_the_remedy_is_said_once() {
    let Some((database, node)) = node() else { return };
    database.batch("DROP TABLE letmein.exchange; UPDATE letmein.head SET schema_version = 3");
    let server = Socket::saying(b"mine");
    let mut sync = start(&node, &[&server]);
    let line = sync.until(NOT_EXCHANGED);
    assert!(line.contains("(42P01): run letmein-users engine migrate"), "{line}");
    follows(&node, &database, &mut sync);
    fails_again(&mut sync);
    assert_eq!(sync.count("WARN"), 1, "{}", sync.log());
    run(async { migrate(&database.session().await).await }).unwrap();
    sync.until("the database takes messages again");
    eventually("the server has a row", || database.query(ROWS) == "here mine");
}

#[test]
fn a_role_that_may_not_exchange_follows_and_the_remedy_is_said() {
    let Some((database, node)) = node() else { return };
    database.batch("REVOKE INSERT, UPDATE ON letmein.exchange FROM letmein_server");
    let server = Socket::saying(b"mine");
    let mut sync = start(&node, &[&server]);
    let line = sync.until(NOT_EXCHANGED);
    assert!(line.contains("(42501): make its role a member of letmein_server"), "{line}");
    follows(&node, &database, &mut sync);
    assert_eq!(sync.count("WARN"), 1, "{}", sync.log());
}

#[test]
fn a_standby_is_followed_and_the_log_says_that_it_cannot_exchange() {
    let Some(database) = Database::alone(|_| Vec::new()) else { return };
    add_users(&database, "user", 10);
    drop(Node::of(&database));
    let standby = database.copy(&STANDBY);
    let node = Node::at(&database, &standby.postgres.folder().display().to_string());
    let server = Socket::saying(b"mine");
    let mut sync = start(&node, &[&server]);
    let line = sync.until(NOT_EXCHANGED);
    assert!(line.contains("(0A000): name the primary in the file of --engine"), "{line}");
    follows(&node, &database, &mut sync);
    standby.batch("SELECT pg_promote()");
    sync.until("the database takes messages again");
    eventually("the server has a row", || standby.query(ROWS) == "here mine");
}

//! What can happen between a node and its database.

use std::fs;
use std::process::{Child, Command, Stdio};

use letmein_auth_engine::{Type, Writer};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::contents::add_users;
use crate::node::{LOADED, Node, by_shell, eventually};
use crate::postgres::{Database, as_other_user, give, run};
use crate::proxy::{Proxy, Way};

#[test]
fn the_second_host_is_followed_while_the_first_hangs() {
    let Some(first) = Database::alone(|_| Vec::new()) else { return };
    add_users(&first, "user", 10);
    drop(Node::of(&first));
    let second = first.copy(&[]);
    let [one, other] = [&first, &second].map(|host| host.postgres.folder().display().to_string());
    let node = Node::at(&first, &format!("{one},{other}"));
    let mut sync = node.start();
    sync.is_healthy(200, "ok");
    // In the middle of a connection, and before the next.
    first.postgres.freeze();
    second.batch("DELETE FROM letmein.users WHERE name = 'user1'");
    node.equals(&second);
    sync.has_loaded(1);
    assert_eq!(sync.stop(), 0);
    let mut sync = node.start();
    sync.is_healthy(200, "ok");
}

#[test]
fn a_partition_that_drops_or_rejects_ends_when_it_ends() {
    for (way, text) in
        [(Way::Dropped, "did not answer within 5 s"), (Way::Rejected, "no connection to the database")]
    {
        let Some(database) = Database::new() else { return };
        add_users(&database, "user", 10);
        let proxy = Proxy::before(database.postgres.folder());
        let node = Node::at(&database, &proxy.folder().display().to_string());
        let mut sync = node.start();
        node.equals(&database);
        proxy.set(way);
        sync.until(text);
        database.batch("DELETE FROM letmein.users WHERE name = 'user1'");
        proxy.set(Way::Open);
        node.equals(&database);
        sync.has_loaded(1);
    }
}

#[test]
fn a_connection_limit_that_is_reached_is_said_and_tried_again() {
    let Some(database) = Database::new() else { return };
    add_users(&database, "user", 10);
    let node = Node::of(&database);
    database.batch(&format!("ALTER DATABASE {} CONNECTION LIMIT 0", database.name));
    let mut sync = node.start();
    let line = sync.until("the database refuses");
    assert!(line.contains("too many connections") && line.contains("53300"), "{line}");
    database.batch(&format!("ALTER DATABASE {} CONNECTION LIMIT -1", database.name));
    node.equals(&database);
}

#[test]
fn a_password_that_has_expired_is_said_and_tried_again() {
    let Some(database) = Database::alone(|_| Vec::new()) else { return };
    add_users(&database, "user", 10);
    let node = Node::of(&database);
    node.add_setting("password=correct-horse");
    let sql = "ALTER ROLE node PASSWORD 'correct-horse' VALID UNTIL ";
    database.batch(&format!("{sql} 'infinity'"));
    let rules = database.postgres.folder().join("data/pg_hba.conf");
    let others = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, format!("local all node scram-sha-256\n{others}")).unwrap();
    database.batch("SELECT pg_reload_conf()");
    let mut sync = node.start();
    node.equals(&database);
    database.batch(&format!("{sql} '2020-01-01'"));
    database.batch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'node'");
    let line = sync.until("the database refuses");
    assert!(line.contains("28P01"), "{line}");
    let before = node.files();
    database.batch("DELETE FROM letmein.users WHERE name = 'user1'");
    assert_eq!(node.files(), before);
    database.batch(&format!("{sql} 'infinity'"));
    node.equals(&database);
    assert_eq!((sync.count(LOADED), sync.count("horse")), (1, 0), "{}", sync.log());
}

#[test]
fn a_schema_for_later_programs_is_left_alone_and_the_users_stay() {
    let Some((database, node, mut sync)) = Node::followed("user", 10) else { return };
    let before = node.files();
    database.batch("UPDATE letmein.head SET schema_version = 99, min_reader = 99");
    database.batch("DELETE FROM letmein.users WHERE name = 'user1'");
    sync.until("needs a program that knows version 99");
    assert_eq!(node.files(), before);
    let (status, text) = node.check();
    assert_eq!(status, 3);
    assert!(text.contains("install a newer letmein"), "{text}");
    // A later one that this program may read.
    database.batch("UPDATE letmein.head SET min_reader = 1");
    node.equals(&database);
    sync.has_loaded(1);
}

#[test]
fn a_schema_of_an_earlier_program_and_none_at_all_are_said() {
    let Some(database) = Database::empty() else { return };
    // It makes the roles.
    drop(Database::new());
    let node = Node::of(&database);
    let mut sync = node.start();
    sync.until("the database has no schema letmein: make it with letmein-users engine init");
    let (status, text) = node.check();
    assert_eq!(status, 3);
    assert!(text.contains("letmein-users engine init"), "{text}");
    let database = database.with_schema();
    node.equals(&database);
    let before = node.files();
    database.batch("UPDATE letmein.head SET schema_version = 1");
    add_users(&database, "user", 10);
    sync.until("run letmein-users engine migrate");
    assert_eq!(node.files(), before);
}

/// The limit on the size of a file is one that the kernel keeps as it keeps that of a disk.
#[test]
fn a_full_disk_is_said_and_the_users_stay_until_there_is_room() {
    let Some(database) = Database::new() else { return };
    add_users(&database, "user", 10);
    let node = Node::of(&database);
    // 100 blocks of 512 bytes; without the trap a signal would end the program.
    let program = by_shell("trap '' XFSZ; ulimit -S -f 100", &node.program());
    let mut sync = node.start_by(program, &[]);
    node.equals(&database);
    let before = node.users();
    add_users(&database, "more", 5000);
    sync.until("the folder of the users: File too large");
    assert_eq!(node.users(), before, "half a batch is none");
    sync.is_healthy(200, "ok");
    make_room(&sync);
    node.equals(&database);
    sync.has_loaded(1);
}

#[test]
fn a_disk_that_is_full_in_a_load_is_given_back_what_was_written() {
    let Some(database) = Database::new() else { return };
    add_users(&database, "user", 5000);
    let node = Node::of(&database);
    let program = by_shell("trap '' XFSZ; ulimit -S -f 100", &node.program());
    let mut sync = node.start_by(program, &[]);
    sync.until("the folder of the users: File too large");
    eventually("nothing is left of the base", || node.files().is_empty());
    sync.is_healthy(503, "no users yet");
    make_room(&sync);
    node.equals(&database);
}

#[test]
fn a_database_whose_disk_is_full_is_followed_and_what_it_has_refused_is_nowhere() {
    let Some(database) = Database::alone(|_| Vec::new()) else { return };
    add_users(&database, "user", 10);
    let node = Node::of(&database);
    let mut sync = node.start();
    node.equals(&database);
    let limit = |len| limit_files(as_other_user("prlimit".as_ref()), database.postgres.process(), len);
    // More than a file of its log has, so that only the table does not get longer.
    limit("17000000");
    let many = "INSERT INTO letmein.users (name, password) \
                SELECT $1::text || number, 'password' FROM generate_series(1, 2500) AS it(number)";
    let (before, settings) = (node.users(), database.settings());
    let refused = run(Writer::new(&settings).change("add many", async |session| {
        for number in 0..200 {
            session.rows(many, &[(&format!("more{number}-"), Type::TEXT)]).await?;
        }
        Ok(())
    }));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("could not extend file"), "{refused}");
    assert_eq!(node.users(), before);
    // It needs no room in the table.
    database.batch("DELETE FROM letmein.users WHERE name = 'user1'");
    node.equals(&database);
    limit("unlimited");
    add_users(&database, "late", 10);
    node.equals(&database);
    sync.has_loaded(1);
}

/// Lifts the limit.
fn make_room(sync: &crate::node::Sync) {
    limit_files(Command::new("prlimit"), sync.process(), "unlimited");
}

/// Limits the size of files that a process, and processes it starts later, can write.
fn limit_files(mut prlimit: Command, process: Pid, len: &str) {
    let process = process.as_raw_nonzero().to_string();
    // The soft limit, which may be lifted again.
    prlimit.args(["--pid", &process]).arg(format!("--fsize={len}:"));
    assert!(prlimit.status().unwrap().success());
}

/// A pgbouncer that gives each transaction another connection; ended when dropped.
struct Pool {
    folder: TempDir,
    child: Child,
}

impl Pool {
    /// `None` if it is not installed, which is said.
    fn before(database: &Database) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let (socket, name) = (folder.path().display(), &database.name);
        let text = format!(
            "[databases]\n{name} = host={} dbname={name}\n[pgbouncer]\nunix_socket_dir = {socket}\n\
             listen_port = 5432\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n\
             server_round_robin = 1\nlogfile =\n",
            database.postgres.folder().display()
        );
        let text = text.replace("auth_type = any", "auth_type = trust\nauth_file = users.txt");
        fs::write(folder.path().join("pgbouncer.ini"), text).unwrap();
        fs::write(folder.path().join("users.txt"), "\"node\" \"\"\n").unwrap();
        give(folder.path());
        let mut pgbouncer = as_other_user("pgbouncer".as_ref());
        pgbouncer.current_dir(folder.path()).arg("pgbouncer.ini").stderr(Stdio::null());
        match pgbouncer.spawn() {
            Ok(child) => {
                eventually("pgbouncer listens", || folder.path().join(".s.PGSQL.5432").exists());
                Some(Self { folder, child })
            }
            Err(_) => {
                use std::io::Write;
                // Not by eprintln, whose lines the harness keeps when a test passes.
                std::io::stderr().write_all(b"skipped: pgbouncer is not installed\n").unwrap();
                None
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

#[test]
fn a_pool_that_gives_each_transaction_another_connection_is_followed() {
    let Some(database) = Database::new() else { return };
    let Some(pool) = Pool::before(&database) else { return };
    add_users(&database, "user", 5000);
    let node = Node::at(&database, &pool.folder.path().display().to_string());
    let mut sync = node.start();
    node.equals(&database);
    for number in 0..3 {
        database.batch(&format!("DELETE FROM letmein.users WHERE name = 'user{number}'"));
        node.equals(&database);
    }
    assert_eq!((sync.count(LOADED), sync.count("WARN")), (1, 0), "{}", sync.log());
}

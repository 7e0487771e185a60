//! A node: a folder of users, and the program that keeps them.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use users::synced::{
    BASE_NAME, Credential, LOG_NAME, NODES_NAME, Position, read_base, read_changed, read_log,
};

use crate::contents::{Users, add_users, of_database, of_row};
use crate::postgres::Database;

/// How long anything may take. Nothing takes so long unless it is wrong.
const LONGEST: Duration = Duration::from_secs(60);

/// What says that all users were loaded.
pub(crate) const LOADED: &str = "all users loaded";

/// A folder of users, and the settings of a database.
pub(crate) struct Node {
    files: TempDir,
    name: &'static str,
}

/// A `letmein-sync` that runs; killed when dropped.
pub(crate) struct Sync {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Node {
    /// A node that follows a database as a role that may do no more than it has to.
    pub(crate) fn of(database: &Database) -> Self {
        Self::at(database, &database.postgres.folder().display().to_string())
    }

    /// A new database with users of this prefix, and a node that has all of them.
    pub(crate) fn followed(prefix: &str, users: usize) -> Option<(Database, Self, Sync)> {
        let database = Database::new()?;
        if users > 0 {
            add_users(&database, prefix, users);
        }
        let node = Self::of(&database);
        let sync = node.start();
        node.equals(&database);
        Some((database, node, sync))
    }

    /// The same as [`Node::of`], with other hosts, or with other settings after them.
    pub(crate) fn at(database: &Database, hosts: &str) -> Self {
        database.batch(
            "DO $$ BEGIN CREATE ROLE node LOGIN IN ROLE letmein_server;
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
        );
        let node = Self { files: TempDir::new().unwrap(), name: "here" };
        let settings = format!("host={hosts} user=node dbname={}", database.name);
        fs::write(node.settings(), settings).unwrap();
        fs::set_permissions(node.settings(), Permissions::from_mode(0o600)).unwrap();
        node
    }

    /// The same with another name.
    pub(crate) fn called(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Adds a setting of the database.
    pub(crate) fn add_setting(&self, setting: &str) {
        let settings = fs::read_to_string(self.settings()).unwrap();
        fs::write(self.settings(), format!("{settings}\n{setting}")).unwrap();
    }

    fn settings(&self) -> PathBuf {
        self.files.path().join("engine")
    }

    /// The folder of the users.
    pub(crate) fn folder(&self) -> PathBuf {
        self.files.path().join("users")
    }

    /// Starts the program.
    pub(crate) fn start(&self) -> Sync {
        self.start_by(self.program(), &[])
    }

    /// The program, with its two files.
    pub(crate) fn program(&self) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_letmein-sync"));
        program.arg("--engine").arg(self.settings()).arg("--folder").arg(self.folder());
        program.args(["--node", self.name]);
        program
    }

    /// Starts the program by a command that becomes it, with more arguments.
    pub(crate) fn start_by(&self, mut program: Command, more: &[&str]) -> Sync {
        program.args(["--http", "127.0.0.1:0"]).args(more).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || log.lines().for_each(|line| drop(sender.send(line.unwrap()))));
        Sync { child, lines, seen: Vec::new() }
    }

    /// Runs `letmein-sync --check`: its exit status, and what it prints and says.
    pub(crate) fn check(&self) -> (i32, String) {
        let output = self.program().arg("--check").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }

    /// Where the users in the folder are, and the users; `None` if there are none, or none that are whole.
    pub(crate) fn users(&self) -> Option<(Position, Users)> {
        // The log first, as servers do it.
        let log = File::open(self.folder().join(LOG_NAME)).ok();
        let mut users = Users::new();
        let base = File::open(self.folder().join(BASE_NAME)).ok()?;
        let mut position =
            read_base(base, |row| drop(users.insert(row.name.into(), of_row(&row)))).ok()?.position;
        if let Some((batches, changed)) = log.and_then(|log| read_changed(log).ok())
            && batches.base == position
        {
            position = batches.position;
            for row in changed.rows() {
                match row.credential {
                    Credential::Removed => drop(users.remove(row.name)),
                    Credential::Password(_) | Credential::Record(_) => {
                        users.insert(row.name.into(), of_row(&row));
                    }
                }
            }
        }
        Some((position, users))
    }

    /// Waits until the folder has the users that the database has.
    pub(crate) fn equals(&self, database: &Database) {
        let (mut theirs, mut looks) = (of_database(database), 0);
        eventually("the folder has the users of the database", || {
            looks += 1;
            // The database is looked at less often, since that takes it a process.
            if looks % 100 == 0 {
                theirs = of_database(database);
            }
            self.is_whole() && self.users().is_some_and(|mine| mine == theirs)
        });
    }

    /// Whether the log belongs to the base. It does not for a moment after all users were loaded.
    fn is_whole(&self) -> bool {
        let [base, log] = [BASE_NAME, LOG_NAME].map(|name| File::open(self.folder().join(name)));
        let base = base.ok().and_then(|base| read_base(base, |_| {}).ok());
        let log = log.ok().and_then(|log| read_log(log, |_| {}).ok());
        base.zip(log).is_some_and(|(base, log)| base.position == log.base)
    }

    /// All files of users and what is in them. How many nodes there are is written at any time.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.folder()).unwrap().map(Result::unwrap);
        let of_users = files.filter(|file| !file.file_name().to_string_lossy().starts_with(NODES_NAME));
        of_users
            .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
            .collect()
    }
}

impl Sync {
    /// Waits for the next line of the log with a text in it.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let started = Instant::now();
        loop {
            match self.lines.recv_timeout(LONGEST.saturating_sub(started.elapsed())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {text:?} in\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Reads lines of the log for so long.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let started = Instant::now();
        loop {
            match self.lines.recv_timeout(time.saturating_sub(started.elapsed())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => panic!("it has ended\n{}", self.seen.join("\n")),
            }
        }
    }

    /// All lines of the log up to now.
    pub(crate) fn log(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    /// How many lines of the log have a text in them.
    pub(crate) fn count(&mut self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// All users were loaded so many times. The log says so a moment after the files have them.
    pub(crate) fn has_loaded(&mut self, times: usize) {
        eventually("the log says that all users were loaded", || self.count(LOADED) >= times);
        assert_eq!(self.count(LOADED), times, "{}", self.log());
    }

    /// What is served at a path: status and text.
    pub(crate) fn get(&mut self, path: &str) -> (u16, String) {
        const SERVED: &str = "metrics and health on http://";
        if !self.seen.iter().any(|line| line.contains(SERVED)) {
            self.until(SERVED);
        }
        let line = self.seen.iter().find(|line| line.contains(SERVED)).unwrap();
        let address = line.rsplit_once("http://").unwrap().1.trim_end_matches('/');
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.into())
    }

    /// Waits until its health is this.
    pub(crate) fn is_healthy(&mut self, status: u16, text: &str) {
        eventually(&format!("/healthz is {status} {text}"), || {
            let (is, said) = self.get("/healthz");
            is == status && said.contains(text)
        });
    }

    /// A metric.
    pub(crate) fn metric(&mut self, name: &str) -> u64 {
        let (_, page) = self.get("/metrics");
        let line =
            page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.unwrap().parse().unwrap()
    }

    pub(crate) fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn hang_up(&self) {
        kill_process(self.process(), Signal::HUP).unwrap();
    }

    /// Stops all threads until [`Sync::thaw`].
    pub(crate) fn freeze(&self) {
        kill_process(self.process(), Signal::STOP).unwrap();
        let threads = PathBuf::from(format!("/proc/{}/task", self.process().as_raw_nonzero()));
        eventually("all threads are stopped", || {
            let mut threads = fs::read_dir(&threads).unwrap().map(|thread| thread.unwrap().path());
            threads.all(|thread| fs::read_to_string(thread.join("stat")).unwrap().contains(") T "))
        });
    }

    pub(crate) fn thaw(&self) {
        kill_process(self.process(), Signal::CONT).unwrap();
    }

    pub(crate) fn kill(mut self) {
        self.end_by_kill();
    }

    /// Kills it, and leaves it.
    pub(crate) fn end_by_kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills it, and starts another one.
    pub(crate) fn kill_and_start(&mut self, node: &Node) {
        self.end_by_kill();
        *self = node.start();
    }

    /// Stops it, as a service manager does: its exit status.
    pub(crate) fn stop(mut self) -> i32 {
        kill_process(self.process(), Signal::TERM).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }

    /// Waits for its end, which it comes to itself: its exit status, and what it said.
    pub(crate) fn end(mut self) -> (i32, String) {
        let status = self.child.wait().unwrap().code().unwrap();
        self.seen.extend(self.lines.iter());
        (status, self.seen.join("\n"))
    }
}

impl Drop for Sync {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("the log of letmein-sync:\n{}", self.log());
        }
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LONGEST, "not after {LONGEST:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A shell command that becomes a program.
pub(crate) fn by_shell(before: &str, program: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{before}; exec \"$@\"")).arg("sh");
    shell.arg(program.get_program()).args(program.get_args());
    shell
}

/// How long a file is; 0 if there is none.
pub(crate) fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

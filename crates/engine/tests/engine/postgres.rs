//! Starts PostgreSQL, and makes databases in it.

use std::fs::{self, File, Permissions};
use std::future::Future;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use letmein_auth_engine::{Session, Settings, init};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;
use tokio::runtime;

/// A PostgreSQL that is up; stopped when dropped.
pub(crate) struct Postgres {
    folder: TempDir,
    settings: Vec<String>,
    child: Mutex<Child>,
    log: Mutex<Receiver<String>>,
}

/// Arguments of pg_basebackup for a standby.
pub(crate) const STANDBY: [&str; 2] = ["-R", "--wal-method=stream"];

/// A database of a PostgreSQL that may have others.
pub(crate) struct Database {
    pub(crate) postgres: Arc<Postgres>,
    pub(crate) name: String,
}

impl Postgres {
    /// One that all tests share while they run.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().or_else(|| {
            let started = Arc::new(Self::start(|_| Vec::new())?);
            *shared = Arc::downgrade(&started);
            Some(started)
        })
    }

    /// One with settings, which may need files in its folder.
    pub(crate) fn start(settings: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        let programs = programs()?;
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        give(folder.path());
        let mut initdb = as_other_user(&programs.join("initdb"));
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        assert!(initdb.arg("--pgdata").arg(&data).stdout(Stdio::null()).status().unwrap().success());
        let settings = settings(folder.path());
        Some(Self::start_in(folder, settings))
    }

    /// A standby of this one, or a backup that is restored, as the arguments of pg_basebackup say.
    fn copy(&self, arguments: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        give(folder.path());
        self.back_up(arguments, &folder.path().join("data"));
        Self::start_in(folder, Vec::new())
    }

    fn back_up(&self, arguments: &[&str], data: &Path) {
        let mut copy = as_other_user(&programs().unwrap().join("pg_basebackup"));
        copy.args(["--username=postgres", "--checkpoint=fast", "--no-sync", "--host"]).arg(self.folder());
        copy.args(arguments).arg("--pgdata").arg(data);
        assert!(copy.status().unwrap().success());
    }

    /// Starts it again after it was killed, as a standby of another one: what it had is gone.
    pub(crate) fn start_as_standby_of(&self, primary: &Self) {
        let [data, new] = ["data", "data.new"].map(|name| self.folder().join(name));
        primary.back_up(&STANDBY, &new);
        fs::remove_dir_all(&data).unwrap();
        fs::rename(&new, &data).unwrap();
        self.start_again();
    }

    /// Starts what is in the folder.
    fn start_in(folder: TempDir, settings: Vec<String>) -> Self {
        let (child, log) = launch(folder.path(), &settings);
        Self { folder, settings, child: Mutex::new(child), log: Mutex::new(log) }
    }

    /// The process that starts the others.
    pub(crate) fn process(&self) -> Pid {
        Pid::from_child(&self.child.lock().unwrap())
    }

    /// Stops all its processes, as a computer that hangs: nobody is refused, and nobody is answered.
    pub(crate) fn freeze(&self) {
        // First the one that could start more.
        let _ = kill_process(self.process(), Signal::STOP);
        // The kernel may leave some out of the list while others end.
        let mut stopped = Vec::new();
        while stopped != self.processes() {
            stopped = self.processes();
            self.signal_all(Signal::STOP);
        }
    }

    pub(crate) fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    /// Ends all its processes, as if the power had failed.
    pub(crate) fn kill(&self) {
        // So that none goes on alone, or starts another.
        self.freeze();
        let all = self.processes();
        self.signal_all(Signal::KILL);
        self.child.lock().unwrap().wait().unwrap();
        // Whoever is still there holds the shared memory.
        while all.iter().any(|process| is_running(*process)) {
            thread::yield_now();
        }
    }

    /// Kills it, and starts it again.
    pub(crate) fn kill_and_start(&self) {
        self.kill();
        self.start_again();
    }

    /// Starts it again after it was killed.
    pub(crate) fn start_again(&self) {
        let (child, log) = launch(self.folder.path(), &self.settings);
        *self.child.lock().unwrap() = child;
        *self.log.lock().unwrap() = log;
    }

    fn signal_all(&self, signal: Signal) {
        for process in self.processes() {
            // It may have ended.
            let _ = kill_process(process, signal);
        }
    }

    /// The process, and those that it has started.
    fn processes(&self) -> Vec<Pid> {
        let id = self.child.lock().unwrap().id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let children = children.split_whitespace().map(|id| id.parse().unwrap());
        [id.cast_signed()].into_iter().chain(children).map(|id| Pid::from_raw(id).unwrap()).collect()
    }

    /// The next lines of its log, up to one with `end` in it.
    pub(crate) fn log_until(&self, end: &str) -> String {
        let lines: Vec<_> = self.log.lock().unwrap().iter().take_while(|line| !line.contains(end)).collect();
        lines.join("\n")
    }

    /// The folder of its Unix socket.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if matches!(self.child.lock().unwrap().try_wait(), Ok(Some(_))) {
            self.start_again();
        }
        self.thaw();
        // It stops at once, and leaves no shared memory behind, as it would when killed.
        let mut child = self.child.lock().unwrap();
        let _ = kill_process(Pid::from_child(&child), Signal::QUIT);
        let _ = child.wait();
    }
}

impl Database {
    /// An empty one.
    pub(crate) fn empty() -> Option<Self> {
        Some(Self::empty_in(Postgres::shared()?))
    }

    fn empty_in(postgres: Arc<Postgres>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let database = Self { postgres, name };
        database.postgres().batch(&format!("CREATE DATABASE {}", database.name));
        database
    }

    /// One with the schema.
    pub(crate) fn new() -> Option<Self> {
        Self::empty().map(Self::with_schema)
    }

    /// One with the schema in a PostgreSQL of its own.
    pub(crate) fn alone(settings: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        Some(Self::empty_in(Arc::new(Postgres::start(settings)?)).with_schema())
    }

    pub(crate) fn with_schema(self) -> Self {
        run(async { init(&self.session().await).await }).unwrap();
        self
    }

    /// From now on it acknowledges no change before a standby has it.
    pub(crate) fn be_synchronous(&self) {
        self.batch("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.batch("SELECT pg_reload_conf()");
        self.wait_until(
            "SELECT ARRAY[count(*)::text] FROM pg_stat_replication WHERE sync_state = 'sync'",
            "1",
        );
        // What does it has the new settings, too, before it tells others that commits wait.
        self.batch("CHECKPOINT");
    }

    /// Waits until a query of arrays gives this.
    pub(crate) fn wait_until(&self, sql: &str, expected: &str) {
        // Each look takes some milliseconds.
        let is_so = (0..10_000).any(|_| self.query(sql) == expected);
        assert!(is_so, "{sql} does not give {expected}");
    }

    /// The same one in a copy of its PostgreSQL.
    pub(crate) fn copy(&self, arguments: &[&str]) -> Self {
        Self { postgres: Arc::new(self.postgres.copy(arguments)), name: self.name.clone() }
    }

    /// The one that is there from the start.
    pub(crate) fn postgres(&self) -> Self {
        Self { postgres: self.postgres.clone(), name: "postgres".into() }
    }

    /// Settings of a superuser.
    pub(crate) fn settings(&self) -> Settings {
        self.settings_at(self.postgres.folder())
    }

    /// The same, for another folder with a Unix socket.
    pub(crate) fn settings_at(&self, folder: &Path) -> Settings {
        load(&format!("host={} user=postgres dbname={}", folder.display(), self.name)).unwrap()
    }

    pub(crate) async fn session(&self) -> Session {
        Session::open(&self.settings()).await.unwrap()
    }

    /// Runs statements in a session of their own.
    pub(crate) fn batch(&self, sql: &str) {
        run(async { self.session().await.batch(sql).await }).unwrap();
    }

    /// Runs statements that are refused, and tells why.
    pub(crate) fn refusal(&self, sql: &str) -> String {
        run(async { self.session().await.batch(sql).await }).unwrap_err().to_string()
    }

    /// What a query of arrays gives, as text: columns with spaces between them, rows with commas.
    pub(crate) fn query(&self, sql: &str) -> String {
        let sql = format!(
            "SELECT coalesce(string_agg(concat_ws(' ', variadic it), ', '), '') FROM ({sql}) AS rows(it)"
        );
        run(async { self.session().await.row(&sql, &[]).await }).unwrap().get(0)
    }
}

/// Settings from a file that only its owner can read.
pub(crate) fn load(text: &str) -> Result<Settings, letmein_auth_engine::SettingsError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("engine");
    let mut file = File::create(&path).unwrap();
    file.set_permissions(Permissions::from_mode(0o600)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Settings::load(&path, "test")
}

/// Runs something to its end.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The folder of the newest PostgreSQL. That it is absent is said.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let programs = versions.map(|version| version.unwrap().path().join("bin"));
    let programs = programs.filter(|programs| programs.join("initdb").exists()).max();
    if programs.is_none() {
        // Not by eprintln, whose lines the harness keeps when a test passes.
        io::stderr().write_all(b"skipped: postgresql is not installed\n").unwrap();
    }
    programs
}

/// Starts PostgreSQL, and waits until it lets somebody in. The lines of its log come after that.
fn launch(folder: &Path, settings: &[String]) -> (Child, Receiver<String>) {
    let mut postgres = as_other_user(&programs().unwrap().join("postgres"));
    postgres.arg("-D").arg(folder.join("data")).arg("-k").arg(folder).args(["-c", "fsync=off"]);
    postgres.args(["-c", "listen_addresses="]).args(settings);
    let mut child = postgres.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let ready = log.by_ref().find(|line| line.contains("ready to accept"));
    assert!(ready.is_some(), "PostgreSQL does not start");
    // So that it never waits for somebody to read its log.
    let (sender, receiver) = channel();
    thread::spawn(move || log.for_each(|line| drop(sender.send(line))));
    (child, receiver)
}

/// Whether a process has not ended yet.
fn is_running(process: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    // The state comes after the name of the program.
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A program that root must not run.
pub(crate) fn as_other_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/");
    if let Some((user, group)) = other_user() {
        command.uid(user).gid(group);
    }
    command
}

/// Gives a file to whom PostgreSQL runs as.
pub(crate) fn give(path: &Path) {
    if let Some((user, group)) = other_user() {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

/// The user nobody, if root runs this.
fn other_user() -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("nobody:")).unwrap();
    let mut ids = line.split(':').skip(2).map(|id| id.parse().unwrap());
    geteuid().is_root().then(|| (ids.next().unwrap(), ids.next().unwrap()))
}

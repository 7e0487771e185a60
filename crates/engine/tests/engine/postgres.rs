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
    child: Child,
    log: Mutex<Receiver<String>>,
}

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
        let mut postgres = as_other_user(&programs.join("postgres"));
        postgres.arg("-D").arg(&data).arg("-k").arg(folder.path()).args(["-c", "fsync=off"]);
        postgres.args(["-c", "listen_addresses="]).args(settings(folder.path()));
        let mut child = postgres.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let ready = log.by_ref().find(|line| line.contains("ready to accept connections"));
        assert!(ready.is_some(), "PostgreSQL does not start");
        // So that it never waits for somebody to read its log.
        let (sender, receiver) = channel();
        thread::spawn(move || log.for_each(|line| drop(sender.send(line))));
        Some(Self { folder, child, log: Mutex::new(receiver) })
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
        // It stops at once, and leaves no shared memory behind, as it would when killed.
        let _ = kill_process(Pid::from_child(&self.child), Signal::QUIT);
        let _ = self.child.wait();
    }
}

impl Database {
    /// An empty one.
    pub(crate) fn empty() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let database = Self {
            postgres: Postgres::shared()?,
            name: format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
        };
        let postgres = Self { postgres: database.postgres.clone(), name: "postgres".into() };
        postgres.batch(&format!("CREATE DATABASE {}", database.name));
        Some(database)
    }

    /// One with the schema.
    pub(crate) fn new() -> Option<Self> {
        let database = Self::empty()?;
        run(async { init(&database.session().await).await }).unwrap();
        Some(database)
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

/// A program that root must not run.
fn as_other_user(program: &Path) -> Command {
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

//! Users in a real PostgreSQL, changed by the real program. Without PostgreSQL the tests are skipped, and say so.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

// Its name in the tests of the engine.
extern crate engine as letmein_auth_engine;

mod commands;
#[path = "../../../../tests/programs/ended.rs"]
mod ended;
mod history;
mod manuals;
mod moves;
#[path = "../../../../crates/engine/tests/engine/postgres.rs"]
#[expect(dead_code, reason = "the tests of the engine need more of it")]
mod postgres;
#[path = "../../../../crates/engine/tests/engine/proxy.rs"]
#[expect(dead_code, reason = "the tests of the engine need more of it")]
mod proxy;
mod records;
mod setup;
mod together;

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use postgres::Database;
use tempfile::TempDir;

/// How the program ended, and what it printed and said.
type Ended = (i32, String, String);

/// Passwords that nobody can guess.
const STRONG: &str = "kmzx7q2vtb9dhwy4nfcrp3sgj8";
const STRONG2: &str = "w4nfcrp3sgj8kmzx7q2vtb9dhy";

/// A database with tables, and a file with the settings of its administrator.
struct Site {
    folder: TempDir,
    database: Database,
}

impl Site {
    fn new() -> Option<Self> {
        let database = Database::new()?;
        let admin = format!("admin_of_{}", database.name);
        database.batch(&format!("CREATE ROLE {admin} LOGIN IN ROLE letmein_admin"));
        let folder = TempDir::new().unwrap();
        settings_in(&folder, &database, &admin);
        Some(Self { folder, database })
    }

    /// Changes the settings to those of another role.
    fn log_in_as(&self, role: &str) {
        settings_in(&self.folder, &self.database, role);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command, whose file with settings is shown as ENGINE.
    fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with_input(arguments, "")
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Ended {
        let file = self.file("engine");
        let (status, stdout, stderr) =
            run_with_input(&[&["--engine", file.to_str().unwrap()], arguments].concat(), input);
        let shown = |text: String| text.replace(file.to_str().unwrap(), "ENGINE");
        (status, shown(stdout), shown(stderr))
    }

    /// All that the database has of users.
    fn users(&self) -> String {
        self.database.query(
            "SELECT ARRAY[name, coalesce(password, 'record'), disabled::text, coalesce(expires::text, 'never'), \
             coalesce(array_to_string(networks, '+'), 'anywhere')] FROM letmein.users ORDER BY name",
        )
    }
}

/// A file with the settings of a role.
fn settings_in(folder: &TempDir, database: &Database, role: &str) -> PathBuf {
    settings_at(folder, database.postgres.folder(), &database.name, role)
}

/// The same, for a database behind the socket of another folder.
fn settings_at(folder: &TempDir, socket: &Path, database: &str, role: &str) -> PathBuf {
    let file = folder.path().join("engine");
    fs::write(&file, format!("host={} user={role} dbname={database}", socket.display())).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    file
}

fn letmein_users(arguments: &[&str]) -> Ended {
    run_with_input(arguments, "")
}

fn run_with_input(arguments: &[&str], input: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_letmein-users"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    // It may end without reading all.
    let writer = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code().unwrap(), stdout, stderr)
}

fn done(stdout: &str) -> Ended {
    (0, stdout.into(), String::new())
}

fn failed(status: i32, stderr: &str) -> Ended {
    (status, String::new(), stderr.into())
}

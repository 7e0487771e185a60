//! Programs that run to their end, and those of the system.

use std::env;
use std::io::{self, Write};
use std::process::{Command, Output};

/// A program that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().expect("no signal ended it"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A program of the system, wherever administrators find it. What is absent is said, and its tests are skipped.
pub(crate) fn installed(name: &str) -> Option<Command> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let mut folders = env::split_paths(&paths).chain(["/usr/sbin".into()]);
    let program = folders.find_map(|folder| Some(folder.join(name)).filter(|program| program.is_file()));
    if program.is_none() {
        // Not by eprintln, whose lines the harness keeps when a test passes.
        io::stderr().write_all(format!("skipped: {name} is not installed\n").as_bytes()).unwrap();
    }
    program.map(Command::new)
}

pub(crate) fn run(command: &mut Command) -> Ended {
    command.output().unwrap().into()
}

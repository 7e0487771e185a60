//! The man pages and completions of a letmein-users that knows PostgreSQL, under its name in packages.

#[path = "../../../../tests/programs/manuals/checks.rs"]
mod checks;

use std::path::PathBuf;

const MANUALS: &[&str] = &["--features", "engine", "--example", "engine-manuals"];

fn programs() -> Vec<(String, PathBuf)> {
    vec![("letmein-users-engine".into(), env!("CARGO_BIN_EXE_letmein-users").into())]
}

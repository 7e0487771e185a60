//! The man page and completions of letmein-sync.

#[path = "../../../../tests/programs/manuals/checks.rs"]
mod checks;

use std::path::PathBuf;

const MANUALS: &[&str] = &["--example", "manuals"];

fn programs() -> Vec<(String, PathBuf)> {
    vec![("letmein-sync".into(), env!("CARGO_BIN_EXE_letmein-sync").into())]
}

//! The man pages and completions of the programs that every build has.

mod checks;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::ended::installed;
use crate::running::program_file;
use checks::{bash, fish, offered, zsh};

const MANUALS: &[&str] = &["--example", "manuals"];

/// All that there are but letmein-sync, whose own tests look at its manual.
fn programs() -> Vec<(String, PathBuf)> {
    let sources = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin")).unwrap();
    let packages = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/programs")).unwrap();
    let paths = sources.chain(packages).map(|entry| entry.unwrap().path());
    let names = paths.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    let names = names.filter(|name| name != "letmein-sync");
    let programs: Vec<_> = names.map(|name| (name.clone(), program_file(&name))).collect();
    assert!(programs.len() > 6);
    programs
}

#[test]
fn shells_offer_the_mechanisms() {
    for program in ["letmein", "letmein-http", "letmein-bench"] {
        let line = format!("{program} --mechanism o");
        let shells = [("bash", bash(program, &line)), ("zsh", zsh(&line)), ("fish", fish(program, &line))];
        for (name, mut shell) in shells {
            if installed(name).is_some() {
                assert_eq!(offered(&mut shell), BTreeSet::from(["opaque".to_owned()]), "{name}: {line}");
            }
        }
    }
}

//! Links the unwinder of GCC into programs for glibc: `letmein` starts some 0.15 ms sooner if it need not load
//! libgcc_s.so.1. Nothing changes where the compiler that cargo knows of has no archive of it.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = ["CARGO_CFG_TARGET_OS", "CARGO_CFG_TARGET_ENV"].map(|key| env::var(key).unwrap_or_default());
    if target != ["linux", "gnu"] {
        return;
    }
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    // A compiler prints the path of a file that it has, or else the name alone.
    let archive = Command::new(linker).arg("-print-file-name=libgcc_eh.a").output();
    if archive.is_ok_and(|archive| archive.stdout.starts_with(b"/")) {
        println!("cargo:rustc-link-lib=static:-bundle=gcc_eh");
    }
}

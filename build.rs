//! Links the unwinder of GCC into programs for glibc: `letmein` starts some 0.15 ms sooner if it need not load
//! libgcc_s.so.1. Every compiler that links Rust for glibc brings the archive, libgcc_eh.a, beside the shared library.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = ["CARGO_CFG_TARGET_OS", "CARGO_CFG_TARGET_ENV"].map(|key| env::var(key).unwrap_or_default());
    if target == ["linux", "gnu"] {
        println!("cargo:rustc-link-lib=static:-bundle=gcc_eh");
    }
}

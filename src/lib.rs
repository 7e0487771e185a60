//! The programs of letmein: challenge-response authentication over UDP and TCP.
//!
//! A programmer who wants to log somebody in needs the crate `letmein-auth-client`, and nothing of this one.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | command lines, one file a program |
//! | `gateway`, on Linux | HTTP credentials → a login → a status, for web servers |
#![forbid(unsafe_code)]

pub mod cli;
#[cfg(target_os = "linux")]
pub mod gateway;

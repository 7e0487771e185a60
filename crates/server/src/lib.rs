//! A server's life, on Linux: it carries the protocol's messages, and tells what came of them.
//!
//! | module | what it is |
//! |---|---|
//! | [`settings`] | what a server is told |
//! | [`limits`] | every limit by name |
//! | [`daemon`] | a server's life from start to stop |
//! | [`error`] | why it does not start, or does not go on |
//! | [`net`] | sockets and clocks, and the loops that serve |
//! | `reload` | the users file, followed |
//! | `manager` | what a service manager is told |
//! | [`report`] | what happened, as log lines and in the audit |
//! | `tally` | what happened, in numbers |
//! | `watch` | a running server, for whoever watches it |
//! | [`http`] | how it is watched: metrics, health, status |
//! | [`sandbox`] | what a server can no longer do |
#![deny(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("servers need Linux: recvmmsg, packet information, seccomp, Landlock");

pub mod daemon;
pub mod descriptors;
pub mod error;
pub mod http;
pub mod limits;
mod manager;
pub mod net;
mod reload;
pub mod report;
pub mod sandbox;
pub mod settings;
pub mod signals;
mod tally;
mod watch;

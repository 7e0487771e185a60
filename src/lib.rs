//! Challenge-response authentication over UDP and TCP: who knows their password, without the password crossing
//! the network.
//!
//! A programmer who wants to log somebody in needs [`Login`]. The rest is the servers and programs, in reading
//! order:
//!
//! | module | what it is |
//! |---|---|
//! | [`auth`] | the exchange: bytes, address and time in; bytes and an event out |
//! | [`exchange`] | the small services beside it, as pure |
//! | [`users`] | `users.toml`, as an immutable snapshot |
//! | [`net`] | sockets and clocks, which carry the exchange |
//! | `report` | what happened, as log lines |
//! | `tally` | what happened, in numbers |
//! | `watch` | a running server, for whoever watches it |
//! | `http` | how it is watched: metrics, health, status |
//! | [`settings`] | what a server is told |
//! | [`limits`] | every limit by name |
//! | [`sandbox`] | what a server can no longer do |
//! | [`daemon`] | a server's life from start to stop |
//! | `manager` | what a service manager is told of it |
//! | [`gateway`] | HTTP credentials → a login → a status, for web servers |
//! | [`mod@bench`] | the load generator |
//! | [`cli`] | command lines, one file a program |
//!
//! One rule explains the split: the protocol decides and touches nothing; `net` touches everything and decides
//! nothing. The linter holds it.

#[cfg(not(target_os = "linux"))]
compile_error!("letmein needs Linux: recvmmsg, packet information, /proc");

pub mod bench;
pub mod cli;
pub mod daemon;
mod descriptors;
mod error;
pub mod gateway;
mod http;
pub mod limits;
mod manager;
pub mod net;
mod reload;
mod report;
pub mod sandbox;
pub mod settings;
mod signals;
mod tally;
pub mod users;
mod watch;

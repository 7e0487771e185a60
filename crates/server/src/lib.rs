//! The servers, on Linux: sockets, log, audit, monitoring and sandbox around the protocol.
//!
//! | module | content |
//! |---|---|
//! | [`settings`] | the settings of a server |
//! | [`limits`] | every limit by name |
//! | [`doors`] | where a server listens |
//! | `age` | how old the users are, where another program keeps them up to date |
//! | `announce` | the first lines of a server |
//! | [`daemon`] | running a server, from start to stop |
//! | [`check`] | what can be tried without serving |
//! | [`error`] | the errors that end a server or keep it from starting |
//! | `fleet` | failed logins that are counted together with other servers |
//! | [`net`] | sockets, clocks and the loops of the workers |
//! | `directory` | what the logins of all doors share |
//! | `reload` | reloading the users file |
//! | [`manager`] | notifications to a service manager |
//! | [`log`] | the log and the audit |
//! | `counters` | the counters of the workers |
//! | `status` | the status of a running server |
//! | [`http`] | monitoring over HTTP: metrics, health, status |
//! | `privileges`, [`sandbox`] | the rights that a server gives up |
#![deny(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("servers need Linux: recvmmsg, packet information, seccomp, Landlock");

mod age;
mod announce;
pub mod check;
mod cluster;
mod counters;
pub mod daemon;
pub mod descriptors;
mod directory;
pub mod doors;
pub mod error;
mod fleet;
pub mod http;
pub mod limits;
pub mod log;
pub mod manager;
pub mod net;
mod priority;
mod privileges;
mod reload;
pub mod sandbox;
pub mod settings;
pub mod signals;
mod status;

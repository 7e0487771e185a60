// The examples of the README log in by OPAQUE, too.
#![cfg_attr(feature = "opaque", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "opaque"), doc = "The client of letmein-auth, for logins by MD5 alone.")]
//!
//! | module | purpose |
//! |---|---|
//! | [`login`] | drives the protocol's client with a clock and a socket |
//! | `channel` | that socket and its receive buffer |
//! | [`host_port`] | parses and resolves `HOST:PORT` |
//! | [`small`] | the clients of the small services |
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod any_address;
mod channel;
pub mod host_port;
pub mod login;
pub mod small;
mod timed_stream;

pub use host_port::{HostPort, HostPortError};
#[cfg(feature = "opaque")]
pub use login::StretchingLimit;
pub use login::{Family, Login, LoginError, Outcome, Progress};
pub use proto::credentials::{NameError, Password, PasswordError, Username};
pub use proto::mechanism::Mechanism;
#[cfg(feature = "opaque")]
pub use proto::opaque::BindingTooLong;
#[cfg(feature = "opaque")]
pub use proto::opaque::session::{ExportError, SessionKey};
pub use proto::transport::Transport;
pub use proto::wire::Verdict;

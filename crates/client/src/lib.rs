//! A login over sockets, on any system: one name, one password, one verdict.
//!
//! ```no_run
//! use letmein_auth_client::{Login, Password, Verdict};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let login = Login::to("127.0.0.1:8591".parse()?);
//! let outcome = login.run(&"userone".parse()?, &Password::new("passwordone")?)?;
//! assert_eq!(outcome.verdict, Verdict::Welcome);
//! # Ok(())
//! # }
//! ```
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
pub use login::{Family, Login, LoginError, Outcome, Progress};
pub use proto::credentials::{NameError, Password, PasswordError, Username};
pub use proto::transport::Transport;
pub use proto::wire::Verdict;

//! The login exchange, without sockets and clocks: the caller brings both.
//!
//! ```text
//! client                                             server
//!   | -- Authentication Request ----------------------> |  Dialect: how the verdict is spelled
//!   | <------------------------------- 5bf76b8a82f5f462 |  Challenge
//!   | -- userone:f82160d5…8ca30[:5bf76b8a82f5f462] ---> |  Answer: name, Digest, echoed Challenge
//!   | <------------------------- Welcome to our service.|  Verdict
//! ```
//!
//! docs/PROTOCOL.md is the specification. These rules hold in all modules, and are tested:
//!
//! 1. Time, address and bytes go in; bytes and an [`Event`](server::event::Event) come out. Nothing here reads a
//!    clock, opens a file or a socket, logs, or allocates for a message.
//! 2. A reply to a datagram is never longer than the datagram.
//! 3. Decoding is total: no input panics, and decoded values are within all limits.
//! 4. All refusals look alike: the same bytes after the same number of digest blocks.
//! 5. A server's memory of recent logins and failures has a fixed size: [`recent`](server::recent),
//!    [`penalty`](server::penalty).
//! 6. An answer that may carry a forged address costs the owner of that address nothing.
#![deny(missing_docs)]
#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "server"), expect(dead_code, reason = "messages have a server's side, too"))]
#![deny(clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

pub mod backoff;
pub mod blocks;
pub mod challenge;
pub mod client;
pub mod credentials;
pub mod dialect;
pub mod hex;
mod lanes;
pub mod mechanism;
mod now;
#[cfg(feature = "opaque")]
pub mod opaque;
pub mod origin;
mod peer;
pub mod proof;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
mod short_name;
pub mod shown;
pub mod small;
pub mod source;
pub mod transport;
#[cfg(feature = "server")]
pub mod users;
pub mod wire;

pub use now::Now;
pub use peer::Peer;

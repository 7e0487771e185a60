//! Sockets and clocks: everything that touches the network, and decides nothing.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this subtree is where sockets and clocks belong"
)]

pub(crate) mod any_address;
pub(crate) mod batch;
pub(crate) mod bind;
pub(crate) mod channel;
pub(crate) mod clock;
pub(crate) mod connections;
pub mod exchange_client;
pub mod framed_client;
pub mod host_port;
pub(crate) mod link;
pub mod login;
pub(crate) mod passed;
pub(crate) mod services;
pub(crate) mod tcp;
pub(crate) mod timed_stream;
pub(crate) mod udp;
pub(crate) mod workers;

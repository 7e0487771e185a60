//! Sockets and clocks. This module carries messages; the protocol decides on them.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this subtree is where sockets and clocks belong"
)]

pub mod address;
pub mod batch;
pub mod bind;
pub mod clock;
pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod exchange;
pub(crate) mod late;
pub mod passed;
pub(crate) mod services;
pub(crate) mod stream_io;
pub(crate) mod stream_service;
pub(crate) mod tcp;
pub mod udp;
pub(crate) mod workers;

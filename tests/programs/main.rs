//! The programs as people and scripts meet them: processes, command lines, users files, and bytes on loopback.
#![expect(
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests play the other end of the network, and a helper that fails is a test that fails"
)]

mod attacks;
mod audits;
mod bench;
mod bridges;
mod browser;
mod clients;
mod cluster;
mod command_lines;
mod datagrams;
mod dist_files;
mod documents;
mod doors;
mod ended;
mod exchanges;
mod fleet;
mod flood;
mod framed;
mod gateway;
mod guessing;
mod lifecycle;
mod log_lines;
mod logins;
mod manifests;
mod manuals;
mod monitoring;
mod nginx;
mod opaque_floods;
mod opaque_logins;
mod pages;
mod passwords;
mod peers;
mod penalties;
mod readme;
mod relay;
mod reloads;
mod running;
mod sandbox;
mod service_manager;
mod sites;
mod status_page;
mod streams;
mod synced_users;
mod terminal;
mod units;
mod users_files;
mod users_program;

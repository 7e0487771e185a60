//! The engine with a real PostgreSQL, which the tests start. Without one they are skipped, and say so.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

mod by_hand;
mod commit;
mod exchange;
mod hosts;
mod migrations;
mod order;
#[expect(dead_code, reason = "the tests of the program read the log")]
mod postgres;
mod proxy;
mod reader;
mod roles;
mod rules;
mod settings;
mod tls;

//! `letmein-sync` with a real PostgreSQL, which the tests start, freeze, kill and promote. Without one they are
//! skipped, and say so.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test looks at the clock, connects, and fails by a panic"
)]

// Its name in the tests of the engine.
extern crate engine as letmein_auth_engine;

mod connections;
mod contents;
mod crashes;
#[path = "../../../../tests/programs/ended.rs"]
mod ended;
mod exchange;
mod failovers;
mod following;
mod guards;
mod manuals;
mod model;
mod node;
#[path = "../../../../crates/engine/tests/engine/postgres.rs"]
#[expect(dead_code, reason = "the tests of the engine need more of it")]
mod postgres;
mod proxy;
mod transactions;

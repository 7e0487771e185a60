//! How long the ignored floods last and how much they send: `LETMEIN_FLOOD_SECONDS` says so, and SECURITY.md's figures
//! are for its default.

#![expect(clippy::disallowed_methods, reason = "a flood lasts for a time")]

use std::env;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

const DEFAULT_SECONDS: u32 = 10;

pub(crate) fn seconds() -> u32 {
    let text = env::var("LETMEIN_FLOOD_SECONDS").ok();
    text.map_or(DEFAULT_SECONDS, |text| text.parse().expect("LETMEIN_FLOOD_SECONDS is a number of seconds"))
        .max(1)
}

pub(crate) fn duration() -> Duration {
    Duration::from_secs(seconds().into())
}

/// The part of a count for the default length that is for this length.
pub(crate) fn scaled(by_default: u32) -> u32 {
    (by_default * seconds() / DEFAULT_SECONDS).max(1)
}

/// Continues for the length of a flood from now.
pub(crate) fn clock() -> impl FnMut() -> ControlFlow<()> {
    let end = Instant::now() + duration();
    move || if Instant::now() < end { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

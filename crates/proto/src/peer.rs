//! Who sends a message, as far as that is known.

/// Whether the sender of an answer has shown that it can receive at its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Its challenge came back from there.
    Proven,
    /// Anybody may have written it.
    Claimed,
}

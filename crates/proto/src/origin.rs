//! What is known of where an answer comes from.

/// Whether the sender of an answer has shown that it can receive at its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It has: over TCP, or by carrying back the challenge that was sent there.
    Proven,
    /// It has not: anybody may have written that address on the datagram.
    Unproven,
}

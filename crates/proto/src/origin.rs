//! The trust in the source address of an answer.

/// Whether the sender of an answer has shown that it can receive at its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It has: over TCP, or by carrying back the challenge that was sent there.
    Proven,
    /// It has not: the address on the datagram may be forged.
    Unproven,
}

//! Bytes ⇄ hexadecimal digits. The time depends on their number alone.

/// Decodes `N` bytes from exactly `2 * N` hexadecimal digits in either case; `None` for anything else.
pub fn from_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    let mut all = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (nibble(*high), nibble(*low));
        all |= high | low;
        *byte = high << 4 | low;
    }
    (all & NO_NIBBLE == 0).then_some(bytes)
}

/// Bits that no nibble has.
const NO_NIBBLE: u8 = 0xf0;

/// The value of a digit, or [`NO_NIBBLE`]. It has no early return, so that the compiler can vectorize the loop.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => NO_NIBBLE,
    }
}

/// Encodes bytes as lower-case hexadecimal digits. `D` must be `2 * N`.
pub fn to_hex<const N: usize, const D: usize>(bytes: [u8; N]) -> [u8; D] {
    const { assert!(D == 2 * N) };
    let mut digits = [0; D];
    let (pairs, _) = digits.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [hex_digit(byte >> 4), hex_digit(byte & 15)];
    }
    digits
}

fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

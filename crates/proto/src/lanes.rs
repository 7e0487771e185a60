//! MD5 of eight messages at a time (RFC 1321, section 3.4).
//!
//! The 64 steps of MD5 depend on each other, so a single digest cannot be computed any faster. Eight digests side by
//! side in vector registers take little longer than one. An answer without its challenge needs them, since it may be
//! for any of 32 challenges.

use wide::u32x8;

/// Messages at a time.
pub(crate) const LANES: usize = 8;
/// Bytes of a block.
const BLOCK_LEN: usize = 64;

/// A word of each message.
type Words = u32x8;

/// The state of eight digests.
#[derive(Clone, Copy)]
pub(crate) struct LaneStates([Words; 4]);

impl LaneStates {
    /// The states before the first block.
    pub(crate) fn start(state: [u32; 4]) -> Self {
        Self(state.map(Words::splat))
    }

    /// The states one by one.
    pub(crate) fn each(self) -> [[u32; 4]; LANES] {
        let mut states = [[0; 4]; LANES];
        for (index, words) in self.0.into_iter().enumerate() {
            for (state, word) in states.iter_mut().zip(words.to_array()) {
                if let Some(slot) = state.get_mut(index) {
                    *slot = word;
                }
            }
        }
        states
    }

    /// Digests a block of each message.
    pub(crate) fn compress(&mut self, blocks: [&[u8; BLOCK_LEN]; LANES]) {
        let message = words_of(blocks);
        let [a0, b0, c0, d0] = self.0;
        let state = round(self.0, &message, &ROUNDS[0], |b, c, d| d ^ (b & (c ^ d)));
        let state = round(state, &message, &ROUNDS[1], |b, c, d| c ^ (d & (b ^ c)));
        let state = round(state, &message, &ROUNDS[2], |b, c, d| b ^ c ^ d);
        let [a, b, c, d] = round(state, &message, &ROUNDS[3], |b, c, d| c ^ (b | !d));
        self.0 = [a0 + a, b0 + b, c0 + c, d0 + d];
    }
}

/// Sixteen steps, four at a time: after four, the words of the state are in their first order again.
fn round(
    state: [Words; 4],
    message: &[Words; 16],
    steps: &Round,
    mix: impl Fn(Words, Words, Words) -> Words,
) -> [Words; 4] {
    let [mut a, mut b, mut c, mut d] = state;
    let [r0, r1, r2, r3] = steps.rotations;
    let step = |a: Words, b: Words, mixed: Words, (index, sine): (usize, u32), rotation: u32| {
        let word = message.get(index).copied().unwrap_or_default();
        let sum = a + mixed + (word + Words::splat(sine));
        b + ((sum << rotation) | (sum >> (u32::BITS - rotation)))
    };
    for [s0, s1, s2, s3] in steps.steps {
        a = step(a, b, mix(b, c, d), s0, r0);
        d = step(d, a, mix(a, b, c), s1, r1);
        c = step(c, d, mix(d, a, b), s2, r2);
        b = step(b, c, mix(c, d, a), s3, r3);
    }
    [a, b, c, d]
}

/// Transposes the blocks: word by word, for all messages.
fn words_of(blocks: [&[u8; BLOCK_LEN]; LANES]) -> [Words; 16] {
    let mut message = [[0; LANES]; 16];
    for (lane, block) in blocks.into_iter().enumerate() {
        for (words, bytes) in message.iter_mut().zip(block.as_chunks::<4>().0) {
            if let Some(word) = words.get_mut(lane) {
                *word = u32::from_le_bytes(*bytes);
            }
        }
    }
    message.map(Words::new)
}

/// The constants of a round.
struct Round {
    /// For each step, the index of its word of the message and the constant that is added.
    steps: [[(usize, u32); 4]; 4],
    /// The rotation of each of four steps, in bits.
    rotations: [u32; 4],
}

const ROUNDS: [Round; 4] = [
    Round { steps: steps(SINES[0], 1, 0), rotations: [7, 12, 17, 22] },
    Round { steps: steps(SINES[1], 5, 1), rotations: [5, 9, 14, 20] },
    Round { steps: steps(SINES[2], 3, 5), rotations: [4, 11, 16, 23] },
    Round { steps: steps(SINES[3], 7, 0), rotations: [6, 10, 15, 21] },
];

/// Steps that take every `every`-th word of the message, starting at `first`.
#[expect(clippy::indexing_slicing, reason = "it is evaluated when it is compiled")]
const fn steps(sines: [u32; 16], every: usize, first: usize) -> [[(usize, u32); 4]; 4] {
    let mut steps = [[(0, 0); 4]; 4];
    let mut step = 0;
    while step < 16 {
        steps[step / 4][step % 4] = ((first + every * step) % 16, sines[step]);
        step += 1;
    }
    steps
}

/// The first 32 fractional bits of |sin 1|, |sin 2|, and so on, as listed in the RFC.
const SINES: [[u32; 16]; 4] = [
    [
        0xd76a_a478,
        0xe8c7_b756,
        0x2420_70db,
        0xc1bd_ceee,
        0xf57c_0faf,
        0x4787_c62a,
        0xa830_4613,
        0xfd46_9501,
        0x6980_98d8,
        0x8b44_f7af,
        0xffff_5bb1,
        0x895c_d7be,
        0x6b90_1122,
        0xfd98_7193,
        0xa679_438e,
        0x49b4_0821,
    ],
    [
        0xf61e_2562,
        0xc040_b340,
        0x265e_5a51,
        0xe9b6_c7aa,
        0xd62f_105d,
        0x0244_1453,
        0xd8a1_e681,
        0xe7d3_fbc8,
        0x21e1_cde6,
        0xc337_07d6,
        0xf4d5_0d87,
        0x455a_14ed,
        0xa9e3_e905,
        0xfcef_a3f8,
        0x676f_02d9,
        0x8d2a_4c8a,
    ],
    [
        0xfffa_3942,
        0x8771_f681,
        0x6d9d_6122,
        0xfde5_380c,
        0xa4be_ea44,
        0x4bde_cfa9,
        0xf6bb_4b60,
        0xbebf_bc70,
        0x289b_7ec6,
        0xeaa1_27fa,
        0xd4ef_3085,
        0x0488_1d05,
        0xd9d4_d039,
        0xe6db_99e5,
        0x1fa2_7cf8,
        0xc4ac_5665,
    ],
    [
        0xf429_2244,
        0x432a_ff97,
        0xab94_23a7,
        0xfc93_a039,
        0x655b_59c3,
        0x8f0c_cc92,
        0xffef_f47d,
        0x8584_5dd1,
        0x6fa8_7e4f,
        0xfe2c_e6e0,
        0xa301_4314,
        0x4e08_11a1,
        0xf753_7e82,
        0xbd3a_f235,
        0x2ad7_d2bb,
        0xeb86_d391,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lane_is_the_digest_of_its_own_message_by_another_implementation() {
        let blocks: [[[u8; 64]; 2]; LANES] = std::array::from_fn(|lane| {
            std::array::from_fn(|block| std::array::from_fn(|byte| (lane * 91 + block * 37 + byte * 7) as u8))
        });
        let start = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        let mut state = LaneStates::start(start);
        for block in 0..2 {
            state.compress(blocks.each_ref().map(|message| &message[block]));
        }
        for (lane, message) in state.each().into_iter().zip(blocks) {
            let mut expected = start;
            md5::block_api::compress(&mut expected, &message);
            assert_eq!(lane, expected);
        }
    }

    #[test]
    fn the_constants_are_those_of_the_rfc() {
        for (index, constant) in SINES.as_flattened().iter().enumerate() {
            let sine = (index as f64 + 1.0).sin().abs() * 4_294_967_296.0;
            assert_eq!(*constant, sine as u32, "{index}");
        }
    }
}

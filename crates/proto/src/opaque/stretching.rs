//! How a client stretches a password, so that each guess costs whoever has stolen records and key as much.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use opaque_ke::errors::InternalError;
use opaque_ke::generic_array::{ArrayLength, GenericArray};
use opaque_ke::ksf::Ksf;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a stretching in messages and in the context of an exchange.
pub const STRETCHING_LEN: usize = 8;
/// The most memory that a client lends a server, in KiB: 256 MiB.
pub const MEMORY_MAX_KIB: u32 = 256 << 10;
/// The most passes that a client makes for a server.
pub const PASSES_MAX: u16 = 16;
/// The most lanes that a client computes for a server.
pub const LANES_MAX: u8 = 8;

const ARGON2ID: u8 = 1;
const SALT: [u8; 16] = [0; 16];

/// The parameters of Argon2id (RFC 9106), version 0x13, with a salt of zeros: the OPRF salts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stretching {
    lanes: u8,
    passes: u16,
    memory_kib: u32,
}

impl Stretching {
    /// For passwords that people choose: 64 MiB, 3 passes.
    pub const DEFAULT: Self = Self { lanes: 1, passes: 3, memory_kib: 64 << 10 };
    /// The same for clients with little memory: 19 MiB, 2 passes.
    pub const LIGHT: Self = Self { lanes: 1, passes: 2, memory_kib: 19 << 10 };
    /// None, for generated passwords, which nobody guesses anyway.
    pub const NONE: Self = Self { lanes: 1, passes: 1, memory_kib: 0 };

    /// Other parameters than these three. Argon2 has at least one lane, one pass, and 8 KiB for each lane.
    ///
    /// # Errors
    /// [`StretchingError`]; a client would refuse them.
    pub fn new(memory_kib: u32, passes: u16, lanes: u8) -> Result<Self, StretchingError> {
        if memory_kib > MEMORY_MAX_KIB || passes > PASSES_MAX || lanes > LANES_MAX {
            return Err(StretchingError::TooMuch);
        }
        if passes == 0 || lanes == 0 || (memory_kib != 0 && memory_kib < 8 * u32::from(lanes)) {
            return Err(StretchingError::TooLittle);
        }
        Ok(Self { lanes, passes, memory_kib })
    }

    /// Decodes u8 algorithm, u8 lanes, u16 passes, u32 KiB.
    ///
    /// # Errors
    /// [`StretchingError`]
    pub fn from_bytes(bytes: [u8; STRETCHING_LEN]) -> Result<Self, StretchingError> {
        let [algorithm, lanes, p0, p1, memory_kib @ ..] = bytes;
        if algorithm != ARGON2ID {
            return Err(StretchingError::Algorithm);
        }
        Self::new(u32::from_be_bytes(memory_kib), u16::from_be_bytes([p0, p1]), lanes)
    }

    /// Encodes them as [`from_bytes`](Self::from_bytes) reads them.
    #[must_use]
    pub fn to_bytes(self) -> [u8; STRETCHING_LEN] {
        let ([p0, p1], [m0, m1, m2, m3]) = (self.passes.to_be_bytes(), self.memory_kib.to_be_bytes());
        [ARGON2ID, self.lanes, p0, p1, m0, m1, m2, m3]
    }

    /// Whether passwords go into the exchange as they are.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.memory_kib == 0
    }

    /// KiB of memory; 0 if there is no stretching.
    #[must_use]
    pub fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over that memory.
    #[must_use]
    pub fn passes(self) -> u16 {
        self.passes
    }

    /// Lanes in which it is filled.
    #[must_use]
    pub fn lanes(self) -> u8 {
        self.lanes
    }

    fn stretch(self, input: &[u8], output: &mut [u8]) -> Result<(), InternalError> {
        if self.is_none() {
            output.copy_from_slice(input);
            return Ok(());
        }
        let params = Params::new(self.memory_kib, self.passes.into(), self.lanes.into(), Some(output.len()))
            .map_err(|_| InternalError::KsfError)?;
        // Left to Argon2, a program that may not have that much memory would end.
        let (mut memory, len) = (Vec::new(), params.block_count());
        memory.try_reserve_exact(len).map_err(|_| InternalError::KsfError)?;
        memory.resize(len, Block::default());
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(input, &SALT, output, memory)
            .map_err(|_| InternalError::KsfError)
    }
}

/// The parameters of one stretching, in words of `letmein-users`.
impl fmt::Display for Stretching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, passes, memory_kib } = self;
        if self.is_none() {
            f.write_str("none")
        } else {
            write!(f, "argon2id,m={memory_kib},t={passes},p={lanes}")
        }
    }
}

/// Why parameters are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StretchingError {
    /// Another algorithm than Argon2id.
    Algorithm,
    /// More than 256 MiB, 16 passes or 8 lanes.
    TooMuch,
    /// No pass or lane, or less than 8 KiB for a lane.
    TooLittle,
}

impl fmt::Display for StretchingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Algorithm => "the stretching is not Argon2id",
            Self::TooMuch => "the stretching takes more than 256 MiB, 16 passes or 8 lanes",
            Self::TooLittle => "the stretching has no pass, no lane, or less than 8 KiB for a lane",
        })
    }
}

impl std::error::Error for StretchingError {}

/// Stretches, and remembers the last output, which all clones share: however often a server is restarted within a
/// login, and at however many addresses it is tried at once, that takes as long as once. Whoever needs it while it is
/// computed waits, so the memory is taken once, too.
#[derive(Clone)]
pub(crate) struct Stretcher {
    stretching: Stretching,
    last: Arc<Mutex<Option<Stretched>>>,
}

/// An output, and what it was made of.
struct Stretched {
    stretching: Stretching,
    input: Zeroizing<Vec<u8>>,
    output: Zeroizing<Vec<u8>>,
}

impl Stretcher {
    pub(crate) fn new(stretching: Stretching) -> Self {
        Self { stretching, last: Arc::default() }
    }

    /// The parameters for the next password.
    pub(crate) fn set(&mut self, stretching: Stretching) {
        self.stretching = stretching;
    }
}

impl Default for Stretcher {
    fn default() -> Self {
        Self::new(Stretching::NONE)
    }
}

impl Ksf for Stretcher {
    fn hash<L: ArrayLength<u8>>(
        &self,
        mut given: GenericArray<u8, L>,
    ) -> Result<GenericArray<u8, L>, InternalError> {
        let input = Zeroizing::new(given.to_vec());
        given.zeroize();
        let mut output = GenericArray::default();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref()
            && last.stretching == self.stretching
            && last.input == input
        {
            output.copy_from_slice(&last.output);
            return Ok(output);
        }
        self.stretching.stretch(&input, &mut output)?;
        let stretched = Zeroizing::new(output.to_vec());
        *last = Some(Stretched { stretching: self.stretching, input, output: stretched });
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use opaque_ke::generic_array::typenum::U64;

    use super::*;

    #[test]
    fn clones_stretch_an_input_once_and_another_input_again() {
        let stretcher = Stretcher::new(Stretching::new(8, 1, 1).unwrap());
        let stretched =
            |stretcher: &Stretcher, byte| stretcher.hash(GenericArray::<u8, U64>::from([byte; 64])).unwrap();
        let first = stretched(&stretcher, 1);
        // What is remembered is given, and nothing else is looked at.
        let mark = |byte| {
            if let Some(last) = stretcher.last.lock().unwrap().as_mut() {
                last.output.fill(byte);
            }
        };
        mark(7);
        let clone = stretcher.clone();
        assert_eq!(stretched(&clone, 1).as_slice(), [7; 64]);
        assert_ne!(stretched(&clone, 2).as_slice(), [7; 64]);
        assert_eq!(stretched(&stretcher, 1), first);
    }
}
